"""Functions that a definition declares with ``function`` blocks."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.hcl.evaluation import evaluate
from ci_buildx.hcl.functions.signature import CallError, HclFunction, Parameter
from ci_buildx.hcl.scope import Scope
from ci_buildx.hcl.source import HclError
from ci_buildx.hcl.syntax import Argument, Block, Expression, TupleConstructor
from ci_buildx.hcl.traversal import get_keyword
from ci_buildx.hcl.types.values import HclValue, make_tuple
from ci_buildx.model.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionDeclaration:
    """Parameters and the result of a function; ``variadic`` is "" without one."""

    name: str
    names: tuple[str, ...]
    variadic: str
    result: Expression

    @property
    def all_names(self) -> tuple[str, ...]:
        """All names that the result may use besides those of the definition."""
        return (*self.names, self.variadic) if self.variadic else self.names


def read_parameters(block: Block) -> FunctionDeclaration:
    """Read a ``function`` block. Raises HclError."""
    body, name = block.body, block.labels[0]
    parameters, result = (_require(block, key) for key in ("params", "result"))
    if not isinstance(parameters.expression, TupleConstructor):
        raise HclError("Invalid expression", "A static list expression is required.", parameters.expression.where)
    names = tuple(_read_name(one) for one in parameters.expression.items)
    variadic = body.find_argument("variadic_params")
    return FunctionDeclaration(
        name=name,
        names=names,
        variadic=_read_name(variadic.expression) if variadic else "",
        result=result.expression,
    )


def _require(block: Block, name: str) -> Argument:
    argument = block.body.find_argument(name)
    if argument is None:
        known = body_argument.where if (body_argument := block.body.find_argument("params")) else block.where
        raise HclError("Invalid function", f"empty {name} not allowed for {block.labels[0]}", known)
    return argument


def _read_name(expression: Expression) -> str:
    name = get_keyword(expression)
    if not name:
        raise HclError("Invalid param element", "Each parameter name must be an identifier.", expression.where)
    return name


def make_function(declaration: FunctionDeclaration, scope: Scope) -> HclFunction:
    """Return the function; its result is evaluated in ``scope``."""

    def compute(given: Sequence[HclValue]) -> HclValue:
        count = len(declaration.names)
        values = dict(zip(declaration.names, given, strict=False))
        if declaration.variadic:
            values[declaration.variadic] = make_tuple(given[count:])
        try:
            return evaluate(declaration.result, scope.nest(values))
        except HclError as error:
            raise CallError(str(error)) from None

    variadic = Parameter(declaration.variadic) if declaration.variadic else None
    return HclFunction(tuple(map(Parameter, declaration.names)), compute, variadic)
