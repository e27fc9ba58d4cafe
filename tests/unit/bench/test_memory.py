"""What the memory line makes of its peaks."""

from bench import report
from bench.lines import memory
from bench.measure import Run
from bench.series import Comparison, Series


def test_limits_are_the_peaks_differences() -> None:
    peaks = {memory.TINY: 44.0, memory.SOME: 46.0, memory.MANY: 50.0, memory.LARGE: 49.0, memory.IGNORED: 44.5}
    series = tuple(Series(name=name, runs=(Run(seconds=1, peak=peak),)) for name, peak in peaks.items())
    limits = memory.limits(series)
    assert [round(limit.figure, 3) for limit in limits] == [44.0, 60.0, 3.0, 0.5]
    comparison = Comparison(title="memory", reference=memory.TINY, series=series, limits=limits)
    lines = list(report.table(comparison))
    assert "  limit: each of 100,000 files, bytes more: at most 100: 60, met" in lines
    assert "  limit: 5 GB instead of 500 MB, MB more: at most 2: 3, MISSED" in lines
    assert [limit["met"] for limit in report.document(comparison)["limits"]] == [True, True, False, True]
