"""Renders a timeline as a self-contained SVG 1.1 picture, in light or dark colours as the reader prefers. Pure.

Each step has its own row, so nothing overlaps; a bar's label is to its right, where a margin is reserved. Names use a
monospace font, so that their width is known without font metrics.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import pairwise

from ci_buildx.model.record import dataclass
from ci_buildx.progress.frame import clip_text, count_columns
from ci_buildx.progress.timeline.fold import fold_rows
from ci_buildx.progress.timeline.timeline import SpanKind, Timeline, TimelineRow, TimeSpan

WIDTH = 1280
MOST_ROWS = 120
"""Maximum rows of a picture; larger timelines are folded."""

_MARGIN = 24
_NAMES = 380
_NAME_COLUMNS = 50
_AFTER = 84
_LEFT = _MARGIN + _NAMES
_RIGHT = WIDTH - _MARGIN - _AFTER
_BAND = WIDTH - 2 * _MARGIN + 16
_TOP = 122
_ROW, _BAR, _HEAD = 21, 11, 27
_LEAST_BAR = 2.0
_LEAST_WAIT = 4.0
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400)
_MOST_TICKS = 10
_INVALID = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
DIGEST = re.compile(r"@sha256:[0-9a-f]{4,}")
_CLASSES = {
    SpanKind.RUN: "run",
    SpanKind.CACHED: "cached",
    SpanKind.TRANSFER: "transfer",
    SpanKind.PUSH: "push",
    SpanKind.PHASE: "phase",
    SpanKind.FAILED: "failed",
    SpanKind.CANCELED: "canceled",
    SpanKind.INPUTS: "inputs",
    SpanKind.QUEUE: "queue",
}
_COLOURS = {
    "paper": ("#ffffff", "#0d1117"),
    "band": ("#f6f8fa", "#161b22"),
    "ink": ("#1f2328", "#e6edf3"),
    "soft": ("#59636e", "#9198a1"),
    "grid": ("#dfe4ea", "#262c36"),
    "run": ("#3b82d6", "#4493f8"),
    "cached": ("#aab4c0", "#59636e"),
    "transfer": ("#159c8c", "#2bb8a6"),
    "push": ("#8250df", "#a371f7"),
    "phase": ("#64748b", "#8593a8"),
    "failed": ("#d1242f", "#f85149"),
    "canceled": ("#bf8700", "#d29922"),
    "wait": ("#8c959f", "#6e7681"),
    "critical": ("#f0883e", "#f0883e"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineCaption:
    """The heading of the picture: ``title`` is the image or the context, ``failure`` the reason if it is incomplete."""

    title: str
    facts: str
    failure: str = ""


def render_svg(timeline: Timeline, caption: TimelineCaption) -> str:
    """Return the text of an SVG file."""
    shown = fold_rows(timeline, MOST_ROWS)
    scale = _TimeScale(begin=shown.begin, seconds=max(shown.seconds, 0.001))
    placed = list(_place_rows(shown))
    bottom = placed[-1][0] + _ROW if placed else _TOP
    height = bottom + 26
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    label = escape_xml(f"{caption.title}: {caption.facts}")
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} class="kube-builder" role="img" aria-label="{label}">',
        f"<style>{_render_style()}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        *_render_caption(caption),
        *_render_legend(shown),
        *_render_bands(placed),
        *_render_axis(scale, bottom),
        *_render_links(placed, scale),
        *(piece for y, row in placed if isinstance(row, TimelineRow) for piece in _render_row(y, row, scale)),
        "</svg>",
    ]
    return "\n".join(pieces) + "\n"


def escape_xml(value: str) -> str:
    """Escape text for XML and HTML, also within attributes."""
    return escape(_INVALID.sub("\ufffd", value))


def format_duration(seconds: float) -> str:
    """Format a duration: ``4 ms``, ``0.52 s``, ``12.3 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass(frozen=True, slots=True, kw_only=True)
class _TimeScale:
    """A linear scale from times to x coordinates."""

    begin: float
    seconds: float

    def compute_x(self, moment: float) -> float:
        return _LEFT + (moment - self.begin) / self.seconds * (_RIGHT - _LEFT)

    def list_ticks(self) -> Iterator[float]:
        """Yield round numbers of seconds from the beginning."""
        step = float(next((step for step in _STEPS if self.seconds / step <= _MOST_TICKS), _STEPS[-1]))
        while self.seconds / step > _MOST_TICKS:  # a node whose clock is years off
            step *= 2
        for number in range(int(self.seconds / step) + 1):
            yield number * step


