"""Renders a timeline as a Mermaid ``gantt``, for places that support Mermaid but not SVG: GitHub's job summaries.

Pure. Syntax: Mermaid 11, ``packages/mermaid/src/diagrams/gantt/parser/gantt.jison``. A task's name ends at ``:``, a
statement at ``;``, ``#`` and ``%%`` start comments, and some words start other statements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ci_buildx.progress.frame import clip_text, count_columns
from ci_buildx.progress.timeline.fold import fold_rows
from ci_buildx.progress.timeline.svg import DIGEST, format_duration
from ci_buildx.progress.timeline.timeline import SpanKind, Timeline, TimelineRow

MOST_ROWS = 40
"""Maximum rows of a chart: GitHub limits Mermaid text to 50,000 characters, and longer charts are unreadable."""

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
"""Characters with a meaning in Mermaid or in the surrounding Markdown, and look-alikes that replace them."""
_RESERVED = re.compile(
    r"(gantt|title|section|dateFormat|inclusiveEndDates|topAxis|axisFormat|tickInterval|includes|excludes|weekday|"
    r"weekend|todayMarker|accTitle|accDescr|click|href|call|\d{4}-)",
    re.IGNORECASE,
)


def render_gantt(timeline: Timeline, *, title: str = "") -> str:
    """Return the chart's text, to be placed between `` ```mermaid `` and `` ``` ``.

    Grey bars (``done``) are cached; red ones (``crit``) are on the critical path or failed.
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
    """Yield the task of a row: its longest run, with the total time of all runs in its name."""
    run = max(row.runs, key=lambda run: run.seconds)
    start = max(0, round((run.begin - begin) * 1000))
    end = max(start + 1, round((run.end - begin) * 1000))
    tags = [tag for tag, wanted in (("crit", _is_highlighted(row)), ("done", row.cached)) if wanted]
    note = "cached" if row.cached and row.seconds < 0.0005 else format_duration(row.seconds)
    yield f"{_escape_name(row.name)} ({note}) :{''.join(f'{tag}, ' for tag in tags)}{start}, {end}"


def _is_highlighted(row: TimelineRow) -> bool:
    return row.critical or row.kind is SpanKind.FAILED


def _escape_name(name: str) -> str:
    """Return a name that Mermaid parses as a single one."""
    name = DIGEST.sub("", " ".join(name.split())).translate(_ALIKE)
    name = name if count_columns(name) <= _NAME_COLUMNS else clip_text(name, _NAME_COLUMNS - 1) + "…"
    return f"· {name}" if _RESERVED.match(name) or not name else name
