"""The bench of losses: which cases are still to be made, what counts as a repeated failure, and the summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import losses
from bench.failures import judge_failure
from bench.faults import Outcome
from bench.losses import list_missing, read_record, summarize

STEP = "#9 [3/3] RUN echo tick 2; exit 7\n#9 0.788 tick 2\n#9 ERROR: exit code: 7\n"
ENDED = f"{STEP}------\n > [3/3] RUN echo tick 2; exit 7:\n0.788 tick 2\n------\nERROR: failed to solve: exit code: 7\n"
LOST = "WARNING: pod a was lost: Deleted: x; the build goes on in another pod (2 more retries are left)\n"


def make_outcome(case: str, *faults: str, seconds: float = 1.0) -> dict[str, Any]:
    return {"case": case, "seconds": seconds, "faults": list(faults)}


def test_a_case_is_made_until_there_are_enough_round_after_round() -> None:
    made = [make_outcome("a"), make_outcome("a"), make_outcome("b", "wrong")]
    assert list_missing(("a", "b", "c"), made, 3) == ["c", "b", "c", "a", "b", "c"]
    assert list_missing(("a",), made, 2) == []


def test_the_summary_counts_what_was_right() -> None:
    found = summarize([make_outcome("a", seconds=3.0), make_outcome("a", "wrong", seconds=5.0), make_outcome("b")])
    assert found["a"] == {"made": 2, "right": 1, "median_seconds": 4.0, "most_seconds": 5.0}
    assert found["b"]["right"] == 1


def test_a_bench_that_fails_is_a_fault_of_its_case_and_is_written(tmp_path: Path) -> None:
    record = read_record(tmp_path / "found.json")

    def fail(case: str) -> Outcome:
        raise RuntimeError(case)

    losses.make("deleted", fail, record)
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["outcomes"][0]["faults"] == ["the bench failed: RuntimeError('deleted')"]
    assert written["summary"]["deleted"]["right"] == 0
    assert list_missing(("deleted",), read_record(tmp_path / "found.json").written["outcomes"], 1) == []


def test_a_failure_that_is_told_once_is_right() -> None:
    assert list(judge_failure(1, ENDED, "exit code: 7")) == []


def test_a_failure_that_is_repeated_or_not_told_is_wrong() -> None:
    assert list(judge_failure(0, STEP, "exit code: 7")) == [
        "exit code 0 of a build that was to fail",
        "its error does not tell: exit code: 7",
    ]
    assert list(judge_failure(1, STEP + LOST + ENDED, "exit code: 7")) == [
        "it was retried in another pod",
        "its step has begun 2 times",
    ]