def _place_rows(timeline: Timeline) -> Iterator[tuple[int, TimelineRow | str]]:
    """Yield section headings and rows, each with its y coordinate."""
    y = _TOP
    for name, rows in timeline.group_sections():
        yield y, name
        y += _HEAD
        for row in rows:
            yield y, row
            y += _ROW
        y += 8


def _render_style() -> str:
    light = ";".join(f"--{name}:{pair[0]}" for name, pair in _COLOURS.items())
    dark = ";".join(f"--{name}:{pair[1]}" for name, pair in _COLOURS.items())
    # Fallback colours for readers without CSS variables (librsvg).
    fills = "".join(
        f".kube-builder .{name}{{fill:{_COLOURS[name][0]};fill:var(--{name})}}"
        for name in ("paper", "band", "ink", "soft", "run", "cached", "transfer", "push", "phase", "failed", "canceled")
    )
    lines = "".join(
        f".kube-builder .{name}{{fill:none;stroke:{_COLOURS[colour][0]};stroke:var(--{colour});{more}}}"
        for name, colour, more in (
            ("grid", "grid", "stroke-width:1"),
            ("inputs", "wait", "stroke-width:1.5;stroke-dasharray:1.5 3"),
            ("queue", "wait", "stroke-width:4;stroke-dasharray:1.5 1.5"),
            ("link", "critical", "stroke-width:1.25;opacity:.75"),
            ("critical", "critical", "stroke-width:2.5"),
        )
    )
    return (
        f".kube-builder{{{light}}}@media(prefers-color-scheme:dark){{.kube-builder{{{dark}}}}}"
        ".kube-builder text{font:12px ui-sans-serif,system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}"
        ".kube-builder text.name{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}"
        ".kube-builder text.title{font-size:18px;font-weight:600}.kube-builder text.head{font-weight:600}"
        ".kube-builder text.small{font-size:11px}.kube-builder text.bold{font-weight:600}" + fills + lines
    )


def _render_caption(caption: TimelineCaption) -> Iterator[str]:
    yield f'<text class="title ink" x="{_MARGIN}" y="38">{escape_xml(clip_text(caption.title, 110))}</text>'
    yield f'<text class="soft" x="{_MARGIN}" y="60">{escape_xml(clip_text(caption.facts, 160))}</text>'
    if caption.failure:
        yield f'<text class="failed bold" x="{_LEFT}" y="60">{escape_xml(clip_text(caption.failure, 110))}</text>'


def _render_legend(timeline: Timeline) -> Iterator[str]:
    """Yield the legend of the colours that occur."""
    spans = [span for row in timeline.rows for span in (*row.runs, *row.parts, *row.waits)]
    kinds = {span.kind for span in spans}
    x: float = _MARGIN
    for kind in SpanKind:
        if kind not in kinds:
            continue
        if kind in (SpanKind.INPUTS, SpanKind.QUEUE):
            yield f'<path class="{_CLASSES[kind]}" d="M{x:.0f} 82.5h16"/>'
        else:
            yield f'<rect class="{_CLASSES[kind]}" x="{x:.0f}" y="77" width="16" height="{_BAR}" rx="2"/>'
        yield f'<text class="small soft" x="{x + 22:.0f}" y="86">{escape_xml(kind)}</text>'
        x += 22 + 5.7 * len(kind) + 20
    if any(row.critical for row in timeline.rows):
        yield f'<path class="critical" d="M{x:.0f} 87.5h16"/>'
        yield f'<text class="small soft" x="{x + 22:.0f}" y="86">critical path</text>'


def _render_bands(placed: list[tuple[int, TimelineRow | str]]) -> Iterator[str]:
    for y, name in placed:
        if isinstance(name, str):
            yield f'<rect class="band" x="{_MARGIN - 8}" y="{y}" width="{_BAND}" height="22" rx="4"/>'
            yield (
                f'<text class="head ink" x="{_MARGIN}" y="{y + 15}">{escape_xml(clip_text(name, _NAME_COLUMNS))}</text>'
            )


def _render_axis(scale: _TimeScale, bottom: int) -> Iterator[str]:
    for seconds in scale.list_ticks():
        x = scale.compute_x(scale.begin + seconds)
        yield f'<path class="grid" d="M{x:.1f} {_TOP}V{bottom}"/>'
        yield f'<text class="small soft" x="{x:.1f}" y="{_TOP - 8}" text-anchor="middle">{_format_tick(seconds)}</text>'


