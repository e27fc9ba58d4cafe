"""docs/architecture.md and CONTRIBUTING.md against the tree: the picture of the layers, packages, paths and names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from bundle import __main__ as bundle
from bundle import layers, regions

ROOT = Path(__file__).parents[3]
PRODUCT = ROOT / "ci_buildx"
PAGE = ROOT / "docs" / "architecture.md"
GUIDE = ROOT / "CONTRIBUTING.md"
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)+/?|[\w-]+\.(?:py|md|yml|toml)")
_NAME = re.compile(r"(?P<module>[\w/]+)\.(?P<name>(?!py$|md$|yml$|toml$|json$)\w+)")
_FLOW = re.compile(r"[a-z_]+(?:/[a-z_]+)+")


def test_the_picture_is_the_contracts() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert regions.fill(text, bundle.REGIONS) == text, "run `make bundle`"
    assert layers.layers_picture().strip() in text


def test_the_picture_has_each_package_once() -> None:
    drawn = [name for layer in layers.read_layers() for name in layer]
    assert sorted(drawn) == sorted({*layers.list_packages(), "errors"}), "a package without a layer in pyproject.toml"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["ci_buildx.a"], (("a",),)),
        (["ci_buildx.a | ci_buildx.b", "ci_buildx.c"], (("a", "b"), ("c",))),
    ],
)
def test_a_layer_is_a_line_of_the_contract(lines: list[str], expected: layers.Layers) -> None:
    assert layers.parse_layers(lines) == expected


@pytest.mark.parametrize("rows", [[["a"]], [["a"], ["b (x, y)", "c"]], [["a", "b"], ["c", "d", "e"], ["f"]]])
def test_a_picture_is_a_closed_grid(rows: list[list[str]]) -> None:
    lines = layers.draw_rows(rows)
    assert len(lines) == 2 * len(rows) + 1
    assert len({len(line) for line in lines}) == 1
    for number, row in enumerate(rows):
        above, cells, below = lines[2 * number : 2 * number + 3]
        assert [cell.strip() for cell in cells.strip("│").split("│")] == row
        for column in (match.start() for match in re.finditer("│", cells)):
            assert above[column] in "┌┬┐├┼┤"
            assert below[column] in "└┴┘├┼┤"


def test_no_modules_import_each_other() -> None:
    """Imports inside functions and for type checkers count, too."""
    graph = grimp.build_graph("ci_buildx", cache_dir=None)
    TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}).prepare()


def test_the_table_of_packages_has_each_package() -> None:
    named = [row[0].strip("`") for row in read_table("| package |")]
    folders = [path.parent for path in PRODUCT.rglob("__init__.py") if path.parent != PRODUCT]
    assert sorted(named) == sorted(["errors", *(str(folder.relative_to(PRODUCT)) for folder in folders)])


def test_the_table_of_changes_names_files() -> None:
    rows = read_table("| to change |")
    assert len(rows) >= 25
    assert [row[0] for row in rows if not any(map(exists, _CODE.findall(row[1])))] == []


@pytest.mark.parametrize("page", [PAGE, GUIDE], ids=lambda path: path.name)
def test_paths_exist(page: Path) -> None:
    paths = list(list_paths(page))
    assert len(paths) > 20
    assert [path for path in paths if not exists(path)] == []


def test_names_exist() -> None:
    """Where a text says ``module.name`` or ``folder/module.name``."""
    found = [match for text in _CODE.findall(PAGE.read_text(encoding="utf-8")) if (match := _NAME.fullmatch(text))]
    known = [(match["module"], match["name"]) for match in found if find_modules(match["module"])]
    assert ("reap", "reap_few") in known
    assert [pair for pair in known if not any(pair[1] in list_names(module) for module in find_modules(pair[0]))] == []


def test_the_flow_names_modules() -> None:
    flow = PAGE.read_text(encoding="utf-8").partition("\n## The flow of one build")[2].split("```")[1]
    assert len(_FLOW.findall(flow)) >= 8
    assert [path for path in _FLOW.findall(flow) if not exists(path)] == []


def read_table(head: str) -> list[list[str]]:
    """Return the cells of the rows of a page's table."""
    lines = PAGE.read_text(encoding="utf-8").partition(f"\n{head}")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def list_paths(page: Path) -> Iterator[str]:
    """Return the texts in backquotes that are paths."""
    for text in _CODE.findall(page.read_text(encoding="utf-8")):
        if _PATH.fullmatch(text) and not (_NAME.fullmatch(text) and find_modules(text.rpartition(".")[0])):
            yield text


def exists(path: str) -> bool:
    """Whether a file, a folder, or a module without its ending exists; ``*`` matches as in a shell."""
    return any(list(base.glob(name)) for base in (ROOT, PRODUCT) for name in (path.rstrip("/"), f"{path}.py"))


def find_modules(name: str) -> list[Path]:
    """Return the modules of a name such as ``plan`` or ``builder/plan``."""
    return [path for path in PRODUCT.rglob(f"{name.rpartition('/')[2]}.py") if str(path).endswith(f"/{name}.py")]


@cache
def list_names(module: Path) -> frozenset[str]:
    """Return the names that a module defines."""
    names: set[str] = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(names)
