"""Why a type cannot be converted to another, in words (go-cty 1.17.0, ``convert/mismatch_msg.go``)."""

from __future__ import annotations

from ci_buildx.hcl.types.unification import is_convertible
from ci_buildx.hcl.types.values import BOOL, DYNAMIC, NUMBER, STRING, HclType, TypeKind

_NOUNS = {TypeKind.LIST: "list", TypeKind.SET: "set", TypeKind.MAP: "map"}


def describe_mismatch(given: HclType, wanted: HclType) -> str:
    """Return what is required, as the end of a sentence."""
    if given.kind is TypeKind.OBJECT and wanted.kind is TypeKind.OBJECT:
        return _describe_objects(given, wanted)
    structural = given.is_one_of(TypeKind.TUPLE, TypeKind.OBJECT)
    if structural and wanted.is_collection:
        return _describe_structure(given, wanted)
    if given.is_collection and wanted.is_collection:
        return _describe_collections(given, wanted)
    if not _is_confusing(given, wanted):
        return f"{wanted} required, but have {given}"
    return f"{wanted.describe_constraint()} required"


def _describe_objects(given: HclType, wanted: HclType) -> str:
    known = dict(given.attributes)
    missing = [f'"{name}"' for name, _ in wanted.attributes if name not in known and name not in wanted.optional]
    if len(missing) == 1:
        return f"attribute {missing[0]} is required"
    if missing:
        return f"attributes {', '.join(missing[:-1])} and {missing[-1]} are required"
    for name, one in wanted.attributes:
        if name in known and not is_convertible(known[name], one, unsafe=True):
            return f'attribute "{name}": {describe_mismatch(known[name], one)}'
    return "incorrect object attributes"


def _describe_structure(given: HclType, wanted: HclType) -> str:
    fits = (given.kind is TypeKind.OBJECT) == (wanted.kind is TypeKind.MAP)
    if fits and wanted.item == DYNAMIC:
        return f"all {_NOUNS[wanted.kind]} elements must have the same type"
    if not fits:
        return f"{wanted.describe_constraint()} required"
    named = [(f'"{name}"', one) for name, one in given.attributes]
    parts = named or [(str(at), one) for at, one in enumerate(given.elements)]
    for name, one in parts:
        if not is_convertible(one, wanted.item, unsafe=True):
            return f"element {name}: {describe_mismatch(one, wanted.item)}"
    return f"all elements must be {wanted.item.describe_constraint()}"


def _describe_collections(given: HclType, wanted: HclType) -> str:
    if (given.kind is TypeKind.MAP) != (wanted.kind is TypeKind.MAP):
        return f"{wanted.describe_constraint()} required"
    return f"incorrect {_NOUNS[wanted.kind]} element type: {describe_mismatch(given.item, wanted.item)}"


def _is_confusing(given: HclType, wanted: HclType) -> bool:
    """Return whether the name of the given type would not help: a string that could be a number, for example."""
    if given.is_primitive != wanted.is_primitive or wanted == STRING:
        return False
    if {given, wanted} == {BOOL, NUMBER}:
        return False
    return not (given.kind is TypeKind.TUPLE and wanted.kind is TypeKind.OBJECT)
