"""Evaluates expressions (HCL 2.24.0, ``hclsyntax/expression.go``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ci_buildx.hcl import operators
from ci_buildx.hcl.calls import call_function
from ci_buildx.hcl.limits import describe_excess
from ci_buildx.hcl.scope import Scope, suggest
from ci_buildx.hcl.source import HclError, SourceRange
from ci_buildx.hcl.syntax import (
    AttributeStep,
    BinaryOperation,
    Conditional,
    Expression,
    ForExpression,
    FunctionCall,
    IndexStep,
    JsonText,
    Literal,
    ObjectConstructor,
    Parenthesized,
    Splat,
    Template,
    TemplateLoop,
    Traversal,
    TupleConstructor,
    UnaryOperation,
    VariableReference,
)
from ci_buildx.hcl.traversal import get_attribute, get_element, parse_json_text
from ci_buildx.hcl.types.conversion import ConversionError, convert, format_value
from ci_buildx.hcl.types.unification import unify_types
from ci_buildx.hcl.types.values import (
    BOOL,
    DYNAMIC,
    ITERABLES,
    NULL,
    STRING,
    HclType,
    HclValue,
    TypeKind,
    make_list,
    make_object,
    make_string,
    make_tuple,
)


def evaluate(expression: Expression, scope: Scope) -> HclValue:
    """Return the value of an expression. Raises HclError."""
    return _EVALUATORS[type(expression)](expression, scope)


def _look_up(expression: VariableReference, scope: Scope) -> HclValue:
    value = scope.find_variable(expression.name)
    if value is None:
        advice = suggest(expression.name, scope.list_variables())
        detail = f'There is no variable named "{expression.name}".{advice}'
        raise HclError("Unknown variable", detail, expression.where)
    return value


def _traverse(expression: Traversal, scope: Scope) -> HclValue:
    value = evaluate(expression.source, scope)
    for step in expression.steps:
        if isinstance(step, AttributeStep):
            value = get_attribute(value, step.name, step.where)
        else:
            assert isinstance(step, IndexStep)
            value = get_element(value, evaluate(step.key, scope), step.where)
    return value


def _render(template: Template, scope: Scope) -> HclValue:
    if template.wrapped:
        return evaluate(template.parts[0], scope)
    return _concatenate([_interpolate(evaluate(part, scope), part.where) for part in template.parts], template.where)


def _concatenate(texts: list[str], where: SourceRange) -> HclValue:
    if reason := describe_excess(sum(map(len, texts))):
        raise HclError("Template result is too long", f"Cannot render the template: {reason}.", where)
    return make_string("".join(texts))


def _interpolate(value: HclValue, where: SourceRange) -> str:
    if value.is_null:
        detail = "The expression result is null. Cannot include a null value in a string template."
        raise HclError("Invalid template interpolation value", detail, where)
    try:
        return format_value(value)
    except ConversionError as error:
        detail = f"Cannot include the given value in a string template: {error}."
        raise HclError("Invalid template interpolation value", detail, where) from None


def _join(expression: TemplateLoop, scope: Scope) -> HclValue:
    found = _loop(expression.loop, scope)
    return _concatenate([_interpolate(one, expression.where) for one in found.items], expression.where)


def _choose(expression: Conditional, scope: Scope) -> HclValue:
    """Evaluate both branches, because the result has their common type; an error counts only in the chosen one."""
    results = [_try(branch, scope) for branch in (expression.yes, expression.no)]
    values = [one for one in results if isinstance(one, HclValue)]
    wanted = _find_common(expression, values) if len(values) == len(results) else None
    condition = evaluate(expression.condition, scope)
    if condition.is_null:
        detail = "The condition value is null. Conditions must either be true or false."
        raise HclError("Null condition", detail, expression.condition.where)
    try:
        index = 0 if convert(condition, BOOL).raw else 1
    except ConversionError:
        detail = "The condition expression must be of type bool."
        raise HclError("Incorrect condition type", detail, expression.condition.where) from None
    chosen = results[index]
    if isinstance(chosen, HclError):
        raise chosen
    if wanted is None:
        return chosen
    try:
        return convert(chosen, wanted)
    except ConversionError as error:
        branch = (expression.yes, expression.no)[index]
        detail = f"The {('true', 'false')[index]} result value has the wrong type: {error}."
        raise HclError("Inconsistent conditional result types", detail, branch.where) from None


def _try(expression: Expression, scope: Scope) -> HclValue | HclError:
    try:
        return evaluate(expression, scope)
    except HclError as error:
        return error


def _find_common(expression: Conditional, values: list[HclValue]) -> HclType | None:
    """Return the type of a conditional's result, None if it is left as it is."""
    yes, no = values
    if NULL in (yes, no):
        return no.type if yes == NULL else yes.type
    if DYNAMIC in (yes.type, no.type):
        return None
    common = unify_types([yes.type, no.type])
    if common is None:
        where = expression.yes.where.extend(expression.no.where)
        detail = "The true and false result expressions must have consistent types. "
        detail += f"The 'true' value is {yes.type}, but the 'false' value is {no.type}."
        raise HclError("Inconsistent conditional result types", detail, where)
    return common


