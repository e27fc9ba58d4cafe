"""Go's ``filepath.Match``: whether a pattern is well-formed, and what a single name matches.

Source: Go 1.26, ``path/filepath/match.go``. ``*`` and ``?`` stop at ``/``, ``[…]`` is a class with ranges, negated by
``^``, and a backslash takes the meaning from the next character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from ci_buildx.fsutil.errors import PatternError
from ci_buildx.model.pattern import pattern

_STAR = "[^/]*"
_REPLACEMENT = "\ufffd"
_UNDECODABLE = pattern("[\udc80-\udcff]")


def runes(text: str) -> str:
    """Return ``text`` as Go's regular expressions see it: each byte that is no UTF-8 is U+FFFD."""
    return text if text.isascii() else _UNDECODABLE.sub(_REPLACEMENT, text)


def compile(pattern: str) -> re.Pattern[str]:  # noqa: A001 - as re.compile
    """Return an expression whose ``match`` says what ``filepath.Match`` does; PatternError where it is malformed."""
    return re.compile(_without_retries(list(_translate(pattern))), re.DOTALL)


def check(pattern: str) -> None:
    """Raise PatternError if ``filepath.Match`` calls ``pattern`` malformed."""
    for _ in _translate(pattern):
        pass


def has_wildcards(name: str) -> bool:
    """Whether ``name`` is more than a name (fsutil ``followlinks.go``)."""
    return re.search(r"[*?\[]", re.sub(r"\\.", "", name, flags=re.DOTALL)) is not None


def _without_retries(parts: list[str]) -> str:
    """The whole expression. All stars but the last take as little as they can, for good.

    What follows a star and comes before the next one may be taken where it comes first: the next star can have
    whatever lies between there and any later place. Else many stars would be tried in all combinations.
    """
    stars = [place for place, part in enumerate(parts) if part == _STAR]
    if len(stars) < 2:
        return "".join(parts) + r"\Z"
    pieces = ["".join(parts[: stars[0]])]
    for place, following in pairwise(stars):
        pieces.append(f"(?>{_STAR}?{''.join(parts[place + 1 : following])})")
    return "".join((*pieces, *parts[stars[-1] :])) + r"\Z"


def _translate(pattern: str) -> Iterator[str]:
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            yield _STAR
        elif char == "?":
            yield "[^/]"
        elif char == "[":
            text, at = _class(pattern, at)
            yield text
        elif char == "\\":
            if at == len(pattern):
                raise PatternError(pattern, "it ends in a backslash")
            yield re.escape(pattern[at])
            at += 1
        else:
            yield re.escape(char)


def _class(pattern: str, at: int) -> tuple[str, int]:
    negation = "^" if pattern.startswith("^", at) else ""
    at += len(negation)
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", at)):
        low, at = _member(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _member(pattern, at + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            # Well-formed in Go, and matches nothing: a range that no character is in.
            ranges.append("")
    members = "".join(ranges)
    if members:
        return f"[{negation}{members}]", at + 1
    return ("." if negation else "(?!)"), at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    if pattern.startswith("\\", at):
        at += 1
    elif pattern.startswith(("-", "]"), at):
        raise PatternError(pattern, f"{pattern[at]} stands in a class where a character must")
    if at + 1 >= len(pattern):
        raise PatternError(pattern, "a [ is not closed")
    if "\udc80" <= pattern[at] <= "\udcff":
        raise PatternError(pattern, "a class holds what is no UTF-8")
    return pattern[at], at + 1
