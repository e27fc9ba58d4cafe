"""What counts as a fault of one of many jobs at once."""

from dataclasses import replace

import pytest

from bench import crowd
from bench.crowd import Fate, Member

BUILT = Member(
    name="crowd-0", fate=Fate.SUCCEED, exit_code=0, seconds=1.0, mark="crowd-0", last_line="", namespace_left=""
)
FAILED = replace(BUILT, fate=Fate.FAIL, exit_code=1, mark="", last_line="ERROR: failed to solve: … exit code: 7")
CANCELLED = replace(BUILT, fate=Fate.CANCEL, exit_code=130, mark="", last_line="ERROR: interrupted by SIGINT")


@pytest.mark.parametrize("member", [BUILT, FAILED, CANCELLED])
def test_a_job_that_came_to_its_own_end_has_no_fault(member: Member) -> None:
    assert member.faults == []


@pytest.mark.parametrize(
    ("member", "fault"),
    [
        (replace(BUILT, mark="crowd-1"), "its result is 'crowd-1'"),
        (replace(BUILT, exit_code=1, last_line="ERROR: no"), "exit code 1 of a job that was to succeed: ERROR: no"),
        (replace(FAILED, last_line="ERROR: pod lost"), "its failure is not told: ERROR: pod lost"),
        (replace(CANCELLED, exit_code=1), "exit code 1 of a job that was to cancel: ERROR: interrupted by SIGINT"),
        (replace(CANCELLED, namespace_left="kube-builder-x"), "namespace kube-builder-x is left"),
    ],
)
def test_whatever_is_anothers_end_is_a_fault(member: Member, fault: str) -> None:
    assert fault in member.faults


def test_a_crowd_is_always_mixed_in_the_same_way() -> None:
    fates = crowd.mixed(12, 5, 3)
    assert fates == crowd.mixed(12, 5, 3)
    assert [fates.count(fate) for fate in Fate] == [12, 5, 3]
