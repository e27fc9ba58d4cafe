"""What `pip install kube-builder` takes is what the lock holds, and no more."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from dev.release_bundle import split_lock
from tests.unit.ci.closure import list_closure

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = {one.name: one for one in map(Requirement, PROJECT["dependencies"])}
LOCKED = {
    name: Version(version.split()[0])
    for name, _, version in (
        entry.partition("==") for entry in split_lock((ROOT / "requirements.lock").read_text(), frozenset())[0]
    )
}
UNBOUNDED = {"cryptography"}
"""Security fixes come with the newest version only."""


def test_every_dependency_is_bounded_and_the_lock_is_within() -> None:
    for name, wanted in DEPENDENCIES.items():
        assert LOCKED[name] in wanted.specifier, name
        upper = any(one.operator in ("<", "<=", "==", "~=") for one in wanted.specifier)
        assert upper != (name in UNBOUNDED), name
        assert any(one.operator == ">=" for one in wanted.specifier), name


def test_the_kubernetes_client_is_one_without_aiohttp_and_pydantic() -> None:
    """They come with version 36, and make 244 MB of 69."""
    assert not [*DEPENDENCIES["kubernetes"].specifier.filter(["36.0.0", "36.0.2", "37.0.0", "38.0.0"])]
    assert not {"aiohttp", "pydantic"} & LOCKED.keys()


def test_the_four_chosen_packages_are_dependencies() -> None:
    """They are installed for every user of pip; the Action installs one of them when it is first needed."""
    assert {"grpcio", "kubernetes", "pyyaml", "requests"} <= DEPENDENCIES.keys()


def test_the_lock_is_what_the_dependencies_require() -> None:
    assert list_closure(*DEPENDENCIES) == LOCKED.keys()
