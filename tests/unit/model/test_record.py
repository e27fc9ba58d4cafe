"""Our dataclasses against the standard library's: what one does, the other does."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.model import record, recording

ROOT = Path(__file__).parents[3]
LIBRARIES = {"standard": dataclasses, "ours": recording}
OPTIONS = [
    {"frozen": frozen, "slots": slots, "kw_only": kw_only}
    for frozen in (False, True)
    for slots in (False, True)
    for kw_only in (False, True)
]


def make(library: Any, **options: bool) -> Any:
    @library.dataclass(**options)
    class Point:
        """A point."""

        x: int
        y: int = 2
        notes: list[str] = library.field(default_factory=list)
        secret: str = library.field(default="s", repr=False)
        total: ClassVar[int] = 7

        def far(self) -> int:
            return self.x + self.y

    return Point


def both(**options: bool) -> tuple[Any, Any]:
    return make(dataclasses, **options), make(recording, **options)


def said(action: Callable[[], object]) -> tuple[str, str]:
    """The kind of error and its text, without the place of the class."""
    try:
        return "", repr(action())
    except Exception as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@given(values=st.fixed_dictionaries({"x": st.integers()}, optional={"y": st.integers(), "notes": st.lists(st.text())}))
def test_instances_look_and_compare_alike(options: dict[str, bool], values: dict[str, Any]) -> None:
    standard, ours = both(**options)
    assert repr(ours(**values)) == repr(standard(**values))
    assert ours(**values) == ours(**values)
    assert (ours(**values) == ours(x=0)) == (standard(**values) == standard(x=0))
    assert ours(**values) != standard(**values)
    assert dataclasses.asdict(ours(**values)) == dataclasses.asdict(standard(**values))
    assert ours(**values).far() == standard(**values).far()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_same_is_refused_in_the_same_words(options: dict[str, bool]) -> None:
    def attempts(cls: Any) -> list[tuple[str, str]]:
        point = cls(x=1)
        return [
            said(lambda: cls()),
            said(lambda: cls(1, 2)),
            said(lambda: cls(x=1, z=2)),
            said(lambda: cls(x=1, y=2, notes=[], secret="", total=1)),
            said(lambda: setattr(point, "x", 5)),
            said(lambda: delattr(point, "y")),
            (*said(lambda: hash(cls(x=1)))[:1], ""),
        ]

    standard, ours = both(**options)
    assert attempts(ours) == attempts(standard)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_classes_look_alike(options: dict[str, bool]) -> None:
    standard, ours = both(**options)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "total", "__match_args__"):
        assert getattr(ours, name, None) == getattr(standard, name, None)
    assert getattr(ours, "__slots__", None) == getattr(standard, "__slots__", None)
    assert [one.name for one in dataclasses.fields(ours)] == [one.name for one in dataclasses.fields(standard)]
    assert hasattr(ours(x=1), "__dict__") == hasattr(standard(x=1), "__dict__")


@pytest.mark.parametrize("replace", [recording.replace, dataclasses.replace])
def test_replace_takes_either_kind(replace: Callable[..., Any]) -> None:
    for cls in both(frozen=True, slots=True, kw_only=True):
        changed = replace(cls(x=1, notes=["n"]), y=5)
        assert (changed.x, changed.y, changed.notes) == (1, 5, ["n"])
        with pytest.raises(TypeError):
            replace(cls(x=1), z=1)


def test_each_instance_gets_a_default_of_its_own() -> None:
    ours = make(recording, slots=True)
    ours(x=1).notes.append("one")
    assert ours(x=1).notes == []


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_first_instances_are_like_all_that_follow(options: dict[str, bool]) -> None:
    """Only a class of which there are many gets an ``__init__`` of its own compiled."""
    ours = make(recording, **options)
    first = ours(x=1, notes=["n"])
    begun = ours.__init__
    made = [ours(x=1, notes=["n"]) for _ in range(2 * recording._FEW)]
    assert ours.__init__ is not begun
    assert all(one == first for one in made)
    with pytest.raises(TypeError, match="missing 1 required"):
        ours()


def test_an_instance_that_is_begun_while_another_thread_compiles_is_made_all_the_same() -> None:
    ours = make(recording, slots=True)
    begun = ours.__init__
    for _ in range(2 * recording._FEW):
        ours(x=1)
    late = ours.__new__(ours)
    begun(late, x=1, y=3)
    assert late == ours(x=1, y=3)


def test_positional_values_meet_their_fields() -> None:
    ours = make(recording, slots=True)
    assert repr(ours(1, 3, secret="t")) == repr(ours(x=1, y=3, secret="t"))
    standard = make(dataclasses, slots=True)
    for args, kwargs in (((1,), {"x": 1}), ((1, 2, [], "s", 5), {})):
        assert said(partial(ours, *args, **kwargs)) == said(partial(standard, *args, **kwargs))


def test_what_the_class_defines_stays() -> None:
    @record.dataclass(frozen=True, slots=True)
    class Named:
        name: str

        def __repr__(self) -> str:
            return "hidden"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    assert (repr(Named("a")), Named("a") == Named("b"), hash(Named("a"))) == ("hidden", True, 1)


def test_inheritance() -> None:
    def pair(library: Any) -> Any:
        @library.dataclass(frozen=True, slots=True, kw_only=True)
        class Base:
            x: int
            y: int = 1

        @library.dataclass(frozen=True, slots=True, kw_only=True)
        class Derived(Base):
            y: int = 3
            z: int = 4

        return Derived

    standard, ours = pair(dataclasses), pair(recording)
    assert repr(ours(x=1)) == repr(standard(x=1))
    assert ours.__slots__ == standard.__slots__
    plain = type("Plain", (ours,), {})
    assert plain(x=2).x == 2


@given(one=st.tuples(st.integers(0, 3), st.text(max_size=1)), other=st.tuples(st.integers(0, 3), st.text(max_size=1)))
def test_order(one: tuple[int, str], other: tuple[int, str]) -> None:
    @record.dataclass(frozen=True, slots=True, order=True)
    class Version:
        number: int
        suffix: str

    assert (Version(*one) < Version(*other)) == (one < other)
    assert (Version(*one) >= Version(*other)) == (one >= other)
    assert sorted([Version(*one), Version(*other)]) == [Version(*pair) for pair in sorted([one, other])]
    assert {Version(*one): 1} == {Version(*one): 1}


def test_every_record_of_the_product_is_what_the_standard_library_makes() -> None:
    def described(kind: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "tests.unit.model.records_of_product", kind]
        env = {**os.environ, "PYTHONHASHSEED": "0"}  # sets are shown in one order
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    ours, standard = described("ours"), described("standard")
    assert len(ours) > 100
    assert ours.keys() == standard.keys()
    assert {name: facts for name, facts in ours.items() if facts != standard[name]} == {}


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_a_mutable_default_is_refused(library: Any) -> None:
    """One object in all instances."""
    with pytest.raises(ValueError, match="mutable default <class 'dict'> for field table is not allowed: use default_"):

        @library.dataclass(frozen=True)
        class Shared:
            table: dict[str, int] = {}  # noqa: RUF012


def test_a_post_init_would_not_be_called() -> None:
    with pytest.raises(TypeError, match="Late has a __post_init__"):

        @recording.dataclass
        class Late:
            name: str

            def __post_init__(self) -> None:
                self.name += "!"
