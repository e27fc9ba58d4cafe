"""Unary and binary operators (HCL 2.24.0, ``hclsyntax/expression_ops.go``)."""

from __future__ import annotations

from collections.abc import Callable

from ci_buildx.hcl.scope import Scope
from ci_buildx.hcl.source import HclError
from ci_buildx.hcl.syntax import BinaryOperation, Expression, UnaryOperation
from ci_buildx.hcl.tokens import TokenKind
from ci_buildx.hcl.types.conversion import ConversionError, convert
from ci_buildx.hcl.types.numbers import BigFloat
from ci_buildx.hcl.types.values import BOOL, DYNAMIC, NUMBER, HclType, HclValue, make_bool, make_number

Evaluate = Callable[[Expression, Scope], HclValue]

_COMPARISONS: dict[TokenKind, Callable[[BigFloat, BigFloat], bool]] = {
    TokenKind.GREATER: lambda left, right: left.value > right.value,
    TokenKind.GREATER_OR_EQUAL: lambda left, right: left.value >= right.value,
    TokenKind.LESS: lambda left, right: left.value < right.value,
    TokenKind.LESS_OR_EQUAL: lambda left, right: left.value <= right.value,
}
_ARITHMETIC: dict[TokenKind, Callable[[BigFloat, BigFloat], BigFloat]] = {
    TokenKind.PLUS: BigFloat.add,
    TokenKind.MINUS: lambda left, right: left.add(right.negate()),
    TokenKind.STAR: BigFloat.multiply,
    TokenKind.SLASH: BigFloat.divide,
    TokenKind.PERCENT: BigFloat.find_remainder,
}
_LOGICAL = {TokenKind.AND: False, TokenKind.OR: True}
"""Logical operators, and the operand that decides the result alone."""
_EQUALITY = (TokenKind.EQUAL_TO, TokenKind.NOT_EQUAL)


def operate(expression: BinaryOperation, scope: Scope, evaluate: Evaluate) -> HclValue:
    """Return the result of a binary operator. Raises HclError."""
    operator = expression.operator
    if operator in _LOGICAL:
        return _combine(expression, scope, evaluate)
    left, right = (
        _read_operand(part, evaluate(part, scope), DYNAMIC if operator in _EQUALITY else NUMBER, side)
        for part, side in ((expression.left, "left operand"), (expression.right, "right operand"))
    )
    if operator in _EQUALITY:
        return make_bool(value=left.is_equal(right) is (operator is TokenKind.EQUAL_TO))
    if left.is_null or right.is_null:
        raise HclError("Operation failed", "Error during operation: argument must not be null.", expression.where)
    if operator in _COMPARISONS:
        return make_bool(value=_COMPARISONS[operator](left.number, right.number))
    try:
        return make_number(_ARITHMETIC[operator](left.number, right.number))
    except ZeroDivisionError:
        raise HclError("Operation failed", "Error during operation: division by zero.", expression.where) from None
    except OverflowError as error:
        raise HclError("Operation failed", f"Error during operation: {error}.", expression.where) from None


def _combine(expression: BinaryOperation, scope: Scope, evaluate: Evaluate) -> HclValue:
    """Return the result of ``&&`` or ``||``; the error of one operand does not count if the other one decides."""
    decisive = _LOGICAL[expression.operator]
    failure: HclError | None = None
    for part, side in ((expression.left, "left operand"), (expression.right, "right operand")):
        try:
            value = evaluate(part, scope)
        except HclError as error:
            failure = failure or error
            continue
        operand = _read_operand(part, value, BOOL, side)
        if operand.is_null:
            failure = failure or HclError(
                "Operation failed", "Error during operation: argument must not be null.", expression.where
            )
        elif operand.raw is decisive:
            return make_bool(value=decisive)
    if failure is not None:
        raise failure
    return make_bool(value=not decisive)


def _read_operand(expression: Expression, value: HclValue, wanted: HclType, side: str) -> HclValue:
    try:
        return convert(value, wanted)
    except ConversionError as error:
        raise HclError("Invalid operand", f"Unsuitable value for {side}: {error}.", expression.where) from None


def negate(expression: UnaryOperation, scope: Scope, evaluate: Evaluate) -> HclValue:
    """Return the result of ``-x`` or ``!x``. Raises HclError."""
    logical = expression.operator is TokenKind.NOT
    value = evaluate(expression.operand, scope)
    operand = _read_operand(expression.operand, value, BOOL if logical else NUMBER, "unary operand")
    if operand.is_null:
        raise HclError("Operation failed", "Error during operation: argument must not be null.", expression.where)
    return make_bool(value=not operand.raw) if logical else make_number(operand.number.negate())
