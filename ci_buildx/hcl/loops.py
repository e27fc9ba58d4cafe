"""Parses ``for`` expressions: ``[for v in list : v]`` and ``{for k, v in map : k => v}``."""

from __future__ import annotations

from ci_buildx.hcl.reader import ParseExpression, TokenReader
from ci_buildx.hcl.source import HclError
from ci_buildx.hcl.syntax import Expression, ForExpression
from ci_buildx.hcl.tokens import Token, TokenKind


def read_names(reader: TokenReader, *, what: str) -> tuple[str, str]:
    """Read ``k, v in`` or ``v in``; return the name for keys, which may be "", and the one for values.

    ``what`` names the construct in errors. Raises HclError.
    """
    names = [_read_name(reader, what)]
    if reader.accept(TokenKind.COMMA):
        names.append(_read_name(reader, what))
    if not reader.accept_word("in"):
        detail = "The names must be followed by the keyword 'in'."
        raise HclError(f"Invalid 'for' {what}", detail, reader.peek().where)
    return (names[0], names[1]) if len(names) > 1 else ("", names[0])


def _read_name(reader: TokenReader, what: str) -> str:
    token = reader.take()
    if token.kind is not TokenKind.IDENTIFIER:
        raise HclError(f"Invalid 'for' {what}", "The name of a variable is required here.", token.where)
    return token.text


def parse_for(reader: TokenReader, opening: Token, parse: ParseExpression) -> ForExpression:
    """Parse a ``for`` expression whose bracket and keyword were read; ``parse`` parses its parts. Raises HclError."""
    makes_object = opening.kind is TokenKind.OPEN_BRACE
    key_name, value_name = read_names(reader, what="expression")
    source = parse(reader)
    if not reader.accept(TokenKind.COLON):
        detail = "For expression requires a colon after the collection expression."
        raise HclError("Invalid 'for' expression", detail, reader.peek().where)
    value = parse(reader)
    key: Expression | None = None
    if reader.accept(TokenKind.ARROW):
        key, value = value, parse(reader)
    ellipsis = reader.accept(TokenKind.ELLIPSIS)
    condition = parse(reader) if reader.accept_word("if") else None
    closing = reader.take()
    if closing.kind is not (TokenKind.CLOSE_BRACE if makes_object else TokenKind.CLOSE_BRACKET):
        detail = "Extra characters after the end of the 'for' expression."
        raise HclError("Invalid 'for' expression", detail, closing.where)
    _check_shape(makes_object, key, value, ellipsis)
    return ForExpression(
        key_name=key_name,
        value_name=value_name,
        source=source,
        key=key,
        value=value,
        condition=condition,
        group=ellipsis is not None,
        where=opening.where.extend(closing.where),
    )


def _check_shape(makes_object: bool, key: Expression | None, value: Expression, ellipsis: Token | None) -> None:
    if makes_object:
        if key is None:
            detail = "Key expression is required when building an object."
            raise HclError("Invalid 'for' expression", detail, value.where)
        return
    if key is not None:
        raise HclError("Invalid 'for' expression", "Key expression is not valid when building a tuple.", key.where)
    if ellipsis is not None:
        detail = "Grouping ellipsis (...) cannot be used when building a tuple."
        raise HclError("Invalid 'for' expression", detail, ellipsis.where)
