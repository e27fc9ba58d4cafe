"""Functions of sets (go-cty 1.17.0, ``stdlib/set.go``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ci_buildx.hcl.functions.signature import CallError, HclFunction, Parameter, ParameterError
from ci_buildx.hcl.types.conversion import convert
from ci_buildx.hcl.types.unification import ConversionError, unify_types
from ci_buildx.hcl.types.values import DYNAMIC, HclType, HclValue, make_bool, make_set, make_set_type

_SET = make_set_type(DYNAMIC)
_Items = list[HclValue]


def _find_type(given: Sequence[HclValue]) -> HclType:
    """Return the type of the result; empty sets of any type do not decide it."""
    elements = [one.type.item for one in given if one.items or one.type.item != DYNAMIC]
    if not elements:
        return _SET
    common = unify_types(elements)
    if common is None:
        raise CallError("given sets must all have compatible element types")
    return make_set_type(common)


def _make_operation(names: tuple[str, ...], combine: Callable[[_Items, _Items], _Items]) -> HclFunction:
    def compute(given: Sequence[HclValue]) -> HclValue:
        wanted = _find_type(given)
        found: _Items | None = None
        for at, one in enumerate(given):
            try:
                items = list(convert(one, wanted).items)
            except ConversionError as error:
                raise ParameterError(at, str(error)) from None
            found = items if found is None else combine(found, items)
        return make_set(found or (), wanted.item)

    parameters = tuple(Parameter(name, _SET) for name in names)
    return HclFunction(parameters, compute, None if len(names) > 1 else Parameter("other_sets", _SET))


def _subtract(one: _Items, other: _Items) -> _Items:
    return [item for item in one if item not in other]


def _has_element(given: Sequence[HclValue]) -> HclValue:
    return make_bool(value=given[1] in given[0].items)


FUNCTIONS = {
    "sethaselement": HclFunction((Parameter("set", _SET), Parameter("elem")), _has_element),
    "setintersection": _make_operation(("first_set",), lambda one, other: [item for item in one if item in other]),
    "setsubtract": _make_operation(("a", "b"), _subtract),
    "setsymmetricdifference": _make_operation(
        ("first_set",), lambda one, other: _subtract(one, other) + _subtract(other, one)
    ),
    "setunion": _make_operation(("first_set",), lambda one, other: one + other),
}
