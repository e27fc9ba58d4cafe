"""Go's ``path/filepath``: lexical path functions and ``Match``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from ci_buildx.fsutil.entry import PatternError
from ci_buildx.model.lazy import compile_lazily

# Unicode's White_Space property, as in Go's ``unicode.IsSpace``.
WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


def clean_path(path: str) -> str:
    """Return the shortest equivalent path, computed lexically, without file system access."""
    rooted = path.startswith("/")
    kept: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            kept.append(part)
        elif kept and kept[-1] != "..":
            kept.pop()
        elif not rooted:
            kept.append(part)
    return ("/" if rooted else "") + "/".join(kept) or "."


def join_paths(*parts: str) -> str:
    """Join ``parts`` and clean the result; unlike ``os.path.join``, an absolute part does not discard earlier ones."""
    return clean_path("/".join(part for part in parts if part)) if any(parts) else ""


def read_parent(path: str) -> str:
    """Return all but the last element of ``path``, cleaned (``filepath.Dir``)."""
    return clean_path(path[: path.rfind("/") + 1])


_STAR = "[^/]*"
_REPLACEMENT = "\ufffd"
_UNDECODABLE = compile_lazily("[\udc80-\udcff]")


def decode_runes(text: str) -> str:
    """Return ``text`` as Go's regular expressions see it: each invalid UTF-8 byte becomes U+FFFD."""
    return text if text.isascii() else _UNDECODABLE.sub(_REPLACEMENT, text)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return an expression whose ``match`` behaves like ``filepath.Match``; raise PatternError if it is malformed."""
    return re.compile(_join_possessively(list(_translate_pattern(pattern))), re.DOTALL)


def check_pattern(pattern: str) -> None:
    """Raise PatternError if ``filepath.Match`` considers ``pattern`` malformed."""
    for _ in _translate_pattern(pattern):
        pass


def has_wildcards(name: str) -> bool:
    """Return whether ``name`` contains unescaped wildcards (fsutil ``followlinks.go``)."""
    if not any(char in name for char in "*?["):
        return False
    return re.search(r"[*?\[]", re.sub(r"\\.", "", name, flags=re.DOTALL)) is not None


def _join_possessively(parts: list[str]) -> str:
    """Join the parts, making all stars but the last possessive and as short as possible.

    The text between two stars can safely match at its first occurrence, since the next star can absorb everything up
    to any later one. Otherwise ``re`` would try the stars in all combinations.
    """
    stars = [place for place, part in enumerate(parts) if part == _STAR]
    if len(stars) < 2:
        return "".join(parts) + r"\Z"
    pieces = ["".join(parts[: stars[0]])]
    for place, following in pairwise(stars):
        pieces.append(f"(?>{_STAR}?{''.join(parts[place + 1 : following])})")
    return "".join((*pieces, *parts[stars[-1] :])) + r"\Z"


def _translate_pattern(pattern: str) -> Iterator[str]:
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            yield _STAR
        elif char == "?":
            yield "[^/]"
        elif char == "[":
            text, at = _translate_class(pattern, at)
            yield text
        elif char == "\\":
            if at == len(pattern):
                raise PatternError(pattern, "it ends in a backslash")
            yield re.escape(pattern[at])
            at += 1
        else:
            yield re.escape(char)


def _translate_class(pattern: str, at: int) -> tuple[str, int]:
    negation = "^" if pattern.startswith("^", at) else ""
    at += len(negation)
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", at)):
        low, at = _read_class_member(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _read_class_member(pattern, at + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            # A reversed range is valid in Go and matches no character.
            ranges.append("")
    members = "".join(ranges)
    if members:
        return f"[{negation}{members}]", at + 1
    return ("." if negation else "(?!)"), at + 1


def _read_class_member(pattern: str, at: int) -> tuple[str, int]:
    if pattern.startswith("\\", at):
        at += 1
    elif pattern.startswith(("-", "]"), at):
        raise PatternError(pattern, f"{pattern[at]} is not allowed there in a class")
    if at + 1 >= len(pattern):
        raise PatternError(pattern, "a [ is not closed")
    if "\udc80" <= pattern[at] <= "\udcff":
        raise PatternError(pattern, "a class contains invalid UTF-8")
    return pattern[at], at + 1
