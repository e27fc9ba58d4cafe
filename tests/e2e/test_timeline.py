"""The picture of a real build on two nodes says what buildkitd said."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.e2e.cluster import Builders
from tests.e2e.product import Product

DOCKERFILE = (
    "FROM busybox AS build\nCOPY note /note\nRUN sleep 0.5; echo 'a: b; #c' > /said\n"
    "FROM busybox\nCOPY --from=build /said /said\nRUN sleep 0.2\n"
)
SVG = "{http://www.w3.org/2000/svg}"
KNOWN_TO = 0.006
"""Seconds: the times of a row are told to a hundredth."""


def test_bars_are_the_vertexes_times(product: Product, context: Path, reference: str, builders: Builders) -> None:
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "note").write_text("hello\n")
    picture = context.parent / "build.svg"
    options = ["--platform", "linux/amd64,linux/arm64", "-t", reference, "--push", "--progress", "rawjson"]
    done = product.build(*options, "--timeline", str(picture), str(context))
    assert done.code == 0, done.stderr
    told = rows(picture.read_text())
    vertexes = latest(done.stderr)
    for platform in ("linux/amd64", "linux/arm64"):
        shifts = set()
        for name, vertex in vertexes.items():
            if not name.startswith(f"[{platform} ") or vertex.get("cached"):
                continue
            (row,) = [row for row in told[platform] if row.startswith(f"[{name.removeprefix(f'[{platform} ')}\n")]
            began, ended = row.partition(", from ")[2].partition("\n")[0].replace(" s", "").split(" to ")
            took = seconds(vertex["completed"]) - seconds(vertex["started"])
            assert float(ended) - float(began) == pytest.approx(took, abs=2 * KNOWN_TO)
            shifts.add(round(seconds(vertex["completed"]) - float(ended), 3))
        assert len(shifts) >= 3
        assert max(shifts) - min(shifts) < 2 * KNOWN_TO
    assert [row.partition("\n")[0].split()[0] for row in told["kube-builder"]] == [
        *("creating", "planning", "booting", "merging", "removing")
    ]
    critical = {section for section, found in told.items() if any("on the critical path" in row for row in found)}
    assert "kube-builder" in critical
    assert len(critical) == 2
    assert builders.left() == []


def test_a_build_that_fails_is_drawn_as_far_as_it_came(product: Product, context: Path, builders: Builders) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN true\nRUN sleep 0.1 && exit 7\nRUN echo never\n")
    page = context.parent / "build.html"
    done = product.build("--timeline", str(page), str(context))
    assert done.code == 1
    text = page.read_text()
    assert "exit code: 7" in text
    assert "removing builder" in text
    assert "echo never" not in text
    assert builders.left() == []


def rows(svg: str) -> dict[str, list[str]]:
    """What each row tells, by section."""
    found: dict[str, list[str]] = {}
    section = ""
    for element in headings_and_rows(ElementTree.fromstring(svg)):
        if element.tag == f"{SVG}text":
            section = element.text or ""
        else:
            found.setdefault(section, []).append(element.findtext(f"{SVG}title") or "")
    return found


def headings_and_rows(root: ElementTree.Element) -> Iterable[ElementTree.Element]:
    """In the order from top to bottom."""
    wanted = [item for item in root if item.get("class") in ("row", "head ink")]
    return sorted(wanted, key=height)


def height(element: ElementTree.Element) -> float:
    text = element if element.tag == f"{SVG}text" else element.find(f"{SVG}text")
    assert text is not None
    return float(text.get("y", ""))


def latest(stream: str) -> dict[str, Any]:
    """The last word on each step that ran once, by name."""
    runs: dict[str, dict[str, Any]] = {}
    for line in stream.splitlines():
        for vertex in json.loads(line).get("vertexes", ()) if line.startswith("{") else ():
            if vertex.get("completed"):
                runs.setdefault(vertex["name"], {})[vertex["started"]] = vertex
    return {name: next(iter(found.values())) for name, found in runs.items() if len(found) == 1}


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
