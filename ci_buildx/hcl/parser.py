"""Parses expressions of the native syntax (HCL 2.24.0, ``hclsyntax/parser.go``)."""

from __future__ import annotations

from ci_buildx.hcl import loops, templates
from ci_buildx.hcl.reader import TokenReader
from ci_buildx.hcl.source import HclError, SourceRange
from ci_buildx.hcl.syntax import (
    AttributeStep,
    BinaryOperation,
    Conditional,
    Expression,
    FunctionCall,
    IndexStep,
    Literal,
    ObjectConstructor,
    Parenthesized,
    Splat,
    Template,
    Traversal,
    TraversalStep,
    TupleConstructor,
    UnaryOperation,
    VariableReference,
)
from ci_buildx.hcl.tokens import Token, TokenKind, read_template_tokens, read_tokens
from ci_buildx.hcl.types.numbers import parse_number
from ci_buildx.hcl.types.values import FALSE, NULL, TRUE, make_number, make_string

_LEVELS: tuple[frozenset[TokenKind], ...] = (
    frozenset((TokenKind.OR,)),
    frozenset((TokenKind.AND,)),
    frozenset((TokenKind.EQUAL_TO, TokenKind.NOT_EQUAL)),
    frozenset((TokenKind.GREATER, TokenKind.GREATER_OR_EQUAL, TokenKind.LESS, TokenKind.LESS_OR_EQUAL)),
    frozenset((TokenKind.PLUS, TokenKind.MINUS)),
    frozenset((TokenKind.STAR, TokenKind.SLASH, TokenKind.PERCENT)),
)
"""Binary operators, the weakest first; those of one level group from left to right."""
_WORDS = {"true": TRUE, "false": FALSE, "null": NULL}


def parse_expression_text(text: str, file: str, *, line: int = 1, column: int = 1) -> Expression:
    """Parse a text that is one expression. Raises HclError."""
    reader = TokenReader(read_tokens(text, file, line=line, column=column), newlines=False)
    expression = parse_expression(reader)
    rest = reader.peek()
    if rest.kind is not TokenKind.END:
        raise HclError("Extra characters after expression", "An expression ended here.", rest.where)
    return expression


def parse_template_text(text: str, file: str, *, line: int = 1, column: int = 1) -> Template:
    """Parse a text that is a template without quotes, such as a string in JSON. Raises HclError."""
    return templates.parse_tokens(read_template_tokens(text, file, line=line, column=column), parse_expression)


def parse_expression(reader: TokenReader) -> Expression:
    """Parse an expression with all operators. Raises HclError."""
    with reader.descend():
        condition = _parse_operations(reader, 0)
        if not reader.accept(TokenKind.QUESTION):
            return condition
        yes = parse_expression(reader)
        colon = reader.take()
        if colon.kind is not TokenKind.COLON:
            detail = "The conditional operator (...?...:...) requires a false expression, delimited by a colon."
            raise HclError("Missing false expression in conditional", detail, colon.where)
        no = parse_expression(reader)
    return Conditional(condition=condition, yes=yes, no=no, where=condition.where.extend(no.where))


def _parse_operations(reader: TokenReader, level: int) -> Expression:
    if level == len(_LEVELS):
        return parse_traversal(reader, parse_term(reader))
    left = _parse_operations(reader, level + 1)
    while operator := reader.accept(*_LEVELS[level]):
        right = _parse_operations(reader, level + 1)
        where = left.where.extend(right.where)
        left = BinaryOperation(operator=operator.kind, left=left, right=right, where=where)
    return left


def parse_traversal(reader: TokenReader, source: Expression) -> Expression:
    """Parse what follows a term: attributes, indices and splats."""
    while True:
        if dot := reader.accept(TokenKind.DOT):
            source = _parse_dot(reader, source, dot.where)
        elif bracket := reader.accept(TokenKind.OPEN_BRACKET):
            source = _parse_index(reader, source, bracket.where)
        else:
            return source


def _add_step(source: Expression, step: TraversalStep) -> Traversal:
    where = source.where.extend(step.where)
    if isinstance(source, Traversal):
        return Traversal(source=source.source, steps=(*source.steps, step), where=where)
    return Traversal(source=source, steps=(step,), where=where)