def _format_tick(seconds: float) -> str:
    """Format a tick: ``0.5 s``, ``12 s``, ``1:30``, ``1:05:00``."""
    whole = round(seconds)
    if seconds < 60:
        return f"{seconds:g} s"
    if seconds < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _render_links(placed: list[tuple[int, TimelineRow | str]], scale: _TimeScale) -> Iterator[str]:
    """Yield the links between consecutive critical runs: along the time between them, then to the next row."""
    runs = [(run, y) for y, row in placed if isinstance(row, TimelineRow) for run in row.runs if run.critical]
    runs.sort(key=lambda item: (item[0].begin, item[0].end))
    for (before, above), (after, below) in pairwise(runs):
        line = _ROW // 2 + _BAR / 2 + 1.5
        left, right = scale.compute_x(min(before.end, after.begin)), scale.compute_x(after.begin)
        yield f'<path class="link" d="M{left:.1f} {above + line:.1f}H{right:.1f}V{below + line:.1f}"/>'


def _render_row(y: int, row: TimelineRow, scale: _TimeScale) -> Iterator[str]:
    middle = y + _ROW // 2
    weight = " bold" if row.critical else ""
    tone = "failed" if row.kind is SpanKind.FAILED else "soft" if row.cached else "ink"
    yield f'<g class="row"><title>{escape_xml(describe_row(row, scale.begin))}</title>'
    yield f'<rect x="{_MARGIN - 8}" y="{y}" width="{_BAND}" height="{_ROW}" fill="transparent"/>'
    yield f'<text class="name {tone}{weight}" x="{_MARGIN}" y="{middle + 4}">{escape_xml(elide_name(row.name))}</text>'
    for wait in row.waits:
        left, right = scale.compute_x(wait.begin), scale.compute_x(wait.end)
        if right - left >= _LEAST_WAIT:
            yield f'<path class="{_CLASSES[wait.kind]}" d="M{left:.1f} {middle}H{right:.1f}"/>'
    for span in (*row.runs, *row.parts):
        yield _render_bar(span, middle, scale)
    for run in row.runs:
        if run.critical:
            left = scale.compute_x(run.begin)
            right = max(scale.compute_x(run.end), left + _LEAST_BAR)
            yield f'<path class="critical" d="M{left:.1f} {middle + _BAR / 2 + 1.5:.1f}H{right:.1f}"/>'
    note = "cached" if row.cached and row.seconds < 0.0005 else format_duration(row.seconds)
    x = max(scale.compute_x(row.end), scale.compute_x(row.runs[-1].begin) + _LEAST_BAR) + 7
    yield f'<text class="small soft" x="{x:.1f}" y="{middle + 4}">{note}</text></g>'


def _render_bar(span: TimeSpan, middle: int, scale: _TimeScale) -> str:
    left = scale.compute_x(span.begin)
    width = max(_LEAST_BAR, scale.compute_x(span.end) - left)
    return (
        f'<rect class="{_CLASSES[span.kind]}" x="{left:.1f}" y="{middle - _BAR / 2:.1f}" width="{width:.1f}" '
        f'height="{_BAR}" rx="{min(2.0, width / 2):.1f}"/>'
    )


def elide_name(name: str) -> str:
    """Return a name that fits its column; digests are dropped first."""
    name = DIGEST.sub("", " ".join(name.split()))
    return name if count_columns(name) <= _NAME_COLUMNS else clip_text(name, _NAME_COLUMNS - 1) + "…"


def describe_row(row: TimelineRow, begin: float) -> str:
    """Return the tooltip of a row."""
    lines = [
        row.name,
        (
            f"{format_duration(row.seconds)}, from {_format_position(row.begin - begin)} to "
            f"{_format_position(row.end - begin)}"
        ),
    ]
    if row.waited >= 0.001:
        lines.append(f"waited {format_duration(row.waited)} for its turn")
    lines += [
        f"{part.name.rstrip(':')}: {format_duration(part.seconds)}" for part in row.parts if part.seconds >= 0.001
    ]
    if row.cached:
        lines.append("cached")
    if row.critical:
        lines.append("on the critical path")
    if row.error:
        lines.append(row.error)
    return "\n".join(lines)


def _format_position(seconds: float) -> str:
    return f"{max(0.0, seconds):.2f} s"
