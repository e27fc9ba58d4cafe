"""The picture of the layers in docs/architecture.md, drawn from the import contract in pyproject.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "ci_buildx"
_WIDTH = 100
"""Characters of a line of the picture."""

Layers = tuple[tuple[str, ...], ...]
"""Names of packages: one tuple for each layer, the highest first."""


def layers_picture() -> str:
    """Draw the layers as a code block: a row for each layer, a cell for each package."""
    return "\n".join(("", "```text", *draw_rows(read_rows()), "```", ""))


def read_layers() -> Layers:
    """Read the layers from the contract of import-linter."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = (one for one in linter["contracts"] if one["type"] == "layers")
    return parse_layers(contract["layers"])


def parse_layers(lines: list[str]) -> Layers:
    """Split the contract's lines: ``package.a | package.b`` are two siblings in one layer."""
    return tuple(tuple(name.strip().removeprefix(f"{PACKAGE}.") for name in line.split("|")) for line in lines)


def list_packages(package: str = "") -> list[str]:
    """List the packages directly below a package of the product (the product itself for "")."""
    folder = ROOT / PACKAGE / package
    return sorted(path.parent.name for path in folder.glob("*/__init__.py"))


def read_rows() -> list[list[str]]:
    """List the cells of each layer: a package's name, with the packages inside it in parentheses."""
    return [[_describe_package(name) for name in layer] for layer in read_layers()]


def _describe_package(name: str) -> str:
    inside = ", ".join(list_packages(name))
    return f"{name} ({inside})" if inside else name


def draw_rows(rows: list[list[str]]) -> list[str]:
    """Draw a grid. Each row divides the width among its cells, so the cells of two rows need not align."""
    lines, above = [], set[int]()
    for row in rows:
        edges = _place_edges(row)
        lines += [_draw_border(above, set(edges)), _draw_cells(row, edges)]
        above = set(edges)
    return [*lines, _draw_border(above, set())]


def _place_edges(row: list[str]) -> list[int]:
    """Return the columns of a row's vertical lines. Each cell gets an equal share of the spare width."""
    spare = _WIDTH - 1 - sum(len(cell) + 3 for cell in row)
    edges = [0]
    for number, cell in enumerate(row):
        share = spare * (number + 1) // len(row) - spare * number // len(row)
        edges.append(edges[-1] + len(cell) + 3 + share)
    return edges


def _draw_cells(row: list[str], edges: list[int]) -> str:
    cells = (f" {cell}".ljust(end - begin - 1) for cell, begin, end in zip(row, edges, edges[1:], strict=False))
    return f"│{'│'.join(cells)}│"


def _draw_border(above: set[int], below: set[int]) -> str:
    """Draw the horizontal line between two rows; an empty set means the outside."""
    corners = {(True, True): "┼", (True, False): "┴", (False, True): "┬", (False, False): "─"}
    line = [corners[column in above, column in below] for column in range(_WIDTH)]
    left, right = ("├", "┤") if above and below else ("└", "┘") if above else ("┌", "┐")
    return "".join((left, *line[1:-1], right))
