"""The syntax tree: expressions, and the bodies, blocks and arguments that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ci_buildx.hcl.source import SourceRange
from ci_buildx.hcl.tokens import TokenKind
from ci_buildx.hcl.types.values import HclValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """A number, ``true``, ``false``, ``null``, or the text between interpolations."""

    value: HclValue
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeStep:
    """``.NAME`` behind an expression."""

    name: str
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStep:
    """``[KEY]`` behind an expression, with a constant key if it is a literal."""

    key: Expression
    where: SourceRange


TraversalStep: TypeAlias = AttributeStep | IndexStep


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableReference:
    """The name of a variable."""

    name: str
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Traversal:
    """Steps behind an expression: ``target.app.tags[0]``."""

    source: Expression
    steps: tuple[TraversalStep, ...]
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Splat:
    """``source[*]`` or ``source.*``: ``each`` is evaluated for all elements, which it calls ``item``."""

    source: Expression
    item: str
    each: Expression
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """A call; the last argument may be a sequence of arguments."""

    name: str
    arguments: tuple[Expression, ...]
    expand: bool
    name_where: SourceRange
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class UnaryOperation:
    """``-x`` or ``!x``."""

    operator: TokenKind
    operand: Expression
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryOperation:
    """Two operands and an operator."""

    operator: TokenKind
    left: Expression
    right: Expression
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditional:
    """``condition ? yes : no``, or an ``if`` directive."""

    condition: Expression
    yes: Expression
    no: Expression
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class TupleConstructor:
    """``[a, b]``."""

    items: tuple[Expression, ...]
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectConstructor:
    """``{a = b}``. A bare name is a literal key."""

    items: tuple[tuple[Expression, Expression], ...]
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class ForExpression:
    """``[for k, v in source : value if condition]``; an object with a ``key``, grouped with ``...``."""

    key_name: str
    value_name: str
    source: Expression
    key: Expression | None
    value: Expression
    condition: Expression | None
    group: bool
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A string with interpolations. ``wrapped`` means a single interpolation, which keeps its type."""

    parts: tuple[Expression, ...]
    wrapped: bool
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateLoop:
    """A ``for`` directive: the results of a loop, joined to one string."""

    loop: ForExpression
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Parenthesized:
    """An expression in parentheses, which is never a bare name."""

    inner: Expression
    where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonText:
    """A string in JSON: a template, or a keyword, a type or a reference where one of these is expected."""

    text: str
    where: SourceRange


Expression: TypeAlias = (
    Literal
    | JsonText
    | VariableReference
    | Traversal
    | Splat
    | FunctionCall
    | UnaryOperation
    | BinaryOperation
    | Conditional
    | TupleConstructor
    | ObjectConstructor
    | ForExpression
    | Template
    | TemplateLoop
    | Parenthesized
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Argument:
    """``name = expression``."""

    name: str
    expression: Expression
    where: SourceRange
    name_where: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """``type "label" { … }``. ``where`` is its header."""

    type: str
    labels: tuple[str, ...]
    body: Body
    where: SourceRange
    label_where: tuple[SourceRange, ...]


class Body(Protocol):
    """Arguments and blocks, in the native syntax or in JSON."""

    @property
    def where(self) -> SourceRange:
        """Where the body is."""
        ...

    def find_argument(self, name: str) -> Argument | None:
        """Return an argument. Raises HclError if it is set twice."""
        ...

    def find_blocks(self, types: Mapping[str, int]) -> Sequence[Block]:
        """Return the blocks of some types, in order; each has the given number of labels. Raises HclError."""
        ...

    def list_arguments(self, blocks: Mapping[str, int]) -> Mapping[str, Argument]:
        """Return all arguments; ``blocks`` are the types of blocks, which JSON cannot tell apart."""
        ...