def _parse_dot(reader: TokenReader, source: Expression, dot: SourceRange) -> Expression:
    token = reader.take()
    if token.kind is not TokenKind.STAR:
        return _add_step(source, _make_step(token, dot))
    item = VariableReference(name=_name_item(token.where), where=dot.extend(token.where))
    each: Expression = item
    while reader.accept(TokenKind.DOT):
        following = reader.take()
        if following.kind is TokenKind.STAR:
            detail = "A splat expression (*) cannot be used inside another attribute-only splat expression."
            raise HclError("Nested splat expression not allowed", detail, following.where)
        each = _add_step(each, _make_step(following, following.where))
    return Splat(source=source, item=item.name, each=each, where=source.where.extend(each.where))


def _make_step(token: Token, dot: SourceRange) -> TraversalStep:
    """Return the step that follows a dot: a name, or a number as in old documents."""
    where = dot.extend(token.where)
    if token.kind is TokenKind.IDENTIFIER:
        return AttributeStep(name=token.text, where=where)
    if token.kind is TokenKind.NUMBER and token.text.isdigit():
        return IndexStep(key=Literal(value=make_number(parse_number(token.text)), where=token.where), where=where)
    if token.kind is TokenKind.NUMBER:
        detail = "When using the legacy index syntax, chaining two indexes together is not permitted. Use [N][N]."
        raise HclError("Invalid legacy index syntax", detail, token.where)
    raise HclError("Invalid attribute name", "An attribute name is required after a dot.", token.where)


def _name_item(where: SourceRange) -> str:
    """Return a name for the elements of a splat that no document can use."""
    return f"*{where.line}:{where.column}"


def _parse_index(reader: TokenReader, source: Expression, opening: SourceRange) -> Expression:
    with reader.nest(newlines=False):
        if star := reader.accept(TokenKind.STAR):
            key: Expression | None = None
        else:
            key = parse_expression(reader)
        closing = reader.take()
    if closing.kind is not TokenKind.CLOSE_BRACKET:
        detail = 'The index operator must end with a closing bracket ("]").'
        raise HclError("Missing close bracket on index", detail, closing.where)
    where = opening.extend(closing.where)
    if key is not None:
        return _add_step(source, IndexStep(key=key, where=where))
    assert star is not None
    item = VariableReference(name=_name_item(star.where), where=where)
    each = parse_traversal(reader, item)
    return Splat(source=source, item=item.name, each=each, where=source.where.extend(each.where))


def parse_term(reader: TokenReader) -> Expression:
    """Parse a literal, a name, a call, a string, a constructor, or an expression in parentheses."""
    token = reader.take()
    match token.kind:
        case TokenKind.NUMBER:
            return _make_number(token)
        case TokenKind.IDENTIFIER:
            return _parse_name(reader, token)
        case TokenKind.OPEN_QUOTE | TokenKind.OPEN_HEREDOC:
            return templates.parse_string(reader, token, parse_expression)
        case TokenKind.MINUS | TokenKind.NOT:
            operand = parse_traversal(reader, parse_term(reader))
            return UnaryOperation(operator=token.kind, operand=operand, where=token.where.extend(operand.where))
        case TokenKind.OPEN_PARENTHESIS:
            return _parse_parentheses(reader, token)
        case TokenKind.OPEN_BRACKET:
            return _parse_tuple(reader, token)
        case TokenKind.OPEN_BRACE:
            return _parse_object(reader, token)
        case TokenKind.END:
            detail = "Expected the start of an expression, but found the end of the file."
            raise HclError("Missing expression", detail, token.where)
    detail = "Expected the start of an expression, but found an invalid expression token."
    raise HclError("Invalid expression", detail, token.where)


def _make_number(token: Token) -> Literal:
    try:
        return Literal(value=make_number(parse_number(token.text)), where=token.where)
    except ValueError:
        detail = "Failed to recognize the value of this number literal."
        raise HclError("Invalid number literal", detail, token.where) from None


def _parse_name(reader: TokenReader, token: Token) -> Expression:
    name, where = token.text, token.where
    following = reader.peek().kind
    if following not in (TokenKind.OPEN_PARENTHESIS, TokenKind.DOUBLE_COLON):
        if name in _WORDS:
            return Literal(value=_WORDS[name], where=where)
        return VariableReference(name=name, where=where)
    while reader.accept(TokenKind.DOUBLE_COLON):
        part = reader.take()
        if part.kind is not TokenKind.IDENTIFIER:
            raise HclError("Missing function name", "A name must follow the symbol ::.", part.where)
        name, where = f"{name}::{part.text}", where.extend(part.where)
    opening = reader.take()
    if opening.kind is not TokenKind.OPEN_PARENTHESIS:
        raise HclError("Missing open parenthesis", "A function's name must be followed by its arguments.", where)
    return _parse_call(reader, name, where)


