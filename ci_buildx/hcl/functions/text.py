"""Functions of strings (go-cty 1.17.0, ``stdlib/string.go``)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from ci_buildx.hcl.functions.arithmetic import read_int
from ci_buildx.hcl.functions.signature import CallError, HclFunction, Parameter, ParameterError, check_length
from ci_buildx.hcl.types.values import (
    NUMBER,
    STRING,
    HclValue,
    make_integer,
    make_list,
    make_list_type,
    make_string,
)

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""Characters that Go's ``unicode.IsSpace`` accepts."""
_NEWLINES = re.compile(r"(?:\r\n?|\n)*\Z")
_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")
_LIST = make_list_type(STRING)
_JOINER = "\u200d"


def split_graphemes(text: str) -> list[str]:
    """Return the characters as people count them (Unicode's grapheme clusters, in short).

    Each includes its combining marks; a joined emoji and a flag are one.
    """
    if text.isascii() and "\r" not in text:
        return list(text)
    found: list[str] = []
    for one in text:
        if found and _is_continued(found[-1], one):
            found[-1] += one
        else:
            found.append(one)
    return found


def _is_continued(before: str, one: str) -> bool:
    if before == "\r":
        return one == "\n"
    if before[-1] in "\r\n":
        return False
    if unicodedata.category(one) in ("Mn", "Me", "Mc") or one == _JOINER or "\U0001f3fb" <= one <= "\U0001f3ff":
        return True
    if before.endswith(_JOINER):
        return unicodedata.category(one) == "So"
    return _is_regional(one) and len(before) == 1 and _is_regional(before)


def _is_regional(one: str) -> bool:
    return "\U0001f1e6" <= one <= "\U0001f1ff"


def make_text_function(names: tuple[str, ...], compute: Callable[..., str]) -> HclFunction:
    """Return a function of strings that returns a string."""
    parameters = tuple(Parameter(name, STRING) for name in names)
    return HclFunction(parameters, lambda given: make_string(compute(*(one.text for one in given))))


def _map_characters(text: str, change: Callable[[str], str]) -> str:
    """Change each character by itself, as Go does: none becomes two."""
    if text.isascii():
        return change(text)
    changed = ((one, change(one)) for one in text)
    return "".join(new if len(new) == 1 else old for old, new in changed)


def _make_title(text: str) -> str:
    found: list[str] = []
    previous = " "
    for one in text:
        found.append(_map_characters(one, str.title) if _is_separator(previous) else one)
        previous = one
    return "".join(found)


def _is_separator(one: str) -> bool:
    if one.isascii():
        return not (one.isalnum() or one == "_")
    return not one.isalnum() and one in SPACES


def split_text(separator: str, text: str) -> list[str]:
    """Return the parts of a text as Go's ``strings.Split`` does: characters if the separator is empty."""
    return text.split(separator) if separator else list(text)


def _split(given: Sequence[HclValue]) -> HclValue:
    return make_list((make_string(one) for one in split_text(given[0].text, given[1].text)), STRING)


def _join(given: Sequence[HclValue]) -> HclValue:
    if len(given) < 2:
        raise CallError("at least one list is required")
    found: list[str] = []
    for at, one in enumerate(given[1:], start=1):
        for index, item in enumerate(one.items):
            if item.is_null:
                raise ParameterError(at, f"element {index} is null; cannot concatenate null values")
            found.append(item.text)
    check_length(sum(map(len, found)) + len(found) * len(given[0].text))
    return make_string(given[0].text.join(found))


def _sort(given: Sequence[HclValue]) -> HclValue:
    for index, one in enumerate(given[0].items):
        if one.is_null:
            raise CallError(f"given list element {index} is null; a null string cannot be sorted")
    return make_list(sorted(given[0].items, key=lambda one: one.text.encode()), STRING)


def _cut(given: Sequence[HclValue]) -> HclValue:
    characters = split_graphemes(given[0].text)
    offset, length = read_int(given[1], 1), read_int(given[2], 2)
    if offset < 0:
        offset = max(0, offset + len(characters))
    elif length == 0:
        return make_string("")
    rest = characters[offset:]
    return make_string("".join(rest if length <= 0 else rest[:length]))


def _indent(given: Sequence[HclValue]) -> HclValue:
    spaces = read_int(given[0], 0)
    if not 0 <= spaces <= 10_000:
        raise ParameterError(0, "the number of spaces is out of range")
    check_length(len(given[1].text) + given[1].text.count("\n") * spaces)
    return make_string(given[1].text.replace("\n", "\n" + " " * spaces))


def _replace(text: str, old: str, new: str) -> str:
    check_length(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
    return text.replace(old, new)


def _compact(given: Sequence[HclValue]) -> HclValue:
    return make_list((one for one in given[0].items if not one.is_null and one.text), STRING)


def find_base(path: str) -> str:
    """Return the last element of a path as Go's ``path.Base`` does."""
    bare = path.rstrip("/")
    return bare.rpartition("/")[2] if bare else ("/" if path else ".")


def find_folder(path: str) -> str:
    """Return all but the last element of a path as Go's ``path.Dir`` does."""
    return clean_path(path[: path.rfind("/") + 1])


def clean_path(path: str) -> str:
    """Return the shortest equal path as Go's ``path.Clean`` does."""
    rooted = path.startswith("/")
    found: list[str] = []
    for part in path.split("/"):
        if part == ".." and found and found[-1] != "..":
            found.pop()
        elif part not in ("", ".") and not (part == ".." and rooted):
            found.append(part)
    return ("/" if rooted else "") + "/".join(found) or "."


FUNCTIONS = {
    "basename": make_text_function(("path",), find_base),
    "chomp": make_text_function(("str",), lambda text: _NEWLINES.sub("", text, count=1)),
    "compact": HclFunction((Parameter("list", _LIST),), _compact),
    "dirname": make_text_function(("path",), find_folder),
    "indent": HclFunction((Parameter("spaces", NUMBER), Parameter("str", STRING)), _indent),
    "join": HclFunction((Parameter("separator", STRING),), _join, Parameter("lists", _LIST)),
    "lower": make_text_function(("str",), lambda text: _map_characters(text, str.lower)),
    "replace": make_text_function(("str", "substr", "replace"), _replace),
    "reverse": make_text_function(("str",), lambda text: "".join(reversed(split_graphemes(text)))),
    "sanitize": make_text_function(("name",), lambda text: _UNSAFE.sub("_", text)),
    "sort": HclFunction((Parameter("list", _LIST),), _sort),
    "split": HclFunction((Parameter("separator", STRING), Parameter("str", STRING)), _split),
    "strlen": HclFunction((Parameter("str", STRING),), lambda given: make_integer(len(split_graphemes(given[0].text)))),
    "substr": HclFunction((Parameter("str", STRING), Parameter("offset", NUMBER), Parameter("length", NUMBER)), _cut),
    "title": make_text_function(("str",), _make_title),
    "trim": make_text_function(("str", "cutset"), lambda text, cut: text.strip(cut) if cut else text),
    "trimprefix": make_text_function(("str", "prefix"), str.removeprefix),
    "trimspace": make_text_function(("str",), lambda text: text.strip(SPACES)),
    "trimsuffix": make_text_function(("str", "suffix"), str.removesuffix),
    "upper": make_text_function(("str",), lambda text: _map_characters(text, str.upper)),
}
