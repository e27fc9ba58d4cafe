"""Parses strings and heredocs with interpolations and directives (HCL 2.24.0, ``hclsyntax/parser_template.go``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from ci_buildx.hcl import loops
from ci_buildx.hcl.reader import ParseExpression, TokenReader
from ci_buildx.hcl.source import HclError, SourceRange
from ci_buildx.hcl.syntax import Conditional, Expression, ForExpression, Literal, Template, TemplateLoop
from ci_buildx.hcl.tokens import Token, TokenKind
from ci_buildx.hcl.types.values import EMPTY_STRING, make_string

_CLOSINGS = {TokenKind.OPEN_QUOTE: TokenKind.CLOSE_QUOTE, TokenKind.OPEN_HEREDOC: TokenKind.CLOSE_HEREDOC}
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\(.)|([$%])\4\{", re.DOTALL)
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_LARGEST = 0x10FFFF


class _Directive(Enum):
    """The word of a directive that ends or divides another one."""

    ELSE = "else"
    END_IF = "endif"
    END_FOR = "endfor"


@dataclass(slots=True)
class _TemplateText:
    """Literal text; spaces may still be trimmed."""

    text: str
    where: SourceRange


class _Interpolation(NamedTuple):
    expression: Expression
    where: SourceRange


class _If(NamedTuple):
    condition: Expression
    where: SourceRange


class _For(NamedTuple):
    names: tuple[str, str]
    source: Expression
    where: SourceRange


class _Mark(NamedTuple):
    directive: _Directive
    where: SourceRange


_Part = _TemplateText | _Interpolation | _If | _For | _Mark


def parse_string(reader: TokenReader, opening: Token, parse: ParseExpression) -> Template:
    """Parse a string or a heredoc whose opening was read; ``parse`` parses what it contains. Raises HclError."""
    found = _read_parts(reader, opening.where, _CLOSINGS[opening.kind], parse)
    if opening.text.startswith("<<-"):
        _trim_margin(found)
    return _make_template(reader, opening.where, found)


def parse_tokens(tokens: Sequence[Token], parse: ParseExpression) -> Template:
    """Parse the tokens of a template without quotes. Raises HclError."""
    reader, opening = TokenReader(tokens, newlines=True), tokens[0].where
    return _make_template(reader, opening, _read_parts(reader, opening, TokenKind.END, parse))


def read_label(reader: TokenReader, opening: Token) -> str:
    """Read a quoted string without interpolations whose opening was read. Raises HclError."""
    found = ""
    while True:
        token = reader.take()
        if token.kind is TokenKind.CLOSE_QUOTE:
            return found
        if token.kind is not TokenKind.QUOTED:
            detail = f"Template sequences are not allowed in this string. To include {token.text}, double its sign."
            raise HclError("Invalid string literal", detail, opening.where.extend(token.where))
        found += _unescape(token)


def _make_template(reader: TokenReader, opening: SourceRange, parts: list[_Part]) -> Template:
    wrapped = len(parts) == 1 and isinstance(parts[0], _Interpolation)
    joined = _join_texts(parts)
    expressions, rest = _build(joined, opening, ends=())
    assert not rest
    empty = Literal(value=EMPTY_STRING, where=opening)
    where = opening.extend(reader.last)
    return Template(parts=tuple(expressions) or (empty,), wrapped=wrapped, where=where)


def _read_parts(reader: TokenReader, opening: SourceRange, closing: TokenKind, parse: ParseExpression) -> list[_Part]:
    parts: list[_Part] = []
    trim_next = False
    while True:
        token = reader.take()
        if token.kind is closing:
            return parts
        if token.kind in (TokenKind.QUOTED, TokenKind.LITERAL):
            text = _unescape(token)
            parts.append(_TemplateText(text.lstrip() if trim_next else text, token.where))
            trim_next = False
            continue
        if token.kind not in (TokenKind.OPEN_INTERPOLATION, TokenKind.OPEN_DIRECTIVE):
            raise HclError("Unterminated template string", "No closing marker was found for the string.", opening)
        if token.text.endswith("~") and parts and isinstance(parts[-1], _TemplateText):
            parts[-1].text = parts[-1].text.rstrip()
        with reader.nest(newlines=False):
            parts.append(_read_sequence(reader, token, parse))
            end = reader.take()
        if end.kind is not TokenKind.CLOSE_TEMPLATE:
            detail = "Expected a closing brace to end the sequence, but found extra characters. "
            detail += f"To write {token.text[:2]} itself, double its first character."
            raise HclError("Extra characters after interpolation expression", detail, end.where)
        trim_next = end.text.startswith("~")


def _read_sequence(reader: TokenReader, opening: Token, parse: ParseExpression) -> _Part:
    if opening.kind is TokenKind.OPEN_INTERPOLATION:
        expression = parse(reader)
        return _Interpolation(expression, opening.where.extend(reader.last))
    word = reader.take()
    if word.kind is not TokenKind.IDENTIFIER:
        detail = 'A template directive keyword ("if", "for", etc) is expected at the beginning of a %{ sequence.'
        raise HclError("Invalid template directive", detail, word.where)
    if word.text == "if":
        return _If(parse(reader), opening.where.extend(reader.last))
    if word.text == "for":
        names = loops.read_names(reader, what="directive")
        return _For(names, parse(reader), opening.where.extend(reader.last))
    try:
        return _Mark(_Directive(word.text), opening.where.extend(word.where))
    except ValueError:
        detail = f'"{word.text}" is not a valid template control keyword: use if, else, endif, for or endfor.'
        raise HclError("Invalid template control keyword", detail, word.where) from None


def _unescape(token: Token) -> str:
    if token.kind is TokenKind.LITERAL:
        return re.sub(r"([$%])\1\{", r"\1{", token.text)

    def replace(match: re.Match[str]) -> str:
        if match[4]:
            return match[4] + "{"
        if digits := match[1] or match[2]:
            return _decode(int(digits, 16), token.where)
        if match[3] in _SIMPLE:
            return _SIMPLE[match[3]]
        detail = f'The symbol "{match[3]}" is not a valid escape sequence selector.'
        column = token.where.column + match.start()
        where = token.where._replace(column=column, end_line=token.where.line, end_column=column + len(match[0]))
        raise HclError("Invalid escape sequence", detail, where)

    return _ESCAPE.sub(replace, token.text)


def _decode(number: int, where: SourceRange) -> str:
    if number > _LARGEST or 0xD800 <= number < 0xE000:
        raise HclError("Invalid escape sequence", f"Cannot encode character U+{number:04x} in UTF-8.", where)
    return chr(number)


def _trim_margin(parts: list[_Part]) -> None:
    """Remove the margin that all lines of a ``<<-`` heredoc share; blank lines and interpolated text do not count."""
    margin: int | None = None
    starts: list[_TemplateText] = []
    at_start = True
    for part in parts:
        if at_start:
            at_start = False
            spaces: int | None = 0
            if isinstance(part, _TemplateText):
                bare = part.text.lstrip()
                spaces = len(part.text) - len(bare)
                if not bare and part.text.endswith("\n"):
                    spaces = None
                else:
                    starts.append(part)
            if spaces is not None:
                margin = spaces if margin is None else min(margin, spaces)
        if isinstance(part, _TemplateText) and part.text.endswith("\n"):
            at_start = True
    for one in starts:
        one.text = one.text[margin or 0 :]


def _join_texts(parts: list[_Part]) -> list[_Part]:
    joined: list[_Part] = []
    for part in parts:
        previous = joined[-1] if joined else None
        if isinstance(part, _TemplateText) and isinstance(previous, _TemplateText):
            previous.text += part.text
            previous.where = previous.where.extend(part.where)
        else:
            joined.append(part)
    return joined


def _build(
    parts: list[_Part], opening: SourceRange, *, ends: tuple[_Directive, ...]
) -> tuple[list[Expression], list[_Part]]:
    """Build expressions up to a directive of ``ends``; return them, and the parts from that directive on."""
    found: list[Expression] = []
    while parts:
        part, *rest = parts
        if isinstance(part, _Mark):
            if part.directive in ends:
                return found, parts
            detail = "The control directives within this template are unbalanced."
            raise HclError(f"Unexpected {part.directive.value} directive", detail, part.where)
        parts = rest
        if isinstance(part, _TemplateText):
            found.append(Literal(value=make_string(part.text), where=part.where))
        elif isinstance(part, _Interpolation):
            found.append(part.expression)
        elif isinstance(part, _If):
            expression, parts = _build_if(part, rest)
            found.append(expression)
        else:
            expression, parts = _build_for(part, rest)
            found.append(expression)
    if ends:
        detail = "A directive of this template is missing its corresponding end directive."
        raise HclError("Unexpected end of template", detail, opening)
    return found, []


def _build_if(opening: _If, parts: list[_Part]) -> tuple[Expression, list[_Part]]:
    yes, parts = _build(parts, opening.where, ends=(_Directive.ELSE, _Directive.END_IF))
    no: list[Expression] = []
    end = parts[0]
    if isinstance(end, _Mark) and end.directive is _Directive.ELSE:
        no, parts = _build(parts[1:], opening.where, ends=(_Directive.END_IF,))
        end = parts[0]
    where = opening.where.extend(end.where)
    branches = (_make_branch(yes, opening.where), _make_branch(no, end.where))
    return Conditional(condition=opening.condition, yes=branches[0], no=branches[1], where=where), parts[1:]


def _build_for(opening: _For, parts: list[_Part]) -> tuple[Expression, list[_Part]]:
    body, parts = _build(parts, opening.where, ends=(_Directive.END_FOR,))
    where = opening.where.extend(parts[0].where)
    loop = ForExpression(
        key_name=opening.names[0],
        value_name=opening.names[1],
        source=opening.source,
        key=None,
        value=_make_branch(body, opening.where),
        condition=None,
        group=False,
        where=where,
    )
    return TemplateLoop(loop=loop, where=where), parts[1:]


def _make_branch(expressions: list[Expression], where: SourceRange) -> Template:
    empty = Literal(value=EMPTY_STRING, where=where)
    return Template(parts=tuple(expressions) or (empty,), wrapped=False, where=where)
