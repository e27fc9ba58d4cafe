"""Functions of lists, tuples, maps, objects and sets.

Source: go-cty 1.17.0, ``stdlib/collection.go``, ``sequence.go`` and ``set.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

from ci_buildx.hcl.functions.arithmetic import read_int
from ci_buildx.hcl.functions.signature import CallError, HclFunction, Parameter, ParameterError
from ci_buildx.hcl.limits import MOST_ITEMS
from ci_buildx.hcl.types.conversion import convert, convert_all
from ci_buildx.hcl.types.unification import ConversionError, unify_types
from ci_buildx.hcl.types.values import (
    DYNAMIC,
    FALSE,
    ITERABLES,
    MAPPINGS,
    NUMBER,
    SEQUENCES,
    STRING,
    TRUE,
    HclType,
    HclValue,
    TypeKind,
    make_bool,
    make_integer,
    make_list,
    make_list_type,
    make_map,
    make_number,
    make_object,
    make_set,
    make_set_type,
    make_string,
    make_tuple,
    make_tuple_type,
)

_NO_COLLECTION = "collection must be a list, a map or a tuple"
_LARGEST_RANGE = 1024
_LIST = Parameter("list")
_SET = make_set_type(DYNAMIC)
_Items = list[HclValue]


def _require(value: HclValue, kinds: Sequence[TypeKind], reason: str, index: int | None = None) -> None:
    if not value.type.is_one_of(*kinds):
        raise CallError(reason) if index is None else ParameterError(index, reason)


def _find_element(collection: HclValue, key: HclValue) -> HclValue | None:
    """Return the element with exactly this key, None if there is none."""
    if collection.type.kind is TypeKind.MAP:
        return collection.mapping.get(key.text) if key.type == STRING and not key.is_null else None
    index = key.number.read_integer() if key.type == NUMBER and not key.is_null else None
    return collection.items[index] if index is not None and 0 <= index < len(collection.items) else None


def _has_index(given: Sequence[HclValue]) -> HclValue:
    _require(given[0], (*SEQUENCES, TypeKind.MAP), _NO_COLLECTION)
    return make_bool(value=_find_element(given[0], given[1]) is not None)


def _get_index(given: Sequence[HclValue]) -> HclValue:
    collection, key = given
    _require(collection, (*SEQUENCES, TypeKind.MAP), _NO_COLLECTION)
    wanted = STRING if collection.type.kind is TypeKind.MAP else NUMBER
    if key.type != wanted:
        raise CallError(f"key for {collection.type.kind.value} must be {wanted}")
    found = _find_element(collection, key)
    if found is None:
        raise CallError("invalid index")
    return found


def _count(given: Sequence[HclValue]) -> HclValue:
    _require(given[0], (*ITERABLES, TypeKind.MAP), _NO_COLLECTION)
    return make_integer(len(given[0].raw))


def _get_element(given: Sequence[HclValue]) -> HclValue:
    _require(given[0], SEQUENCES, f"cannot read elements from {given[0].type}")
    if not given[0].items:
        raise CallError("cannot use element function with an empty list")
    return given[0].items[read_int(given[1], 1) % len(given[0].items)]


def _coalesce_list(given: Sequence[HclValue]) -> HclValue:
    if not given:
        raise CallError("at least one argument is required")
    for one in given:
        _require(one, SEQUENCES, "coalescelist arguments must be lists or tuples")
    for one in given:
        if not one.is_null and one.items:
            return one
    raise CallError("no non-null arguments")


def _contains(given: Sequence[HclValue]) -> HclValue:
    _require(given[0], ITERABLES, "argument must be list, tuple, or set")
    return TRUE if any(given[1].is_equal(one) for one in given[0].items) else FALSE


def _deduplicate(given: Sequence[HclValue]) -> HclValue:
    found: list[HclValue] = []
    for one in given[0].items:
        if not any(one.is_equal(known) for known in found):
            found.append(one)
    return make_list(found, given[0].type.item)


def _chunk(given: Sequence[HclValue]) -> HclValue:
    items, size = given[0].items, read_int(given[1], 1)
    if size < 0:
        raise CallError("the size argument must be positive")
    if not items or not size:
        return make_list((given[0],) if items else (), given[0].type)
    chunks = (make_list(items[at : at + size]) for at in range(0, len(items), size))
    return make_list(chunks, given[0].type)


def _flatten(given: Sequence[HclValue]) -> HclValue:
    _require(given[0], ITERABLES, "can only flatten lists, sets and tuples")
    return make_tuple(_walk(given[0]))


def _walk(value: HclValue) -> Iterator[HclValue]:
    for one in value.items:
        if not one.is_null and one.type.is_one_of(*ITERABLES):
            yield from _walk(one)
        else:
            yield one


def _list_keys(given: Sequence[HclValue]) -> HclValue:
    _require(given[0], MAPPINGS, "must have map or object type", 0)
    names = map(make_string, given[0].mapping)
    return make_tuple(names) if given[0].type.kind is TypeKind.OBJECT else make_list(names, STRING)


def _list_values(given: Sequence[HclValue]) -> HclValue:
    _require(given[0], MAPPINGS, "values() requires a map as the first argument")
    values = given[0].mapping.values()
    is_object = given[0].type.kind is TypeKind.OBJECT
    return make_tuple(values) if is_object else make_list(values, given[0].type.item)


def _look_up(given: Sequence[HclValue]) -> HclValue:
    collection, key, default = given
    _require(collection, MAPPINGS, "lookup() requires a map as the first argument", 0)
    if collection.type.kind is TypeKind.OBJECT:
        return collection.mapping.get(key.text, default)
    try:
        converted = convert(default, collection.type.item)
    except ConversionError:
        raise ParameterError(2, "the default value must have the same type as the map elements") from None
    return collection.mapping.get(key.text, converted)


def _merge(given: Sequence[HclValue]) -> HclValue:
    found: dict[str, HclValue] = {}
    for one in given:
        if one.type == DYNAMIC:
            continue
        _require(one, MAPPINGS, f'arguments must be maps or objects, got "{one.type}"')
        if not one.is_null:
            found |= one.mapping
    types = {one.type for one in given}
    if len(types) == 1 and given[0].type.kind is TypeKind.MAP:
        return make_map(found, given[0].type.item)
    return make_object(found)


def _reverse(given: Sequence[HclValue]) -> HclValue:
    _require(given[0], ITERABLES, f"can only reverse list or tuple values, not {given[0].type}", 0)
    items = reversed(given[0].items)
    return make_tuple(items) if given[0].type.kind is TypeKind.TUPLE else make_list(items, given[0].type.item)


def _slice(given: Sequence[HclValue]) -> HclValue:
    _require(given[0], SEQUENCES, "must be a list or tuple value", 0)
    items = given[0].items
    bounds = []
    for at, name in ((1, "start"), (2, "end")):
        index = read_int(given[at], at)
        if index < 0:
            raise ParameterError(at, f"{name} index must not be less than zero")
        if index > len(items):
            raise ParameterError(at, f"{name} index must not be greater than the length of the list")
        bounds.append(index)
    if bounds[0] > bounds[1]:
        raise ParameterError(1, "start index must not be greater than end index")
    part = items[bounds[0] : bounds[1]]
    return make_tuple(part) if given[0].type.kind is TypeKind.TUPLE else make_list(part, given[0].type.item)


def _zip_map(given: Sequence[HclValue]) -> HclValue:
    keys, values = given
    _require(values, SEQUENCES, "values argument must be a list or tuple value")
    if len(keys.items) != len(values.items):
        counts = f"({len(keys.items)}) does not match number of values ({len(values.items)})"
        raise CallError(f"number of keys {counts}")
    for index, one in enumerate(keys.items):
        if one.is_null:
            raise CallError(f"keys list has null value at index {index}")
    found = dict(zip((one.text for one in keys.items), values.items, strict=True))
    return make_object(found) if values.type.kind is TypeKind.TUPLE else make_map(found, values.type.item)


def _concatenate(given: Sequence[HclValue]) -> HclValue:
    if not given:
        raise CallError("at least one argument is required")
    for at, one in enumerate(given):
        _require(one, SEQUENCES, f"all arguments must be lists or tuples; got {one.type}", at)
    items = [one for sequence in given for one in sequence.items]
    if all(one.type.kind is TypeKind.LIST for one in given):
        common = unify_types([one.type for one in given])
        if common is not None:
            return make_list(convert_all(items, common.item), common.item)
    return make_tuple(items)


def _make_range(given: Sequence[HclValue]) -> HclValue:
    if not 1 <= len(given) <= 3:
        raise CallError("must have one, two, or three arguments")
    numbers = [one.number for one in given]
    zero = make_integer(0).number
    start, end = (zero, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])
    down = end.value < start.value
    step = numbers[2] if len(numbers) == 3 else make_integer(-1 if down else 1).number
    if not step.value:
        raise ParameterError(2, "step must not be zero")
    if (step.value < 0) is not down and start.value != end.value:
        order = ("less", "negative") if step.value < 0 else ("greater", "positive")
        raise ParameterError(1, f"end must be {order[0]} than start when step is {order[1]}")
    found: list[HclValue] = []
    while start.value > end.value if down else start.value < end.value:
        if len(found) >= _LARGEST_RANGE:
            raise CallError(f"more than {_LARGEST_RANGE} values were generated; use a larger step")
        found.append(make_number(start))
        start = start.add(step)
    return make_list(found, NUMBER)


def _find_index(given: Sequence[HclValue]) -> HclValue:
    _require(given[0], SEQUENCES, "argument must be a list or tuple")
    if not given[0].items:
        raise CallError("cannot search an empty list")
    for index, one in enumerate(given[0].items):
        if one.is_equal(given[1]):
            return make_integer(index)
    raise CallError("item not found")


def _multiply_sets(given: Sequence[HclValue]) -> HclValue:
    if len(given) < 2:
        raise CallError("at least two arguments are required")
    columns: list[list[HclValue]] = []
    for at, one in enumerate(given):
        _require(one, ITERABLES, "a set or a list is required", at)
        try:
            columns.append(convert_all(one.items, DYNAMIC) if one.type.kind is TypeKind.TUPLE else list(one.items))
        except ConversionError:
            raise ParameterError(at, "all elements must be of the same type") from None
    from itertools import product

    if prod(map(len, columns)) > MOST_ITEMS:
        raise CallError(f"more than {MOST_ITEMS} elements would be made")
    rows = [make_tuple(row) for row in product(*columns)]
    element = make_tuple_type(column[0].type if column else DYNAMIC for column in columns)
    lists = all(one.type.kind is not TypeKind.SET for one in given)
    return make_list(rows, element) if lists else make_set(rows, element)


def _find_set_type(given: Sequence[HclValue]) -> HclType:
    """Return the type of the result; empty sets of any type do not decide it."""
    elements = [one.type.item for one in given if one.items or one.type.item != DYNAMIC]
    if not elements:
        return _SET
    common = unify_types(elements)
    if common is None:
        raise CallError("given sets must all have compatible element types")
    return make_set_type(common)


def _make_set_operation(names: tuple[str, ...], combine: Callable[[_Items, _Items], _Items]) -> HclFunction:
    def compute(given: Sequence[HclValue]) -> HclValue:
        wanted = _find_set_type(given)
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


_ANY_LIST = Parameter("list", make_list_type(DYNAMIC))
_PAIR = (Parameter("collection"), Parameter("key"))
FUNCTIONS = {
    "chunklist": HclFunction((_ANY_LIST, Parameter("size", NUMBER)), _chunk),
    "coalescelist": HclFunction((), _coalesce_list, Parameter("vals", nullable=True)),
    "concat": HclFunction((), _concatenate, Parameter("seqs")),
    "contains": HclFunction((_LIST, Parameter("value")), _contains),
    "distinct": HclFunction((_ANY_LIST,), _deduplicate),
    "element": HclFunction((_LIST, Parameter("index", NUMBER)), _get_element),
    "flatten": HclFunction((_LIST,), _flatten),
    "hasindex": HclFunction(_PAIR, _has_index),
    "index": HclFunction(_PAIR, _get_index),
    "indexof": HclFunction((_LIST, Parameter("value")), _find_index),
    "keys": HclFunction((Parameter("inputMap"),), _list_keys),
    "length": HclFunction((Parameter("collection"),), _count),
    "lookup": HclFunction((Parameter("inputMap"), Parameter("key", STRING), Parameter("default")), _look_up),
    "merge": HclFunction((), _merge, Parameter("maps", nullable=True)),
    "range": HclFunction((), _make_range, Parameter("params", NUMBER)),
    "reverselist": HclFunction((_LIST,), _reverse),
    "setproduct": HclFunction((), _multiply_sets, Parameter("sets")),
    "slice": HclFunction((_LIST, Parameter("start_index", NUMBER), Parameter("end_index", NUMBER)), _slice),
    "values": HclFunction((Parameter("mapping"),), _list_values),
    "zipmap": HclFunction((Parameter("keys", make_list_type(STRING)), Parameter("values")), _zip_map),
    "sethaselement": HclFunction((Parameter("set", _SET), Parameter("elem")), _has_element),
    "setintersection": _make_set_operation(("first_set",), lambda one, other: [item for item in one if item in other]),
    "setsubtract": _make_set_operation(("a", "b"), _subtract),
    "setsymmetricdifference": _make_set_operation(
        ("first_set",), lambda one, other: _subtract(one, other) + _subtract(other, one)
    ),
    "setunion": _make_set_operation(("first_set",), lambda one, other: one + other),
}
