"""Folds short, non-critical steps of large builds into fewer rows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from ci_buildx.model.record import replace
from ci_buildx.progress.timeline.timeline import OURS, SpanKind, Timeline, TimelineRow, TimeSpan


def fold_rows(timeline: Timeline, limit: int) -> Timeline:
    """Reduce a timeline to about ``limit`` rows; keep failed steps, our own phases and the longest other steps.

    Folded rows stay in their section, between the rows that were kept.
    """
    if len(timeline.rows) <= limit:
        return timeline
    ranked = sorted(timeline.rows, key=_weigh_row, reverse=True)
    kept = {id(row) for row in ranked[: max(1, limit * 2 // 3)]}
    rows = [row for _, section in timeline.group_sections() for row in _fold_neighbours(section, kept)]
    if len(rows) > limit:
        rows = [row for _, section in timeline.group_sections() for row in _gather_rows(section, kept)]
    return replace(timeline, rows=tuple(rows))


def _weigh_row(row: TimelineRow) -> tuple[bool, bool, float]:
    """Return the sort key; rows with the highest weight are kept."""
    return (row.section == OURS or row.kind in (SpanKind.FAILED, SpanKind.CANCELED), row.critical, row.seconds)


def _fold_neighbours(section: Sequence[TimelineRow], kept: set[int]) -> Iterator[TimelineRow]:
    """Join adjacent rows that are not kept."""
    for whole, rows in groupby(section, key=lambda row: id(row) in kept):
        several = list(rows)
        yield from several if whole or len(several) == 1 else [_join_rows(several)]


def _gather_rows(section: Sequence[TimelineRow], kept: set[int]) -> Iterator[TimelineRow]:
    """Join all rows that are not kept, and put the result at the end."""
    rest = [row for row in section if id(row) not in kept]
    yield from (row for row in section if id(row) in kept)
    if rest:
        yield rest[0] if len(rest) == 1 else _join_rows(rest)


def _join_rows(rows: Sequence[TimelineRow]) -> TimelineRow:
    steps = sum(row.steps for row in rows)
    cached = sum(row.steps for row in rows if row.cached)
    note = "all cached" if cached == steps else f"{cached} cached" if cached else ""
    return TimelineRow(
        name=f"{steps} more steps" + (f", {note}" if note else ""),
        section=rows[0].section,
        runs=tuple(_merge_spans(span for row in rows for span in row.runs)),
        cached=cached == steps,
        steps=steps,
    )


def _merge_spans(spans: Iterable[TimeSpan]) -> Iterator[TimeSpan]:
    """Merge overlapping spans."""
    current: TimeSpan | None = None
    for span in sorted(spans, key=lambda one: (one.begin, one.end)):
        if current is None:
            current = span
        elif span.begin <= current.end:
            kind = current.kind if current.seconds >= span.seconds else span.kind
            critical = current.critical or span.critical
            current = replace(current, end=max(current.end, span.end), kind=kind, critical=critical)
        else:
            yield current
            current = span
    if current is not None:
        yield current
