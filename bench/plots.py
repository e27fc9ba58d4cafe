"""`python -m bench.plots`: the pictures of docs/operations/pools.md, from the newest results in bench/results.

They are self-contained SVG 1.1, in light or dark colours as the reader prefers, and need no library.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from bench.line_chart import LineChart, draw_lines
from bench.newest import find_newest

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDTH = 820
_LEFT, _RIGHT, _TOP = 210, 70, 74
_SPAN = WIDTH - _LEFT - _RIGHT
_SIZE = f'width="{WIDTH}" height="{{:g}}"'
_STYLE = """<style>
.paper{fill:#ffffff}.ink{fill:#1f2328}.soft{fill:#59636e}
.c0{fill:#3b82d6}.c1{fill:#e08a1e}
@media (prefers-color-scheme:dark){
.paper{fill:#0d1117}.ink{fill:#e6edf3}.soft{fill:#9198a1}
.c0{fill:#4493f8}.c1{fill:#f0a23b}}
text{font-family:system-ui,sans-serif;font-size:13px}.title{font-size:16px;font-weight:600}.small{font-size:12px}
</style>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """Horizontal bars: rows of a name and a value for each series; ``unit`` follows the values."""

    title: str
    series: tuple[str, ...]
    rows: Sequence[tuple[str, tuple[float, ...]]]
    unit: str = ""
    note: str = ""


def draw_bars(chart: BarChart) -> str:
    """Return the picture of a bar chart."""
    count = len(chart.series)
    bar = 12 if count > 1 else 14
    step = bar * count + 14
    most = max((value for _, values in chart.rows for value in values), default=0.0) or 1.0
    parts = []
    for place, name in enumerate(chart.series if count > 1 else ()):
        across = _LEFT + place * 210
        parts.append(f'<rect class="c{place}" x="{across}" y="42" width="12" height="12" rx="2"/>')
        parts.append(_write(across + 18, 52, name, "soft small"))
    for row, (name, values) in enumerate(chart.rows):
        top = _TOP + row * step
        parts.append(_write(_LEFT - 12, top + bar * count / 2 + 4, name, "ink", anchor="end"))
        for place, value in enumerate(values):
            length = round(_SPAN * value / most, 1)
            high = top + place * bar
            parts.append(
                f'<rect class="c{place}" x="{_LEFT}" y="{high}" width="{max(length, 1.0)}" height="{bar - 2}" rx="2"/>'
            )
            parts.append(_write(_LEFT + length + 6, high + bar - 3, f"{value:g}{chart.unit}", "soft small"))
    bottom = _TOP + len(chart.rows) * step + 8
    return _frame(chart.title, chart.note, parts, bottom)


def _write(across: float, down: float, text: str, kind: str, *, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{across}" y="{down}" text-anchor="{anchor}">{escape(text)}</text>'


def _frame(title: str, note: str, parts: Sequence[str], bottom: float) -> str:
    height = bottom + (24 if note else 8)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" {_SIZE.format(height)} role="img">',
        f"<title>{escape(title)}</title>",
        _STYLE,
        f'<rect class="paper" width="{WIDTH}" height="{height:g}" rx="8"/>',
        _write(20, 28, title, "ink title"),
        *parts,
    ]
    if note:
        lines.append(_write(20, bottom + 8, note, "soft small"))
    return "\n".join([*lines, "</svg>"]) + "\n"


def draw_pools(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the pictures of a result of `bench.pools`, by their files' names."""
    burst = document["burst"]
    pods = [(one["who"], (statistics.mean(one["busiest"]), statistics.mean(one["idle"]))) for one in burst]
    first = [(one["who"], (round(100 * one["first"], 1),)) for one in burst]
    note = f"means of {document['seeds']} bursts; the fair share is 3 builds"
    return {
        "pools-balance.svg": draw_bars(
            BarChart(
                title="30 builds at once on 10 pods",
                series=("builds on the busiest pod", "pods without a build"),
                rows=pods,
                note=note,
            )
        ),
        "pools-first.svg": draw_bars(
            BarChart(title="Builds on their repository's first pod", series=("share",), rows=first, unit=" %")
        ),
        **draw_queue(document),
    }


def draw_queue(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the picture of the waits in the queue, by its file's name."""
    queue = document["queue"]
    rows = [(f"50 builds, seed {one['seed']}", (one["wait_longest"], one["ideal_longest"])) for one in queue]
    chart = BarChart(
        title="Longest wait for one of 16 slots on 4 pods",
        series=("kube-builder", "ideal FIFO queue without delays"),
        rows=rows,
        unit=" s",
    )
    return {"pools-queue.svg": draw_bars(chart)}


def draw_burst(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the pictures of a result of `bench.burst`, by their files' names."""
    waves = {shorten_contestant(one["who"]): one for one in document["waves"]}
    builds = document["builds"]
    lost = [f"{name} {builds - one['succeeded']}" for name, one in waves.items() if one["succeeded"] < builds]
    waits = BarChart(
        title=f"Wait of {builds} builds at once for their first step, on {document['pods']} pods",
        series=("median", "95th percentile"),
        rows=[(name, (one["wait_p50"], one["wait_p95"])) for name, one in waves.items()],
        unit=" s",
        note=f"failed builds, which have no wait: {', '.join(lost) or 'none'}",
    )
    hits = BarChart(
        title="Builds that found their repository's dependencies in the cache",
        series=("share",),
        rows=[(name, (round(100 * one["hits"] / max(one["chances"], 1), 1),)) for name, one in waves.items()],
        unit=" %",
    )
    return {"burst-waits.svg": draw_bars(waits), "burst-hits.svg": draw_bars(hits)}


def shorten_contestant(who: str) -> str:
    """Return a contestant's name as it fits beside its bar."""
    return who.removeprefix("kube-builder, ").replace(" leastconn", "").replace("one connection", "1 connection")


def draw_week(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the pictures of a result of `bench.week`, by their files' names."""
    pools = list(document["pools"].values())

    def draw(title: str, unit: str, read: Callable[[Mapping[str, Any]], float], highest: float = 0.0) -> str:
        lines = [(pool["who"], [(moment["day"], read(moment)) for moment in pool["moments"]]) for pool in pools]
        marks = [(pools[0]["lost"], "each pool loses a pod")]
        return draw_lines(LineChart(title=title, x="day", y=unit, lines=lines, highest=highest, marks=marks))

    limit = f"garbage collection above {document['kept']} MB"
    return {
        "week-hits.svg": draw("Hits in the cache", "% of the builds that could hit", measure_hits, 100),
        "week-disk.svg": draw(f"Disk of the fullest pod; {limit}", "MB", lambda moment: max(moment["disk"])),
        "week-shares.svg": draw("Builds of the busiest of four pods", "times its fair share", measure_share, 4),
    }


def measure_hits(moment: Mapping[str, Any]) -> float:
    """Return the percentage of the builds that found in the cache what an earlier one of their repository had made."""
    return 100 * float(moment["hits"]) / moment["chances"] if moment["chances"] else 0.0


def measure_share(moment: Mapping[str, Any]) -> float:
    """Return the busiest pod's builds as a multiple of its fair share."""
    sessions = moment["sessions"]
    return float(max(sessions)) * len(sessions) / sum(sessions) if sum(sessions) else 0.0


KINDS = {"pools": draw_pools, "burst": draw_burst, "week": draw_week}


def main() -> int:
    """Write the pictures, or with ``--check`` return 1 if one is not that of the results."""
    made = argparse.ArgumentParser(prog="python -m bench.plots", description=__doc__)
    made.add_argument("--check", action="store_true", help="write nothing; fail if a picture is stale")
    arguments = made.parse_args()
    stale = []
    for kind, draw in KINDS.items():
        for name, text in draw(json.loads(find_newest(kind).read_text())).items():
            path = IMAGES / name
            if not path.exists() or path.read_text() != text:
                stale.append(name)
                if not arguments.check:
                    path.write_text(text)
    for name in stale:
        print(f"{'stale' if arguments.check else 'written'}: {name}")
    return int(arguments.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
