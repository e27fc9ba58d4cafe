"""Which types can be converted to which, and the type to which several can be converted (go-cty, ``unify.go``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ci_buildx.hcl.types.values import (
    BOOL,
    DYNAMIC,
    NUMBER,
    STRING,
    HclType,
    TypeKind,
    make_list_type,
    make_map_type,
    make_object_type,
    make_set_type,
    make_tuple_type,
)


class ConversionError(ValueError):
    """A value cannot be converted to the required type; the text describes the required type."""


_SAFE = {(NUMBER, STRING), (BOOL, STRING)}
_UNSAFE = {(STRING, NUMBER), (STRING, BOOL)}


def is_convertible(given: HclType, wanted: HclType, *, unsafe: bool) -> bool:
    """Return whether values of ``given`` can be converted; an unsafe conversion may still fail for a value."""
    if wanted == DYNAMIC or given == wanted.strip_optional():
        return True
    if given == DYNAMIC:
        return unsafe
    if given.is_primitive and wanted.is_primitive:
        return (given, wanted) in _SAFE or (unsafe and (given, wanted) in _UNSAFE)
    if wanted.kind is TypeKind.OBJECT:
        return _is_object(given, wanted, unsafe=unsafe)
    if wanted.kind is TypeKind.TUPLE:
        return (
            given.kind is TypeKind.TUPLE
            and len(given.elements) == len(wanted.elements)
            and all(is_convertible(*pair, unsafe=unsafe) for pair in zip(given.elements, wanted.elements, strict=True))
        )
    return wanted.is_collection and _is_collection(given, wanted, unsafe=unsafe)


def _is_object(given: HclType, wanted: HclType, *, unsafe: bool) -> bool:
    if given.kind is TypeKind.MAP:
        return unsafe and all(is_convertible(given.item, one, unsafe=unsafe) for _, one in wanted.attributes)
    if given.kind is not TypeKind.OBJECT:
        return False
    known = dict(given.attributes)
    return all(
        is_convertible(known[name], one, unsafe=unsafe) if name in known else name in wanted.optional
        for name, one in wanted.attributes
    )


def _is_collection(given: HclType, wanted: HclType, *, unsafe: bool) -> bool:
    """Return whether a type can become a collection; one of structures needs a common type for its parts."""
    if wanted.kind is TypeKind.MAP:
        kinds: tuple[TypeKind, ...] = (TypeKind.MAP, TypeKind.OBJECT)
    else:
        kinds = (TypeKind.LIST, TypeKind.SET, TypeKind.TUPLE)
    if given.kind not in kinds or (wanted.kind is TypeKind.SET and given.kind is TypeKind.LIST and not unsafe):
        return False
    parts = [given.item] if given.is_collection else [*given.elements, *(one for _, one in given.attributes)]
    if wanted.item == DYNAMIC and not given.is_collection:
        return not parts or unify_types(parts, unsafe=unsafe) is not None
    return all(is_convertible(one, wanted.item, unsafe=unsafe) for one in parts)


def unify_types(types: Sequence[HclType], *, unsafe: bool = True) -> HclType | None:
    """Return the most general of the types that all can be converted to, None if there is none."""
    if not types:
        return None
    kinds = {one.kind for one in types}
    others = kinds - {TypeKind.DYNAMIC}
    open_parts = TypeKind.DYNAMIC in kinds
    if others in ({TypeKind.MAP}, {TypeKind.LIST}, {TypeKind.SET}, {TypeKind.OBJECT}, {TypeKind.TUPLE}):
        return DYNAMIC if open_parts else _unify_kind(types, others.pop(), unsafe=unsafe)
    if others == {TypeKind.MAP, TypeKind.OBJECT} or others == {TypeKind.LIST, TypeKind.TUPLE}:
        found = _unify_mixed(types, unsafe=unsafe)
        if found is not None:
            return found
    if {TypeKind.OBJECT, TypeKind.TUPLE} <= others:
        return None
    for wanted in _sort_types(types):
        if all(is_convertible(one, wanted, unsafe=unsafe) for one in types):
            return wanted
    return None


def _sort_types(types: Sequence[HclType]) -> list[HclType]:
    """Return the types by preference, more general ones first, otherwise in order (go-cty, ``sort_types.go``)."""
    before = {at: {j for j, one in enumerate(types) if _compare(one, types[at]) < 0} for at in range(len(types))}
    found: list[int] = []
    queue = [at for at, earlier in before.items() if not earlier]
    while queue:
        at = queue.pop(0)
        found.append(at)
        for other, earlier in before.items():
            if at in earlier:
                earlier.discard(at)
                if not earlier:
                    queue.append(other)
    return [types[at] for at in found]


def _compare(one: HclType, other: HclType) -> int:
    """Return a negative number if ``one`` is more general than ``other``, a positive one for the opposite."""
    if DYNAMIC in (one, other):
        return int(one == DYNAMIC) - int(other == DYNAMIC)
    if one.is_primitive and other.is_primitive:
        return int(other == STRING) - int(one == STRING)
    if one.kind is other.kind and one.is_collection:
        return _compare(one.item, other.item)
    rank = {TypeKind.LIST: 0, TypeKind.TUPLE: 1, TypeKind.SET: 2, TypeKind.MAP: 3, TypeKind.OBJECT: 4}
    if one.kind is not other.kind:
        comparable = {one.kind, other.kind}
        if comparable <= {TypeKind.LIST, TypeKind.TUPLE, TypeKind.SET} or comparable == {TypeKind.MAP, TypeKind.OBJECT}:
            return rank[one.kind] - rank[other.kind]
        return 0
    return _compare_structures(one, other)


def _compare_structures(one: HclType, other: HclType) -> int:
    if [name for name, _ in one.attributes] != [name for name, _ in other.attributes]:
        return 0
    if len(one.elements) != len(other.elements):
        return 0
    pairs = [*zip(one.elements, other.elements, strict=True)]
    pairs += [(part, beside) for (_, part), (_, beside) in zip(one.attributes, other.attributes, strict=True)]
    signs = {(result > 0) - (result < 0) for result in (_compare(*pair) for pair in pairs)} - {0}
    return signs.pop() if len(signs) == 1 else 0


_COLLECTIONS: dict[TypeKind, Callable[[HclType], HclType]] = {
    TypeKind.LIST: make_list_type,
    TypeKind.SET: make_set_type,
    TypeKind.MAP: make_map_type,
}


def _unify_kind(types: Sequence[HclType], kind: TypeKind, *, unsafe: bool) -> HclType | None:
    if kind in _COLLECTIONS:
        element = unify_types([one.item for one in types], unsafe=unsafe)
        return None if element is None else _COLLECTIONS[kind](element)
    if kind is TypeKind.OBJECT:
        return _unify_objects(types, unsafe=unsafe)
    return _unify_tuples(types, unsafe=unsafe)


def _unify_objects(types: Sequence[HclType], *, unsafe: bool) -> HclType | None:
    names = [name for name, _ in types[0].attributes]
    if any([name for name, _ in one.attributes] != names for one in types):
        return _unify_to_map(types, unsafe=unsafe)
    found: dict[str, HclType] = {}
    for at, name in enumerate(names):
        common = unify_types([one.attributes[at][1] for one in types], unsafe=unsafe)
        if common is None:
            return None
        found[name] = common
    return make_object_type(found)


def _unify_to_map(types: Sequence[HclType], *, unsafe: bool) -> HclType | None:
    element = unify_types([part for one in types for _, part in one.attributes], unsafe=unsafe)
    return None if element is None else make_map_type(element)


def _unify_tuples(types: Sequence[HclType], *, unsafe: bool) -> HclType | None:
    if len({len(one.elements) for one in types}) > 1:
        return _unify_to_list(types, unsafe=unsafe)
    found = [unify_types(column, unsafe=unsafe) for column in zip(*(one.elements for one in types), strict=True)]
    return None if None in found else make_tuple_type(one for one in found if one is not None)


def _unify_to_list(types: Sequence[HclType], *, unsafe: bool) -> HclType | None:
    element = unify_types([part for one in types for part in one.elements], unsafe=unsafe)
    return None if element is None else make_list_type(element)


def _unify_mixed(types: Sequence[HclType], *, unsafe: bool) -> HclType | None:
    """Unify structures with collections: as lists or maps."""
    structures = [one for one in types if one.is_one_of(TypeKind.OBJECT, TypeKind.TUPLE)]
    unify = _unify_to_map if structures[0].kind is TypeKind.OBJECT else _unify_to_list
    as_collection = unify(structures, unsafe=unsafe)
    if as_collection is None:
        return None
    found = unify_types([as_collection if one in structures else one for one in types], unsafe=unsafe)
    return found if found is not None and found.kind is as_collection.kind else None
