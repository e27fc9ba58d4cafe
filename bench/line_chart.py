"""A chart of lines over time as SVG text. No I/O.

The colours can be told apart with red-green blindness (Okabe and Ito, 2008), and follow the reader's scheme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
WIDTH, HEIGHT = 820, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 60, 44
_FLOOR = HEIGHT - _BOTTOM
_SIZE = f'width="{WIDTH}" height="{HEIGHT}"'
_STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#1f2328}.soft{fill:#59636e;font-size:12px}"
    ".title{font-size:16px;font-weight:600}.grid{stroke:#dfe4ea}.mark{stroke:#59636e;stroke-dasharray:4 4}"
    ".paper{fill:#ffffff}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9198a1}"
    ".grid{stroke:#262c36}.paper{fill:#0d1117}}</style>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """Lines by name, each of pairs of x and y, with x from 0.

    ``highest`` is the top of the y-axis, 0 for that of the data. ``marks`` are vertical lines: an x and a label.
    """

    title: str
    x: str
    y: str
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]
    highest: float = 0.0
    marks: Sequence[tuple[float, str]] = ()


def draw_lines(chart: LineChart) -> str:
    """Return the picture of a chart. Raises ValueError for a chart without points."""
    last = max(x for _, points in chart.lines for x, _ in points)
    top = choose_top(chart.highest or max(y for _, points in chart.lines for _, y in points))

    def place_x(x: float) -> float:
        return round(_LEFT + x / last * (WIDTH - _LEFT - _RIGHT), 1)

    def place_y(y: float) -> float:
        return round(_FLOOR - min(y / top, 1.0) * (_FLOOR - _TOP), 1)

    parts = []
    for step in range(5):
        value = top * step / 4
        y = place_y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(_write(_LEFT - 6, y + 4, f"{value:g}", "soft", anchor="end"))
    parts += [
        _write(place_x(day), _FLOOR + 16, f"{day}", "soft", anchor="middle") for day in range(math.floor(last) + 1)
    ]
    for x, label in chart.marks:
        place = place_x(x)
        parts.append(f'<line class="mark" x1="{place}" x2="{place}" y1="{_TOP}" y2="{_FLOOR}"/>')
        parts.append(_write(place + 4, _FLOOR - 6, label, "soft"))
    across = float(_LEFT)
    for (name, points), colour in zip(chart.lines, COLOURS, strict=False):
        drawn = " ".join(f"{place_x(x)},{place_y(y)}" for x, y in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{drawn}"/>')
        parts.append(f'<rect x="{across}" y="38" width="11" height="11" rx="2" fill="{colour}"/>')
        parts.append(_write(across + 16, 48, name, "soft"))
        across += 40 + round(6.6 * len(name))
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {_SIZE} role="img">',
            f"<title>{escape(chart.title)}</title>",
            _STYLE,
            f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
            _write(20, 24, chart.title, "title"),
            _write(WIDTH - _RIGHT, 48, chart.y, "soft", anchor="end"),
            _write(WIDTH - _RIGHT, HEIGHT - 8, chart.x, "soft", anchor="end"),
            *parts,
            "</svg>\n",
        )
    )


def choose_top(highest: float) -> float:
    """Return the smallest of 1, 2, 2.5, 4, 5, 8 times a power of ten that is not below ``highest``; 1 for nothing."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 2.5, 4, 5, 8, 10) if step * power >= highest)


def _write(across: float, down: float, text: str, kind: str, *, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{across}" y="{down}" text-anchor="{anchor}">{escape(text)}</text>'
