"""Calls of functions: arguments, conversion to the parameters' types, errors with their position."""

from __future__ import annotations

from ci_buildx.hcl.functions.signature import CallError, HclFunction, ParameterError
from ci_buildx.hcl.operators import Evaluate
from ci_buildx.hcl.scope import Scope, suggest
from ci_buildx.hcl.source import HclError, SourceRange
from ci_buildx.hcl.syntax import Expression, FunctionCall
from ci_buildx.hcl.traversal import find_start
from ci_buildx.hcl.type_syntax import parse_type
from ci_buildx.hcl.types.conversion import ConversionError, convert, describe_mismatch
from ci_buildx.hcl.types.values import DYNAMIC, ITERABLES, STRING, HclValue, TypeKind, make_bool

_NO_NULL = "argument must not be null"
UNEVALUATED = ("try", "can", "convert")
"""Functions that get expressions instead of values."""


def call_function(call: FunctionCall, scope: Scope, evaluate: Evaluate) -> HclValue:
    """Return the result of a call. Raises HclError."""
    if call.name in UNEVALUATED and scope.find_function(call.name) is None:
        return _call_unevaluated(call, scope, evaluate)
    function = scope.find_function(call.name)
    if function is None:
        advice = suggest(call.name, (*scope.list_functions(), *UNEVALUATED))
        raise HclError(
            "Call to unknown function", f'There is no function named "{call.name}".{advice}', call.name_where
        )
    given = _list_arguments(call, scope, evaluate)
    _check_count(call, function, [part for part, _ in given])
    values = [_read_argument(function, at, *one) for at, one in enumerate(given)]
    try:
        return function.compute(values)
    except ParameterError as error:
        where = find_start(given[error.index][0] if error.index < len(given) else call)
        raise _refuse(function.find_parameter(error.index).name, error, where=where) from None
    except CallError as error:
        detail = f'Call to function "{call.name}" failed: {error}.'
        raise HclError("Error in function call", detail, find_start(call)) from None


def _refuse(name: str, reason: object, *, where: object) -> HclError:
    detail = f'Invalid value for "{name}" parameter: {reason}.'
    return HclError("Invalid function argument", detail, where)  # type: ignore[arg-type]


def _list_arguments(call: FunctionCall, scope: Scope, evaluate: Evaluate) -> list[tuple[Expression, HclValue]]:
    """Return the arguments and their values; a last one with an ellipsis is replaced by its elements."""
    given = [(one, evaluate(one, scope)) for one in call.arguments]
    if not call.expand:
        return given
    last, value = given.pop()
    if value.is_null:
        detail = "The expanding argument (indicated by ...) must not be null."
        raise HclError("Invalid expanding argument value", detail, last.where)
    if not value.type.is_one_of(*ITERABLES):
        detail = "The expanding argument (indicated by ...) must be of a tuple, list, or set type."
        raise HclError("Invalid expanding argument value", detail, last.where)
    return [*given, *((last, one) for one in value.items)]


def _check_count(call: FunctionCall, function: HclFunction, given: list[Expression]) -> None:
    wanted = len(function.parameters)
    if len(given) < wanted:
        missing = function.parameters[len(given)].name
        least = " at least" if function.variadic else ""
        detail = f'Function "{call.name}" expects{least} {wanted} argument(s). Missing value for "{missing}".'
        raise HclError("Not enough function arguments", detail, _find_end(call))
    if function.variadic is None and len(given) > wanted:
        detail = f'Function "{call.name}" expects only {wanted} argument(s).'
        raise HclError("Too many function arguments", detail, given[wanted].where)


def _find_end(call: FunctionCall) -> SourceRange:
    """Return where the closing parenthesis is."""
    where = call.where
    return where._replace(line=where.end_line, column=where.end_column - 1)


def _read_argument(function: HclFunction, index: int, expression: Expression, value: HclValue) -> HclValue:
    parameter = function.find_parameter(index)
    try:
        converted = convert(value, parameter.type)
    except ConversionError as error:
        raise _refuse(parameter.name, error, where=find_start(expression)) from None
    if converted.is_null and not parameter.nullable:
        raise _refuse(parameter.name, _NO_NULL, where=find_start(expression))
    return converted


def _call_unevaluated(call: FunctionCall, scope: Scope, evaluate: Evaluate) -> HclValue:
    if call.name == "convert":
        return _convert(call, scope, evaluate)
    if call.name == "can" and len(call.arguments) != 1:
        where = call.arguments[1].where if call.arguments else call.where
        summary = f"{'Too many' if call.arguments else 'Not enough'} function arguments"
        raise HclError(summary, 'Function "can" expects only 1 argument.', where)
    reasons: list[str] = []
    for one in call.arguments:
        try:
            value = evaluate(one, scope)
        except HclError as error:
            reasons.append(str(error))
            continue
        return make_bool(value=True) if call.name == "can" else value
    if call.name == "can":
        return make_bool(value=False)
    detail = f"no expression succeeded: {'; '.join(reasons)}" if reasons else "at least one argument is required"
    raise HclError("Error in function call", f'Call to function "try" failed: {detail}.', find_start(call))


def _convert(call: FunctionCall, scope: Scope, evaluate: Evaluate) -> HclValue:
    if len(call.arguments) != 2:
        where = _find_end(call) if len(call.arguments) < 2 else call.arguments[2].where
        raise HclError("Not enough function arguments", 'Function "convert" expects 2 arguments.', where)
    value, wanted = evaluate(call.arguments[0], scope), parse_type(call.arguments[1])
    try:
        return convert(value, wanted)
    except ConversionError as error:
        reason = describe_mismatch(value.type, wanted) if value.type.kind is TypeKind.DYNAMIC else error
        if value.type == STRING and wanted != DYNAMIC and not value.is_null:
            reason = error
        raise _refuse("value", reason, where=find_start(call.arguments[0])) from None