def _parse_call(reader: TokenReader, name: str, where: SourceRange) -> FunctionCall:
    arguments: list[Expression] = []
    expand = False
    with reader.nest(newlines=False):
        while not reader.accept(TokenKind.CLOSE_PARENTHESIS):
            arguments.append(parse_expression(reader))
            separator = reader.take()
            if separator.kind is TokenKind.CLOSE_PARENTHESIS:
                break
            if separator.kind is TokenKind.ELLIPSIS:
                expand = True
                if not reader.accept(TokenKind.CLOSE_PARENTHESIS):
                    detail = "An expanded function argument (with ...) must be followed by a closing parenthesis."
                    raise HclError("Missing closing parenthesis", detail, separator.where)
                break
            if separator.kind is TokenKind.END:
                raise HclError("Unterminated function call", "There is no closing parenthesis for this call.", where)
            if separator.kind is not TokenKind.COMMA:
                detail = "A comma is required to separate each function argument from the next."
                raise HclError("Missing argument separator", detail, separator.where)
    whole = where.extend(reader.last)
    return FunctionCall(name=name, arguments=tuple(arguments), expand=expand, name_where=where, where=whole)


def _parse_parentheses(reader: TokenReader, opening: Token) -> Expression:
    with reader.nest(newlines=False):
        inner = parse_expression(reader)
        closing = reader.take()
    if closing.kind is not TokenKind.CLOSE_PARENTHESIS:
        detail = "Expected a closing parenthesis to terminate the expression."
        raise HclError("Unbalanced parentheses", detail, closing.where)
    return Parenthesized(inner=inner, where=opening.where.extend(closing.where))


def _parse_tuple(reader: TokenReader, opening: Token) -> Expression:
    items: list[Expression] = []
    with reader.nest(newlines=False):
        if reader.accept_word("for"):
            return loops.parse_for(reader, opening, parse_expression)
        while not reader.accept(TokenKind.CLOSE_BRACKET):
            items.append(parse_expression(reader))
            separator = reader.peek()
            if separator.kind is TokenKind.END:
                detail = "There is no corresponding closing bracket before the end of the file."
                raise HclError("Unterminated tuple constructor expression", detail, opening.where)
            if separator.kind is not TokenKind.CLOSE_BRACKET and not reader.accept(TokenKind.COMMA):
                detail = "Expected a comma to mark the beginning of the next item."
                raise HclError("Missing item separator", detail, separator.where)
    return TupleConstructor(items=tuple(items), where=opening.where.extend(reader.last))


def _parse_object(reader: TokenReader, opening: Token) -> Expression:
    with reader.nest(newlines=False):
        if reader.accept_word("for"):
            return loops.parse_for(reader, opening, parse_expression)
    items: list[tuple[Expression, Expression]] = []
    with reader.nest(newlines=True):
        while True:
            if reader.accept(TokenKind.NEWLINE):
                continue
            if reader.accept(TokenKind.CLOSE_BRACE):
                break
            items.append(_parse_item(reader, opening))
            separator = reader.peek()
            if separator.kind is TokenKind.CLOSE_BRACE:
                continue
            if not reader.accept(TokenKind.COMMA, TokenKind.NEWLINE):
                raise _refuse_separator(separator, opening, "Missing attribute separator", "a newline or comma")
    return ObjectConstructor(items=tuple(items), where=opening.where.extend(reader.last))


def _parse_item(reader: TokenReader, opening: Token) -> tuple[Expression, Expression]:
    key = parse_expression(reader)
    separator = reader.peek()
    if not reader.accept(TokenKind.EQUAL, TokenKind.COLON):
        raise _refuse_separator(separator, opening, "Missing key/value separator", 'an equals sign ("=")')
    if isinstance(key, VariableReference):
        key = Literal(value=make_string(key.name), where=key.where)
    elif isinstance(key, Literal) and key.value in _WORDS.values():
        word = next(word for word, value in _WORDS.items() if value == key.value)
        key = Literal(value=make_string(word), where=key.where)
    return key, parse_expression(reader)


def _refuse_separator(token: Token, opening: Token, summary: str, wanted: str) -> HclError:
    if token.kind is TokenKind.END:
        detail = "There is no corresponding closing brace before the end of the file."
        return HclError("Unterminated object constructor expression", detail, opening.where)
    return HclError(summary, f"Expected {wanted} here.", token.where)