def _build_object(expression: ObjectConstructor, scope: Scope) -> HclValue:
    found: dict[str, HclValue] = {}
    for key, value in expression.items:
        found[_read_key(key, scope)] = evaluate(value, scope)
    return make_object(found)


def _read_key(expression: Expression, scope: Scope) -> str:
    key = evaluate(expression, scope)
    if key.is_null:
        raise HclError("Null value as key", "Can't use a null value as a key.", expression.where)
    try:
        return format_value(key)
    except ConversionError as error:
        raise HclError("Incorrect key type", f"Can't use this value as a key: {error}.", expression.where) from None


def _loop(expression: ForExpression, scope: Scope) -> HclValue:
    source = evaluate(expression.source, scope)
    if source.is_null:
        detail = "A null value cannot be used as the collection in a 'for' expression."
        raise HclError("Iteration over null value", detail, expression.source.where)
    if not source.is_iterable:
        detail = f"A value of type {source.type} cannot be used as the collection in a 'for' expression."
        raise HclError("Iteration over non-iterable value", detail, expression.source.where)
    inner = _iterate(expression, source, scope)
    if expression.key is None:
        return make_tuple(evaluate(expression.value, one) for one in inner)
    groups: dict[str, list[HclValue]] = {}
    for one in inner:
        key = _read_key(expression.key, one)
        if key in groups and not expression.group:
            detail = f"Two different items produced the key \"{key}\" in this 'for' expression. "
            detail += "If duplicates are expected, use the ellipsis (...) after the value to enable grouping by key."
            raise HclError("Duplicate object key", detail, expression.key.where)
        groups.setdefault(key, []).append(evaluate(expression.value, one))
    if expression.group:
        return make_object({key: make_tuple(values) for key, values in groups.items()})
    return make_object({key: values[0] for key, values in groups.items()})


def _iterate(expression: ForExpression, source: HclValue, scope: Scope) -> Iterator[Scope]:
    """Yield a scope for each element that fulfils the condition."""
    for key, value in source.iterate():
        names = {expression.value_name: value}
        if expression.key_name:
            names = {expression.key_name: key, **names}
        inner = scope.nest(names)
        if expression.condition is None or _is_included(expression.condition, inner):
            yield inner


def _is_included(condition: Expression, scope: Scope) -> bool:
    result = evaluate(condition, scope)
    if result.is_null:
        raise HclError("Invalid 'for' condition", "The value of the 'if' clause must not be null.", condition.where)
    try:
        return bool(convert(result, BOOL).raw)
    except ConversionError as error:
        raise HclError(
            "Invalid 'for' condition", f"The 'if' clause value is invalid: {error}.", condition.where
        ) from None


def _expand_splat(expression: Splat, scope: Scope) -> HclValue:
    source = evaluate(expression.source, scope)
    sequence = source.type.is_one_of(*ITERABLES)
    if source.is_null:
        if not sequence:
            return make_tuple(())
        detail = "Splat expressions (with the * symbol) cannot be applied to null sequences."
        raise HclError("Splat of null value", detail, expression.source.where)
    items = source.items if sequence else (source,)
    found = [evaluate(expression.each, scope.nest({expression.item: one})) for one in items]
    if not sequence or source.type.kind is TypeKind.TUPLE:
        return make_tuple(found)
    if len({str(one.type) for one in found}) > 1:
        detail = "The elements have different types, so they are not a valid list; use a 'for' expression instead."
        raise HclError("Invalid nested splat expressions", detail, expression.where)
    return make_list(found, source.type.item if found or expression.each.where == expression.where else STRING)


_EVALUATORS: Mapping[type, Callable[[Any, Scope], HclValue]] = {
    Literal: lambda expression, _: expression.value,
    Template: _render,
    VariableReference: _look_up,
    Traversal: _traverse,
    FunctionCall: lambda expression, scope: call_function(expression, scope, evaluate),
    Conditional: _choose,
    BinaryOperation: lambda expression, scope: operators.operate(expression, scope, evaluate),
    UnaryOperation: lambda expression, scope: operators.negate(expression, scope, evaluate),
    TupleConstructor: lambda expression, scope: make_tuple(evaluate(one, scope) for one in expression.items),
    ObjectConstructor: _build_object,
    ForExpression: _loop,
    Splat: _expand_splat,
    TemplateLoop: _join,
    Parenthesized: lambda expression, scope: evaluate(expression.inner, scope),
    JsonText: lambda expression, scope: evaluate(parse_json_text(expression), scope),
}
