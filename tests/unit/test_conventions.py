"""How tests are laid out: what they import, and what their fixtures are called and give."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TESTS, PRODUCT = ROOT / "tests", ROOT / "ci_buildx"
FIXTURE = "pytest.fixture"
BESIDE_THE_PRODUCT = {"bench", "bundle", "dev", "devcluster", "docs"}
"""Folders of unit tests whose subject is not a package of ``ci_buildx``."""


class Fixture(NamedTuple):
    """A fixture of the module ``file``. It ``extends`` a fixture of the same name if it takes that."""

    name: str
    file: Path
    documented: bool
    extends: bool

    def __str__(self) -> str:
        return f"{self.name} in {self.file}"


def parse_tree(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    """Yield each Python module in ``folder``, with its path below the root."""
    for path in sorted(folder.rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text())


def list_imports(module: ast.Module) -> Iterator[str]:
    """Yield the full names of imported modules, and of what is imported from them."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def list_fixtures(file: Path, module: ast.Module) -> Iterator[Fixture]:
    """Yield the fixtures that a module defines; imported ones belong to the module that defines them."""
    for node in ast.walk(module):
        if not isinstance(node, ast.FunctionDef):
            continue
        called = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
        if FIXTURE in map(ast.unparse, called):
            takes = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
            yield Fixture(node.name, file, bool(ast.get_docstring(node)), node.name in takes)


def imports_test(name: str) -> bool:
    """Return whether a name is in a module of tests, which pytest collects by its prefix."""
    return name.startswith("tests.") and any(part.startswith("test_") for part in name.split(".")[:-1])


@pytest.fixture(scope="module")
def modules() -> list[tuple[Path, ast.Module]]:
    """All modules of the tests, parsed."""
    return list(parse_tree(TESTS))


@pytest.fixture(scope="module")
def fixtures(modules: list[tuple[Path, ast.Module]]) -> list[Fixture]:
    """All fixtures of the tests."""
    return [found for file, module in modules for found in list_fixtures(file, module)]


def test_no_module_imports_from_tests(modules: list[tuple[Path, ast.Module]]) -> None:
    found = {f"{file}: {name}" for file, module in modules for name in list_imports(module) if imports_test(name)}
    assert found == set(), "move what they share to conftest.py or to a module beside them"


@pytest.mark.parametrize("package", ["bench", "bundle", "dev", "devcluster"])
def test_no_tool_imports_tests(package: str) -> None:
    modules = list(parse_tree(ROOT / package))
    assert modules
    found = {
        f"{file}: {name}" for file, module in modules for name in list_imports(module) if name.split(".")[0] == "tests"
    }
    assert found == set(), "move what both need to devcluster/"


def test_each_fixture_says_what_it_gives(fixtures: list[Fixture]) -> None:
    assert len(fixtures) > 200
    assert [str(found) for found in fixtures if not found.documented] == []


def test_no_fixture_hides_another(fixtures: list[Fixture]) -> None:
    """A name means one thing in a folder and below; a fixture may only extend its namesake."""
    found = [
        f"{inner} hides {outer}"
        for outer in fixtures
        if outer.file.name == "conftest.py"
        for inner in fixtures
        if inner.name == outer.name and inner.file != outer.file and not inner.extends
        if outer.file.parent in inner.file.parents
    ]
    assert found == [], "give it a name of its own"


def test_folders_of_unit_tests_are_those_of_the_product() -> None:
    folders = {path.parent.relative_to(TESTS / "unit") for path in (TESTS / "unit").rglob("test_*.py")}
    assert len(folders) > 20
    strange = {
        str(folder)
        for folder in folders
        if not (PRODUCT / folder).is_dir() and folder.parts[0] not in BESIDE_THE_PRODUCT
    }
    assert strange == set(), "move the tests to the folder that has the name of their package"
