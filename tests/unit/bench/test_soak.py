"""What counts as a fault of a job that was killed."""

from dataclasses import replace

from bench.soak import Ended

CANCELLED = Ended(
    name="soak-0",
    signal="SIGTERM",
    moment=1.0,
    exit_code=143,
    seconds_to_exit=0.2,
    pods_after_exit=0,
    namespace_after_exit="terminating",
)
KILLED = replace(CANCELLED, signal="SIGKILL", exit_code=-9, pods_after_exit=1, namespace_after_exit="active")


def test_a_cancelled_job_leaves_nothing() -> None:
    assert CANCELLED.faults == []
    assert replace(CANCELLED, pods_after_exit=1).faults == ["1 pods 2 s after SIGTERM"]
    assert replace(CANCELLED, namespace_after_exit="active").faults == ["namespace not deleted after SIGTERM"]


def test_a_killed_job_leaves_nothing_after_its_deadline_and_the_reaper() -> None:
    assert KILLED.faults == []
    assert replace(KILLED, pods_after_deadline=1).faults == ["1 pods after the deadline"]
    assert replace(KILLED, namespace_after_reap="active").faults == ["namespace active after reap"]
