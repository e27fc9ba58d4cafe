"""The table of bounds in docs/security.md: each constant has the value it says, each test exists."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_CONSTANT = re.compile(r"`([\w.]+)` = (\d+)")
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> list[list[str]]:
    section = (ROOT / "docs/security.md").read_text().partition("## Bounds")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


ROWS = rows()


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_a_bound_is_what_the_table_says(row: list[str]) -> None:
    _, what, bound, test = row
    assert what
    assert bound
    found = _TEST.fullmatch(test)
    assert found, test
    assert found[2].startswith("test_")
    assert found[2] in functions(ROOT / "tests/unit" / found[1])
    if "`" in bound:
        named = _CONSTANT.fullmatch(bound)
        assert named, bound
        module, _, name = named[1].rpartition(".")
        assert getattr(importlib.import_module(f"ci_buildx.{module}"), name) == int(named[2])
        words = re.findall(r"\w+", (ROOT / "tests/unit" / found[1]).read_text())
        assert name in words, f"{test} does not say which value it reaches"


def test_every_peer_is_in_the_table() -> None:
    peers = " ".join(row[0] for row in ROWS)
    named = (
        "buildkitd",
        "API server",
        "registry",
        "token server",
        "CI system",
        "credential helper",
        "exec plugin",
        "git",
    )
    assert [name for name in named if name not in peers] == []
    assert sum("`" in row[2] for row in ROWS) >= 40
