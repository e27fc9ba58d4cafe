"""The pictures of the results."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from bench import plots
from bench.newest import find_newest
from bench.plots import BarChart

SVG = "{http://www.w3.org/2000/svg}"


def test_a_bar_is_as_long_as_its_value() -> None:
    rows = [("a", (2.0, 0.0)), ("b & c", (8.0, 4.0))]
    drawn = ElementTree.fromstring(plots.draw_bars(BarChart(title="t", series=("x", "y"), rows=rows)))
    bars = [one for one in drawn.iter(f"{SVG}rect") if one.get("height") == "10"]
    lengths = [float(one.attrib["width"]) for one in bars]
    assert lengths[2] == pytest.approx(4 * lengths[0])
    assert lengths[3] == pytest.approx(2 * lengths[0])
    assert "b & c" in [one.text for one in drawn.iter(f"{SVG}text")]


@pytest.mark.parametrize("kind", sorted(plots.KINDS))
def test_the_pictures_in_docs_are_those_of_the_newest_results(kind: str) -> None:
    drawn = plots.KINDS[kind](json.loads(find_newest(kind).read_text()))
    for name, text in drawn.items():
        assert (plots.IMAGES / name).read_text() == text, f"{name} is stale: run python -m bench.plots"
        assert not re.search(r"<script|href|url\(", text)


def test_failed_builds_of_a_burst_are_named() -> None:
    good = {"who": "kube-builder, sticky", "succeeded": 30, "wait_p50": 1, "wait_p95": 2, "hits": 20, "chances": 25}
    poor = {**good, "who": "HAProxy leastconn, one connection a pod", "succeeded": 11}
    drawn = plots.draw_burst({"builds": 30, "pods": 10, "waves": [good, poor]})
    assert "failed builds, which have no wait: HAProxy, 1 connection a pod 19" in drawn["burst-waits.svg"]
    assert "80 %" in drawn["burst-hits.svg"]
