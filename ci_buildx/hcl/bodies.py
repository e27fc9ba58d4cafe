"""Parses a document of the native syntax into blocks and arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ci_buildx.hcl import parser, templates
from ci_buildx.hcl.reader import TokenReader
from ci_buildx.hcl.source import HclError, SourceRange
from ci_buildx.hcl.syntax import Argument, Block
from ci_buildx.hcl.tokens import Token, TokenKind, read_tokens

_REQUIRED = "An argument or block definition is required here."


@dataclass(frozen=True, slots=True, eq=False)
class NativeBody:
    """Arguments by name, and blocks in order."""

    arguments: Mapping[str, Argument]
    blocks: tuple[Block, ...]
    where: SourceRange

    def find_argument(self, name: str) -> Argument | None:
        """Return an argument."""
        return self.arguments.get(name)

    def find_blocks(self, types: Mapping[str, int]) -> Sequence[Block]:
        """Return the blocks of some types. Raises HclError if one has another number of labels."""
        found = [block for block in self.blocks if block.type in types]
        for block in found:
            count = types[block.type]
            if len(block.labels) > count:
                detail = f"{'No labels are' if not count else 'Only one label is'} expected for {block.type} blocks."
                raise HclError(f"Extraneous label for {block.type}", detail, block.label_where[count])
            if len(block.labels) < count:
                detail = f"All {block.type} blocks must have {count} labels (name)."
                brace = block.body.where
                where = brace._replace(end_line=brace.line, end_column=brace.column + 1)
                raise HclError(f"Missing name for {block.type}", detail, where)
        return found

    def list_arguments(self, _: Mapping[str, int]) -> Mapping[str, Argument]:
        """Return all arguments."""
        return self.arguments


def parse_body(text: str, file: str) -> NativeBody:
    """Parse a document. Raises HclError."""
    reader = TokenReader(read_tokens(text, file), newlines=True)
    try:
        return _parse_body(reader, TokenKind.END, None)
    except RecursionError:
        raise reader.refuse_depth() from None


def _parse_body(reader: TokenReader, end: TokenKind, opening: SourceRange | None) -> NativeBody:
    arguments: dict[str, Argument] = {}
    blocks: list[Block] = []
    start = opening or reader.peek().where
    with reader.descend():
        while not reader.accept(end):
            if reader.accept(TokenKind.NEWLINE):
                continue
            name = _read_name(reader, opening)
            if reader.accept(TokenKind.EQUAL):
                _add(arguments, _finish_argument(reader, name))
                _end_line(reader, "argument")
            else:
                blocks.append(_parse_block(reader, name))
                _end_line(reader, "block definition")
    return NativeBody(arguments, tuple(blocks), start.extend(reader.last))


def _add(arguments: dict[str, Argument], found: Argument) -> None:
    if known := arguments.get(found.name):
        detail = f'The argument "{found.name}" was already set at {known.name_where}. It may be set only once.'
        raise HclError("Attribute redefined", detail, found.name_where)
    arguments[found.name] = found


def _read_name(reader: TokenReader, opening: SourceRange | None) -> Token:
    token = reader.take()
    if token.kind is TokenKind.IDENTIFIER:
        following = reader.peek().kind
        starts = (TokenKind.EQUAL, TokenKind.OPEN_QUOTE, TokenKind.OPEN_BRACE, TokenKind.IDENTIFIER)
        if following not in starts:
            detail = f'{_REQUIRED} To set an argument, use the equals sign "=" to introduce the argument value.'
            raise HclError("Argument or block definition required", detail, token.where)
        return token
    if token.kind is TokenKind.OPEN_QUOTE:
        raise HclError("Invalid argument name", "Argument names must not be quoted.", token.where)
    if token.kind is TokenKind.END and opening is not None:
        detail = "There is no closing brace for this block before the end of the file."
        raise HclError("Unclosed configuration block", detail, opening)
    raise HclError("Argument or block definition required", _REQUIRED, token.where)


def _finish_argument(reader: TokenReader, name: Token) -> Argument:
    expression = parser.parse_expression(reader)
    where = name.where.extend(reader.last)
    return Argument(name=name.text, expression=expression, where=where, name_where=name.where)


def _end_line(reader: TokenReader, what: str) -> None:
    """Require a newline, or the end of the file, behind an argument or a block."""
    token = reader.peek()
    if token.kind is TokenKind.END or reader.accept(TokenKind.NEWLINE):
        return
    if token.kind is TokenKind.COMMA:
        detail = "Argument definitions must be separated by newlines, not commas."
        raise HclError("Unexpected comma after argument", detail, token.where)
    raise HclError(f"Missing newline after {what}", f"The {what} must end with a newline.", token.where)


def _parse_block(reader: TokenReader, name: Token) -> Block:
    labels: list[str] = []
    label_where: list[SourceRange] = []
    while not (brace := reader.accept(TokenKind.OPEN_BRACE)):
        token = reader.take()
        if token.kind is TokenKind.OPEN_QUOTE:
            labels.append(templates.read_label(reader, token))
        elif token.kind is TokenKind.IDENTIFIER:
            labels.append(token.text)
        else:
            detail = 'Either a quoted string block label or an opening brace ("{") is expected here.'
            raise HclError("Invalid block definition", detail, token.where)
        label_where.append(token.where.extend(reader.last))
    header = name.where.extend(label_where[-1] if label_where else name.where)
    one_line = reader.peek().kind not in (TokenKind.NEWLINE, TokenKind.CLOSE_BRACE, TokenKind.END)
    body = _parse_line(reader, brace) if one_line else _parse_body(reader, TokenKind.CLOSE_BRACE, brace.where)
    return Block(type=name.text, labels=tuple(labels), body=body, where=header, label_where=tuple(label_where))


def _parse_line(reader: TokenReader, brace: Token) -> NativeBody:
    """Parse a block on one line, which holds one argument."""
    name = _read_name(reader, brace.where)
    if not reader.accept(TokenKind.EQUAL):
        detail = "A single-line block definition can contain only a single argument."
        raise HclError("Argument definition required", detail, name.where)
    argument = _finish_argument(reader, name)
    closing = reader.take()
    if closing.kind is not TokenKind.CLOSE_BRACE:
        detail = "A single-line block definition must end with a closing brace after its single argument."
        raise HclError("Invalid single-argument block definition", detail, closing.where)
    return NativeBody({argument.name: argument}, (), argument.where.extend(closing.where))
