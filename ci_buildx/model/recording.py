"""Implementation of :mod:`ci_buildx.model.record`.

Of each class only ``__init__`` is compiled, and only after many instances or a call with invalid arguments. So frequent
calls are as fast, and errors as clear, as with ``dataclasses``; the seventy classes of which a build makes few
instances compile nothing. The other methods are ordinary functions that know the class's fields. Features that this
project does not use (``InitVar``, ``unsafe_hash``, ``__post_init__``) are missing.

All unit tests also pass with the standard library instead of this module: ``tests/standard_dataclasses.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter, ge, gt, le, lt
from typing import Any, TypeVar

T = TypeVar("T")

_FEW = 100
"""Instances after which ``__init__`` is compiled: that takes 0.05 to 0.2 ms, and saves 1 µs per instance."""
_MISSING: Any = object()
_FIELDS = "__record_fields__"
_put = object.__setattr__


class _Field:
    """Specification of a field, without its name."""

    __slots__ = ("default", "default_factory", "repr")

    def __init__(
        self,
        *,
        default: Any = _MISSING,
        default_factory: Callable[[], Any] | None = None,
        repr: bool = True,  # noqa: A002
    ) -> None:
        self.default = default
        self.default_factory = default_factory
        self.repr = repr

    def make_standard(self) -> Any:
        """Return the equivalent field of the standard library."""
        import dataclasses

        if self.default_factory is not None:
            return dataclasses.field(default_factory=self.default_factory, repr=self.repr)
        if self.default is not _MISSING:
            return dataclasses.field(default=self.default, repr=self.repr)
        return dataclasses.field(repr=self.repr)


_REQUIRED = _Field()
field = _Field
Fields = dict[str, _Field]


class _StandardFields:
    """Creates the attribute that ``dataclasses.fields``, ``is_dataclass`` and ``asdict`` look for."""

    def __get__(self, instance: object, owner: type) -> Any:
        import dataclasses

        specifications = [(name, object, one.make_standard()) for name, one in _read_fields(owner).items()]
        shadow: Any = dataclasses.make_dataclass(owner.__name__, specifications, kw_only=True)
        return shadow.__dataclass_fields__


def dataclass(
    cls: type | None = None,
    *,
    frozen: bool = False,
    slots: bool = False,
    kw_only: bool = False,
    eq: bool = True,
    order: bool = False,
) -> Any:
    """Add the methods of a record to a class. See ``dataclasses.dataclass``."""

    def define(decorated: type) -> type:
        own = _collect_own_fields(decorated)
        _check(decorated, own)
        inherited = _collect_inherited_fields(decorated)
        fields = inherited | own
        methods = dict(_make_methods(fields, kw_only=kw_only, frozen=frozen, eq=eq, order=order))
        methods["__match_args__"] = () if kw_only else tuple(fields)
        given = {name: value for name, value in decorated.__dict__.items() if name not in own}
        # As in the standard library, the class's own methods are kept; the None that Python sets for __eq__ is not.
        kept = {name for name in methods if given.get(name) is not None}
        added = {name: value for name, value in methods.items() if name not in kept}
        if not slots:
            return _extend_class(decorated, own, added)
        return _rebuild_class(decorated, tuple(name for name in own if name not in inherited), given | added)

    return define if cls is None else define(cls)


def replace(instance: T, /, **changes: Any) -> T:
    """Return a copy with other values. Raises TypeError for an unknown field."""
    fields = getattr(instance, _FIELDS, None)
    if fields is None:
        import dataclasses

        return dataclasses.replace(instance, **changes)  # type: ignore[type-var]
    return type(instance)(**{name: getattr(instance, name) for name in fields} | changes)


def _read_fields(cls: type) -> Fields:
    return getattr(cls, _FIELDS, {})


def _collect_own_fields(cls: type) -> Fields:
    found: Fields = {}
    # inspect.get_annotations would cost the very import that this module avoids.
    annotations = cls.__annotations__
    given = cls.__dict__
    for name, annotation in annotations.items():
        if not str(annotation).startswith(("ClassVar", "typing.ClassVar")):
            default = given.get(name, _REQUIRED)
            found[name] = default if isinstance(default, _Field) else _Field(default=default)
    return found


def _check(cls: type, own: Fields) -> None:
    """Reject unsupported definitions: mutable defaults, as the standard library does, and ``__post_init__``."""
    for name, one in own.items():
        if one.default.__class__.__hash__ is None:
            kind = one.default.__class__
            raise ValueError(f"mutable default {kind} for field {name} is not allowed: use default_factory")
    if hasattr(cls, "__post_init__"):
        raise TypeError(f"{cls.__name__} has a __post_init__, which records do not call")


def _collect_inherited_fields(cls: type) -> Fields:
    found: Fields = {}
    for base in reversed(cls.__mro__[1:]):
        found |= base.__dict__.get(_FIELDS, {})
    return found


def _make_methods(fields: Fields, *, kw_only: bool, frozen: bool, eq: bool, order: bool) -> Iterator[tuple[str, Any]]:
    yield _FIELDS, fields
    yield "__dataclass_fields__", _StandardFields()
    yield "__init__", _make_late_initializer(fields, kw_only=kw_only)
    yield "__repr__", _represent
    values = _make_reader(tuple(fields))
    if eq:
        yield "__eq__", _make_comparison(lambda one, other: bool(values(one) == values(other)))
        yield "__hash__", (lambda self: hash(values(self))) if frozen else None
    if order:
        for name, test in (("__lt__", lt), ("__le__", le), ("__gt__", gt), ("__ge__", ge)):
            yield name, _make_ordering(test, values)
    if frozen:
        yield "__setattr__", _refuse_assignment
        yield "__delattr__", _refuse_deletion


def _make_reader(names: tuple[str, ...]) -> Callable[[object], Any]:
    """Return a function that reads the values of all fields, in order, for comparison and hashing."""
    return attrgetter(*names) if names else lambda _: ()


def _make_comparison(compare: Callable[[object, object], bool]) -> Callable[[object, object], Any]:
    def compare_values(self: object, other: object) -> Any:
        return compare(self, other) if other.__class__ is self.__class__ else NotImplemented

    return compare_values


def _make_ordering(
    test: Callable[[Any, Any], bool], values: Callable[[object], Any]
) -> Callable[[object, object], Any]:
    return _make_comparison(lambda one, other: test(values(one), values(other)))


def _represent(self: object) -> str:
    fields = _read_fields(type(self)).items()
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name, one in fields if one.repr)
    return f"{type(self).__qualname__}({shown})"


def _refuse_assignment(_self: object, name: str, _value: object) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(_self: object, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _extend_class(cls: type, own: Fields, added: Mapping[str, Any]) -> type:
    """Return the class itself after adding methods and setting the fields' plain defaults as attributes."""
    for name, value in added.items():
        setattr(cls, name, value)
    for name, one in own.items():
        if one.default is not _MISSING:
            setattr(cls, name, one.default)
        elif name in cls.__dict__:
            delattr(cls, name)
    return cls


