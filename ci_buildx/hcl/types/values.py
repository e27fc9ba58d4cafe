"""Types and values of HCL's type system, which is go-cty's: primitives, collections, and structures."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ci_buildx.hcl.types.numbers import BigFloat

_SURROGATE = re.compile(r"[\ud800-\udfff]")


class TypeKind(Enum):
    """Kind of a type; the value is its name in messages."""

    STRING = "string"
    NUMBER = "number"
    BOOL = "bool"
    DYNAMIC = "dynamic"
    BYTES = "bytes"
    LIST = "list"
    SET = "set"
    MAP = "map"
    TUPLE = "tuple"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class HclType:
    """A type: ``element`` of a collection, ``elements`` of a tuple, sorted ``attributes`` of an object.

    ``optional`` names the attributes that a value may omit when it is converted to this type.
    """

    kind: TypeKind
    element: HclType | None = None
    elements: tuple[HclType, ...] = ()
    attributes: tuple[tuple[str, HclType], ...] = ()
    optional: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """Return the name that messages use (go-cty, ``FriendlyName``)."""
        return f"{self.kind.value} of {self.element}" if self.element else self.kind.value

    @property
    def item(self) -> HclType:
        """The element type of a collection."""
        assert self.element is not None
        return self.element

    @property
    def is_primitive(self) -> bool:
        """Whether this is a string, a number or a bool."""
        return self.kind in (TypeKind.STRING, TypeKind.NUMBER, TypeKind.BOOL)

    @property
    def is_collection(self) -> bool:
        """Whether this is a list, a set or a map."""
        return self.element is not None

    def is_one_of(self, *kinds: TypeKind) -> bool:
        """Return whether the type has one of the kinds."""
        return self.kind in kinds

    def describe_constraint(self) -> str:
        """Return the name that messages use for a required type."""
        if self.kind is TypeKind.DYNAMIC:
            return "any type"
        if self.element is None:
            return str(self.kind.value)
        inner = "any single type" if self.element.kind is TypeKind.DYNAMIC else self.element.describe_constraint()
        return f"{self.kind.value} of {inner}"

    def find_attribute(self, name: str) -> HclType | None:
        """Return the type of an object's attribute."""
        return dict(self.attributes).get(name)

    def strip_optional(self) -> HclType:
        """Return the type without optional attributes, at all depths: the type that values have."""
        return HclType(
            self.kind,
            self.element.strip_optional() if self.element else None,
            tuple(one.strip_optional() for one in self.elements),
            tuple((name, one.strip_optional()) for name, one in self.attributes),
        )

    def has_dynamic(self) -> bool:
        """Return whether any part of the type is open."""
        inner = (*((self.element,) if self.element else ()), *self.elements, *(one for _, one in self.attributes))
        return self.kind is TypeKind.DYNAMIC or any(one.has_dynamic() for one in inner)


STRING = HclType(TypeKind.STRING)
NUMBER = HclType(TypeKind.NUMBER)
BOOL = HclType(TypeKind.BOOL)
DYNAMIC = HclType(TypeKind.DYNAMIC)
BYTES = HclType(TypeKind.BYTES)
SEQUENCES = (TypeKind.LIST, TypeKind.TUPLE)
ITERABLES = (TypeKind.LIST, TypeKind.TUPLE, TypeKind.SET)
MAPPINGS = (TypeKind.MAP, TypeKind.OBJECT)


def make_list_type(element: HclType) -> HclType:
    """Return the type of lists."""
    return HclType(TypeKind.LIST, element)


def make_set_type(element: HclType) -> HclType:
    """Return the type of sets."""
    return HclType(TypeKind.SET, element)


def make_map_type(element: HclType) -> HclType:
    """Return the type of maps."""
    return HclType(TypeKind.MAP, element)


def make_tuple_type(elements: Iterable[HclType]) -> HclType:
    """Return the type of tuples."""
    return HclType(TypeKind.TUPLE, elements=tuple(elements))


def make_object_type(attributes: Mapping[str, HclType], optional: Iterable[str] = ()) -> HclType:
    """Return the type of objects."""
    return HclType(TypeKind.OBJECT, attributes=tuple(sorted(attributes.items())), optional=frozenset(optional))


