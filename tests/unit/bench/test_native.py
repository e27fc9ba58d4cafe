from bench.lines.native import count_lines, limit_lines
from bench.measure import Run
from bench.series import Series


def series(name: str, *logs: str) -> Series:
    return Series(name=name, runs=tuple(Run(seconds=1.0, output=log) for log in logs))


def test_lines_of_a_log_are_limited_by_those_of_the_other() -> None:
    assert count_lines(Run(seconds=1.0, output="#1 a\n#1 DONE\n\n#2 b\n")) == 4
    limit = limit_lines(series("ours", "a\n" * 9, "a\n" * 11, "a\n" * 10), series("theirs", "a\n" * 12))
    assert (limit.figure, limit.most) == (10, 12)
    around = [Run(seconds=1.0, output=output) for output in ("#1 booting\n#1 DONE\n", "b removed\n")]
    assert limit_lines(series("ours", "a\n"), series("theirs", "a\n" * 12), around=around).most == 15
