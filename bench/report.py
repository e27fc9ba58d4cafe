"""Formats figures as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.series import Comparison, Series

_HEAD = ("", "median", "min", "cpu", "peak")
_WIDTHS = (36, 10, 10, 9, 9, 8)


def table(comparison: Comparison) -> Iterator[str]:
    """Yield a table: a row for each contestant, then each target and whether it is met."""
    yield comparison.title
    yield f"{_row(*_HEAD, '')}  of: {comparison.reference}"
    for series in comparison.series:
        yield _row(series.name, *_figures(series), f"{comparison.ratio(series.name):.3g}")
    for target in comparison.targets:
        ratio = comparison.ratio(target.ours, target.theirs)
        verdict = "met" if ratio <= target.most else "MISSED"
        yield f"  target: {target.ours} / {target.theirs} at most {target.most:g}: {ratio:.3g}, {verdict}"
    for limit in comparison.limits:
        verdict = "met" if limit.figure <= limit.most else "MISSED"
        yield f"  limit: {limit.what}: at most {limit.most:g}: {limit.figure:.3g}, {verdict}"


def document(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison with all single values, for JSON."""
    return {
        "title": comparison.title,
        "reference": comparison.reference,
        "series": [_series(comparison, series) for series in comparison.series],
        "targets": [
            {
                "ours": target.ours,
                "theirs": target.theirs,
                "most": target.most,
                "ratio": round(comparison.ratio(target.ours, target.theirs), 4),
                "met": comparison.ratio(target.ours, target.theirs) <= target.most,
            }
            for target in comparison.targets
        ],
        "limits": [
            {
                "what": limit.what,
                "figure": round(limit.figure, 3),
                "most": limit.most,
                "met": limit.figure <= limit.most,
            }
            for limit in comparison.limits
        ],
    }


def _series(comparison: Comparison, series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "median": round(series.median, 4),
        "minimum": round(series.minimum, 4),
        "ratio": round(comparison.ratio(series.name), 4),
        "seconds": [round(run.seconds, 4) for run in series.runs],
        "cpu": [round(run.cpu, 4) for run in series.runs],
        "peak": [round(run.peak, 1) for run in series.runs],
    }


def _figures(series: Series) -> tuple[str, str, str, str]:
    cpu = f"{series.cpu:.2f} s" if series.cpu else "-"
    peak = f"{series.peak:.0f} MB" if series.peak else "-"
    return f"{series.median:.3f} s", f"{series.minimum:.3f} s", cpu, peak


def _row(name: str, *cells: str) -> str:
    aligned = (cell.rjust(width) for cell, width in zip(cells, _WIDTHS[1:], strict=True))
    return f"  {name.ljust(_WIDTHS[0])}{''.join(aligned)}".rstrip()
