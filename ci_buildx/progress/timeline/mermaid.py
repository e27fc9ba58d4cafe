"""A build over time as a Mermaid ``gantt``, for places that draw Mermaid and no SVG: GitHub's job summaries. Pure.

Syntax: Mermaid 11, ``packages/mermaid/src/diagrams/gantt/parser/gantt.jison``. A task's name ends at ``:``, a
statement at ``;``, ``#`` and ``%%`` begin comments, and some words begin statements of other kinds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ci_buildx.progress.frame import clip_text, count_columns
from ci_buildx.progress.timeline.fold import fold_rows
from ci_buildx.progress.timeline.svg import DIGEST, format_duration
from ci_buildx.progress.timeline.timeline import SpanKind, Timeline, TimelineRow

MOST_ROWS = 40
"""Rows of a chart: GitHub draws no Mermaid text of more than 50,000 characters, and nobody reads as many rows."""

_NAME_COLUMNS = 56
_ALIKE = str.maketrans(
    dict(
        zip(
            ':;#,%<>"`\\{}',
            "\u2236\u204f\uff03\u201a\uff05\u2039\u203a\u201d\u02bc\u2216\u2774\u2775",
            strict=True,
        )
    )
)
"""What Mermaid or the Markdown around it would take for its own, and characters that look the same."""
_RESERVED = re.compile(
    r"(gantt|title|section|dateFormat|inclusiveEndDates|topAxis|axisFormat|tickInterval|includes|excludes|weekday|"
    r"weekend|todayMarker|accTitle|accDescr|click|href|call|\d{4}-)",
    re.IGNORECASE,
)


def render_gantt(timeline: Timeline, *, title: str = "") -> str:
    """The chart's text, to stand between `` ```mermaid `` and `` ``` ``.

    Grey bars (``done``) came from the cache, red ones (``crit``) are what the end waited for, or what failed.
    """
    shown = fold_rows(timeline, MOST_ROWS)
    lines = ["gantt", *([f"    title {_escape_name(title)}"] if title else []), "    dateFormat x"]
    lines += [f"    axisFormat {_choose_axis_format(shown.seconds)}", "    todayMarker off"]
    for name, rows in shown.group_sections():
        lines.append(f"    section {_escape_name(name)}")
        lines += (f"    {task}" for row in rows for task in _render_tasks(row, shown.begin))
    return "\n".join(lines) + "\n"


def _choose_axis_format(seconds: float) -> str:
    return "%S.%L" if seconds < 5 else "%Ss" if seconds < 60 else "%M:%S"


def _render_tasks(row: TimelineRow, begin: float) -> Iterator[str]:
    """One row: its longest run, with the time of all of them in its name."""
    run = max(row.runs, key=lambda run: run.seconds)
    start = max(0, round((run.begin - begin) * 1000))
    end = max(start + 1, round((run.end - begin) * 1000))
    tags = [tag for tag, wanted in (("crit", _is_highlighted(row)), ("done", row.cached)) if wanted]
    note = "cached" if row.cached and row.seconds < 0.0005 else format_duration(row.seconds)
    yield f"{_escape_name(row.name)} ({note}) :{''.join(f'{tag}, ' for tag in tags)}{start}, {end}"


def _is_highlighted(row: TimelineRow) -> bool:
    return row.critical or row.kind is SpanKind.FAILED


def _escape_name(name: str) -> str:
    """A name that Mermaid reads as one."""
    name = DIGEST.sub("", " ".join(name.split())).translate(_ALIKE)
    name = name if count_columns(name) <= _NAME_COLUMNS else clip_text(name, _NAME_COLUMNS - 1) + "…"
    return f"· {name}" if _RESERVED.match(name) or not name else name