def _rebuild_class(cls: type, slots: tuple[str, ...], space: dict[str, Any]) -> type:
    """Return a new class with these slots: an existing class cannot get them."""
    for name in ("__dict__", "__weakref__"):
        space.pop(name, None)
    space["__slots__"] = slots
    made = type(cls)(cls.__name__, cls.__bases__, space)
    made.__qualname__ = cls.__qualname__
    return made


def _make_late_initializer(fields: Fields, *, kw_only: bool) -> Callable[..., None]:
    names, most = tuple(fields), 0 if kw_only else len(fields)
    defaults = {name: one.default for name, one in fields.items() if one.default is not _MISSING}
    factories = {name: one.default_factory for name, one in fields.items() if one.default_factory is not None}
    left = _FEW

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        nonlocal left
        left -= 1
        given = dict(zip(names, args, strict=False)) | kwargs if args else kwargs
        values = defaults | given
        for name, make in factories.items():
            if name not in given:
                values[name] = make()
        fits = len(args) <= most and len(given) == len(args) + len(kwargs) and values.keys() == fields.keys()
        if left < 0 or not fits:
            # If the arguments do not fit, the compiled function raises Python's own error. No owner is found if another
            # thread has already replaced this initializer.
            owner = next((base for base in type(self).__mro__ if base.__dict__.get("__init__") is __init__), None)
            compiled = _compile(owner or type(self), fields, kw_only=kw_only)
            if owner is not None:
                owner.__init__ = compiled  # type: ignore[misc]
            compiled(self, *args, **kwargs)
            return
        for name in names:
            _put(self, name, values[name])

    return __init__


def _compile(owner: type, fields: Fields, *, kw_only: bool) -> Callable[..., None]:
    """Compile a plain ``__init__``, as if written by hand. Its source holds only field names, which are identifiers."""
    space: dict[str, Any] = {"_put": _put, "_MISSING": _MISSING}
    parameters = ["self", "*"] if kw_only and fields else ["self"]
    lines = []
    for name, one in fields.items():
        value, default = name, ""
        if one.default_factory is not None:
            space[f"_make_{name}"] = one.default_factory
            value, default = f"_make_{name}() if {name} is _MISSING else {name}", "=_MISSING"
        elif one.default is not _MISSING:
            space[f"_default_{name}"] = one.default
            default = f"=_default_{name}"
        parameters.append(name + default)
        lines.append(f" _put(self, {name!r}, {value})\n")
    exec(f"def __init__({', '.join(parameters)}):\n{''.join(lines) or ' pass'}", space)  # noqa: S102
    made: Callable[..., None] = space["__init__"]
    made.__qualname__ = f"{owner.__qualname__}.__init__"
    return made