@dataclass(frozen=True, slots=True)
class HclValue:
    """A value. ``raw`` is None for null, else str, :class:`BigFloat`, bool, a tuple of values or a sorted mapping."""

    type: HclType
    raw: Any

    @property
    def is_null(self) -> bool:
        """Whether this is a null of any type."""
        return self.raw is None

    @property
    def text(self) -> str:
        """The content of a string."""
        assert isinstance(self.raw, str)
        return self.raw

    @property
    def number(self) -> BigFloat:
        """The content of a number."""
        assert isinstance(self.raw, BigFloat)
        return self.raw

    @property
    def items(self) -> tuple[HclValue, ...]:
        """The elements of a list, set or tuple."""
        assert isinstance(self.raw, tuple)
        return self.raw

    @property
    def mapping(self) -> Mapping[str, HclValue]:
        """The elements of a map, or the attributes of an object, sorted by name."""
        assert isinstance(self.raw, dict)
        return self.raw

    @property
    def is_iterable(self) -> bool:
        """Whether the value has elements."""
        return self.raw is not None and self.type.is_one_of(*ITERABLES, *MAPPINGS)

    def iterate(self) -> Iterator[tuple[HclValue, HclValue]]:
        """Yield keys and elements: indices of lists and tuples, names of maps and objects, elements of sets twice."""
        if self.type.is_one_of(*MAPPINGS):
            for name, value in self.mapping.items():
                yield make_string(name), value
            return
        for index, value in enumerate(self.items):
            yield (value if self.type.kind is TypeKind.SET else make_integer(index)), value

    def is_equal(self, other: HclValue) -> bool:
        """Return whether both are equal as the operator ``==`` compares: nulls of all types are equal."""
        if self.is_null or other.is_null:
            return self.is_null and other.is_null
        return self.type == other.type and bool(self.raw == other.raw)


NULL = HclValue(DYNAMIC, None)
TRUE = HclValue(BOOL, True)
FALSE = HclValue(BOOL, False)
EMPTY_STRING = HclValue(STRING, "")


def make_null(of_type: HclType) -> HclValue:
    """Return the null of a type."""
    return HclValue(of_type, None)


def make_string(text: str) -> HclValue:
    """Return a string, in Unicode's composed form like all of HCL's strings."""
    return HclValue(STRING, text if text.isascii() else unicodedata.normalize("NFC", replace_surrogates(text)))


def replace_surrogates(text: str) -> str:
    """Return the text with U+FFFD for half of a surrogate pair, which no file could hold, as Go's decoders do."""
    return _SURROGATE.sub("\ufffd", text)


def make_number(number: BigFloat) -> HclValue:
    """Return a number."""
    return HclValue(NUMBER, number)


def make_integer(number: int) -> HclValue:
    """Return an integer as functions compute it."""
    return HclValue(NUMBER, BigFloat.from_integer(number))


def make_bool(*, value: bool) -> HclValue:
    """Return a bool."""
    return TRUE if value else FALSE


def make_list(items: Iterable[HclValue], element: HclType = DYNAMIC) -> HclValue:
    """Return a list of values of one type; ``element`` is the type of an empty one."""
    values = tuple(items)
    return HclValue(make_list_type(values[0].type if values else element), values)


def make_tuple(items: Iterable[HclValue]) -> HclValue:
    """Return a tuple of values of any types."""
    values = tuple(items)
    return HclValue(make_tuple_type(one.type for one in values), values)


def make_map(items: Mapping[str, HclValue], element: HclType = DYNAMIC) -> HclValue:
    """Return a map of values of one type; ``element`` is the type of an empty one."""
    values = dict(sorted(items.items()))
    return HclValue(make_map_type(next(iter(values.values())).type if values else element), values)


def make_object(items: Mapping[str, HclValue]) -> HclValue:
    """Return an object."""
    values = dict(sorted(items.items()))
    return HclValue(make_object_type({name: one.type for name, one in values.items()}), values)


def make_set(items: Iterable[HclValue], element: HclType = DYNAMIC) -> HclValue:
    """Return a set: without duplicates, in the order in which go-cty iterates (``set_internals.go``)."""
    values: list[HclValue] = []
    for one in items:
        if one not in values:
            values.append(one)
    values.sort(key=_make_order)
    return HclValue(make_set_type(values[0].type if values else element), tuple(values))


def _make_order(value: HclValue) -> tuple[bool, Any]:
    if value.is_null:
        return True, ""
    if value.type.kind is TypeKind.NUMBER:
        return False, value.number.value
    if value.type.is_primitive:
        return False, value.raw
    return False, _describe_order(value).encode()


def _describe_order(value: HclValue) -> str:
    """Return the text by which go-cty sorts collections and structures in a set (``appendSetHashBytes``)."""
    if value.is_null:
        return "~"
    match value.type.kind:
        case TypeKind.BOOL:
            return "T" if value.raw else "F"
        case TypeKind.NUMBER:
            return f"{float(value.number.value):.10g}"
        case TypeKind.STRING:
            return '"' + value.text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        case TypeKind.MAP:
            pairs = (f"{_describe_order(key)}:{_describe_order(one)};" for key, one in value.iterate())
            return "{" + "".join(pairs) + "}"
    inner = "".join(f"{_describe_order(one)};" for one in _list_parts(value))
    return f"[{inner}]" if value.type.is_collection else f"<{inner}>"


def _list_parts(value: HclValue) -> Sequence[HclValue]:
    return tuple(value.mapping.values()) if value.type.kind is TypeKind.OBJECT else value.items
