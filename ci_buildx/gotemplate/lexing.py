"""Splits a template into texts and the tokens of its actions (Go 1.26, ``text/template/parse/lex.go``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

from ci_buildx.gotemplate.syntax import TemplateFault
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass


class TemplateTokenKind(StrEnum):
    """Kinds of tokens; ``END`` is the end of an action, ``LITERAL`` the text outside of actions."""

    LITERAL = "text"
    END = "}}"
    FIELD = "field"
    DOT = "."
    VARIABLE = "variable"
    WORD = "name"
    NUMBER = "number"
    QUOTED = "string"
    RAW = "raw string"
    CHARACTER = "character"
    DECLARE = ":="
    ASSIGN = "="
    PIPE = "|"
    OPEN = "("
    CLOSE = ")"
    COMMA = ","


@dataclass(frozen=True, slots=True)
class TemplateToken:
    """A token; ``spaced`` tells whether white space precedes it."""

    kind: TemplateTokenKind
    text: str
    line: int
    spaced: bool = False


_SPACE = " \t\r\n"
_SPACES = tuple(_SPACE)
_COMMENT = compile_lazily(r"(?s)/\*.*?\*/")
_END = compile_lazily(rf"(?P<space>[{_SPACE}]*)(?:(?P<trims>(?<=[{_SPACE}])-)?}}}})")
_TOKEN = compile_lazily(
    r"""
      (?P<NUMBER>[+-]?(?:[0-9]|\.[0-9])(?:[eEpP][+-]|[0-9A-Za-z_.])*)
    | (?P<FIELD>\.[^\W\d]\w*)
    | (?P<DOT>\.)
    | (?P<VARIABLE>\$\w*)
    | (?P<WORD>[^\W\d]\w*)
    | (?P<QUOTED>"(?:\\.|[^"\\\n])*")
    | (?P<RAW>`[^`]*`)
    | (?P<CHARACTER>'(?:\\.|[^'\\\n])+')
    | (?P<DECLARE>:=)
    | (?P<ASSIGN>=)
    | (?P<PIPE>\|)
    | (?P<OPEN>\()
    | (?P<CLOSE>\))
    | (?P<COMMA>,)
    """,
    re.VERBOSE,
)


def split_template(text: str) -> Iterator[TemplateToken]:
    """Yield the tokens of a template. Raises TemplateFault."""
    place, trims = 0, False
    while (begin := text.find("{{", place)) >= 0:
        trims_left = text[begin + 2 : begin + 3] == "-" and text[begin + 3 : begin + 4] in _SPACES
        yield from _make_text(text, place, begin, trims, trims_left)
        start = begin + (3 if trims_left else 2)
        place, trims, tokens = _split_action(text, start, _count_line(text, begin))
        yield from tokens
    yield from _make_text(text, place, len(text), trims, False)


def _make_text(text: str, start: int, end: int, trims_start: bool, trims_end: bool) -> Iterator[TemplateToken]:
    shown = text[start:end]
    if trims_start:
        shown = shown.lstrip(_SPACE)
    if trims_end:
        shown = shown.rstrip(_SPACE)
    if shown:
        yield TemplateToken(TemplateTokenKind.LITERAL, shown, _count_line(text, start))


def _split_action(text: str, start: int, line: int) -> tuple[int, bool, list[TemplateToken]]:
    """Return where the action ends, whether the text after it is trimmed, and the action's tokens."""
    inner = _skip_spaces(text, start)
    if text.startswith("/*", inner):
        return _skip_comment(text, inner, line)
    tokens: list[TemplateToken] = []
    place = start
    while True:
        if end := _END.match(text, place):
            tokens.append(TemplateToken(TemplateTokenKind.END, "}}", _count_line(text, place)))
            return end.end(), bool(end["trims"]), tokens
        begin = _skip_spaces(text, place)
        found = _TOKEN.match(text, begin)
        if found is None or found.lastgroup is None:
            raise _make_fault(text, begin, line)
        tokens.append(
            TemplateToken(TemplateTokenKind[found.lastgroup], found[0], _count_line(text, begin), begin > place)
        )
        place = found.end()


def _skip_spaces(text: str, place: int) -> int:
    while text[place : place + 1] in _SPACES:
        place += 1
    return place


def _skip_comment(text: str, start: int, line: int) -> tuple[int, bool, list[TemplateToken]]:
    comment = _COMMENT.match(text, start)
    end = _END.match(text, comment.end()) if comment else None
    if end is None or (end["space"] and not end["trims"]):
        raise TemplateFault("the comment does not end in */}}", line=line)
    return end.end(), bool(end["trims"]), []


def _make_fault(text: str, place: int, line: int) -> TemplateFault:
    character = text[place : place + 1]
    if not character:
        return TemplateFault("the action is not closed", line=line, fix="close it with }}")
    if character in "\"'`":
        return TemplateFault("the quoted text is not closed", line=line)
    return TemplateFault(f"unexpected {character!r} in an action", line=_count_line(text, place))


def _count_line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1
