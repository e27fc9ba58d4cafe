"""Regular expressions: Go's syntax (RE2), translated to Python's; what cannot be translated is refused by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from ci_buildx.hcl.functions.signature import CallError, HclFunction, Parameter, ParameterError, check_length
from ci_buildx.hcl.types.values import (
    STRING,
    HclType,
    HclValue,
    make_list,
    make_null,
    make_object,
    make_object_type,
    make_string,
    make_tuple,
    make_tuple_type,
)

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_TOKEN = re.compile(
    r"""\\Q(?P<quoted>.*?)(?:\\E|\Z)
    | (?P<hex>\\x\{[0-9a-fA-F]+\})
    | (?P<escape>\\.)
    | (?P<group>\(\?P?<(?P<name>\w+)>)
    | (?P<flags>\(\?(?P<on>[imsU]*)(?:-(?P<off>[imsU]+))?(?P<end>[:)]))
    | (?P<other>\(\?)
    | (?P<class>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\])
    | (?P<repeat>(?:[*+?]|\{\d+(?:,\d*)?\})\??)
    | (?P<plain>.)""",
    re.VERBOSE | re.DOTALL,
)
_GO_ESCAPES = frozenset("AbBdDsSwWzfnrtvax")
_CLASS_PART = re.compile(r"\[:(\^?)(\w+):\]|(\\.)|(.)", re.DOTALL)
_EXPANSION = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


@cache
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern in Go's syntax. Raises ValueError with the reason."""
    try:
        return re.compile(_translate(pattern), re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"invalid regexp pattern: {error}") from None


def _translate(pattern: str) -> str:
    found: list[str] = []
    multiline = [False]
    repeated = False
    for match in _TOKEN.finditer(pattern):
        if match["repeat"]:
            if repeated:
                raise ValueError("invalid regexp pattern: invalid nested repetition operator")
            found.append(match["repeat"])
        elif match["flags"] is not None:
            found.append(_translate_flags(match, multiline))
        elif match["plain"] == "(" or match["group"]:
            multiline.append(multiline[-1])
            found.append(f"(?P<{match['name']}>" if match["group"] else "(")
        elif match["plain"] == ")":
            multiline = multiline[:-1] or [False]
            found.append(")")
        else:
            found.append(_translate_token(match, multiline=multiline[-1]))
        repeated = bool(match["repeat"])
    return "".join(found)


def _translate_flags(match: re.Match[str], multiline: list[bool]) -> str:
    """Translate flags; whether ``^`` and ``$`` match at lines is remembered, because they are written out."""
    on, off = match["on"], match["off"] or ""
    if "U" in on + off:
        raise ValueError("invalid regexp pattern: the flag U (ungreedy) is not supported here")
    wanted = (multiline[-1] or "m" in on) and "m" not in off
    on, off = on.replace("m", ""), off.replace("m", "")
    if match["end"] == ":":
        multiline.append(wanted)
        return f"(?{on}{'-' + off if off else ''}:"
    if match.start() != 0:
        raise ValueError("invalid regexp pattern: flags are supported at the start of a pattern, or as (?i:text)")
    multiline[-1] = wanted
    return f"(?{on})" if on else ""


def _translate_token(match: re.Match[str], *, multiline: bool) -> str:
    if match["quoted"] is not None:
        return re.escape(match["quoted"])
    if match["other"]:
        raise ValueError("invalid regexp pattern: invalid or unsupported Perl syntax")
    if match["class"]:
        return _translate_class(match["class"])
    if match["hex"]:
        return re.escape(chr(int(match["hex"][3:-1], 16)))
    if match["escape"]:
        return _translate_escape(match["escape"])
    if match["plain"] == "$":
        return "(?=\\n|\\Z)" if multiline else r"\Z"
    if match["plain"] == "^":
        return r"(?:\A|(?<=\n))" if multiline else r"\A"
    return match["plain"]


def _translate_escape(escape: str, *, inside: bool = False) -> str:
    letter = escape[1]
    if letter == "z" and not inside:
        return r"\Z"
    if letter == "s":
        return r"\t\n\f\r " if inside else r"[\t\n\f\r ]"
    if letter == "S" and not inside:
        return r"[^\t\n\f\r ]"
    if letter.isalnum() and letter not in _GO_ESCAPES and letter != "0":
        kind = "\\p (classes of Unicode) is" if letter in "pP" else f"{escape} is"
        raise ValueError(f"invalid regexp pattern: {kind} not supported here")
    return escape


def _translate_class(text: str) -> str:
    inner, head = text[1:-1], "["
    if inner.startswith("^"):
        inner, head = inner[1:], "[^"
    if inner.startswith("]"):
        inner, head = inner[1:], head + r"\]"
    found = []
    for negated, name, escape, plain in _CLASS_PART.findall(inner):
        if name:
            if negated or name not in _POSIX:
                raise ValueError(f"invalid regexp pattern: invalid character class range: `[:{negated}{name}:]`")
            found.append(_POSIX[name])
        elif escape:
            found.append(_translate_escape(escape, inside=True))
        else:
            found.append(f"\\{plain}" if plain in "[&~|" else plain)
    return f"{head}{''.join(found)}]"


def _compile(value: HclValue) -> re.Pattern[str]:
    try:
        return compile_pattern(value.text)
    except ValueError as error:
        raise ParameterError(0, str(error)) from None


def _check_groups(pattern: re.Pattern[str]) -> HclType:
    """Return the type of a match: a string without groups, a tuple of groups, or an object of named ones."""
    names = pattern.groupindex
    if not pattern.groups:
        return STRING
    if names and len(names) < pattern.groups:
        raise ParameterError(0, "invalid regexp pattern: cannot mix both named and unnamed capture groups")
    if names:
        return make_object_type(dict.fromkeys(names, STRING))
    return make_tuple_type([STRING] * pattern.groups)


def _make_result(match: re.Match[str]) -> HclValue:
    def wrap(text: str | None) -> HclValue:
        return make_null(STRING) if text is None else make_string(text)

    if match.re.groupindex:
        return make_object({name: wrap(text) for name, text in match.groupdict().items()})
    if match.re.groups:
        return make_tuple(map(wrap, match.groups()))
    return make_string(match[0])


def _find(given: Sequence[HclValue]) -> HclValue:
    pattern = _compile(given[0])
    _check_groups(pattern)
    match = pattern.search(given[1].text)
    if match is None:
        raise CallError("pattern did not match any part of the given string")
    return _make_result(match)


def _find_all(given: Sequence[HclValue]) -> HclValue:
    pattern = _compile(given[0])
    element = _check_groups(pattern)
    return make_list(map(_make_result, pattern.finditer(given[1].text)), element)


def _replace(given: Sequence[HclValue]) -> HclValue:
    try:
        pattern = compile_pattern(given[1].text)
    except ValueError as error:
        raise ParameterError(1, str(error)) from None
    template = given[2].text

    def expand(match: re.Match[str]) -> str:
        def read(reference: re.Match[str]) -> str:
            name = reference[1] or reference[2]
            if name is None:
                return "$"
            if name.isdigit():
                return (match[int(name)] or "") if int(name) <= match.re.groups else ""
            return (match[name] or "") if name in match.re.groupindex else ""

        return _EXPANSION.sub(read, template)

    found, length, at = list[str](), 0, 0
    for match in pattern.finditer(given[0].text):
        found += [given[0].text[at : match.start()], expand(match)]
        length, at = length + len(found[-2]) + len(found[-1]), match.end()
        check_length(length)
    return make_string("".join((*found, given[0].text[at:])))


_BOTH = (Parameter("pattern", STRING), Parameter("string", STRING))
FUNCTIONS = {
    "regex": HclFunction(_BOTH, _find),
    "regex_replace": HclFunction(
        (Parameter("str", STRING), Parameter("pattern", STRING), Parameter("replace", STRING)), _replace
    ),
    "regexall": HclFunction(_BOTH, _find_all),
}
