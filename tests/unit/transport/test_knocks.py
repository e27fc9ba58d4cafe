"""How often a tunnel knocks: often in the first second, then only when the pod's status says more."""

import pytest

from ci_buildx.transport.race import AttemptSchedule, NotTried, PodProgress


class Pod:
    """A pod whose status changes at certain moments of a clock that only sleeping moves."""

    def __init__(self, running: float = 1e9, ready: float = 1e9) -> None:
        self.now = 100.0
        self.running, self.ready = self.now + running, self.now + ready

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def stage(self) -> PodProgress:
        return (
            PodProgress.READY
            if self.now >= self.ready
            else PodProgress.RUNNING
            if self.now >= self.running
            else PodProgress.UNKNOWN
        )


def turns(pod: Pod, knocks: AttemptSchedule, until: float) -> list[float]:
    """When it knocks, in seconds, if nobody ever answers."""
    found = []
    while pod.now < 100 + until:
        try:
            knocks.take_turn()
            found.append(pod.now - 100)
        except NotTried:
            continue
    return found


@pytest.mark.parametrize(
    ("pod", "until", "expected"),
    [
        (Pod(), 60, [0.0, 0.1, 0.3, 0.6]),
        (Pod(running=10), 60, [0.0, 0.1, 0.3, 0.6, 10.0, 10.6]),
        (Pod(running=0.3, ready=0.7), 2, [0.0, 0.1, 0.3, 0.7, 1.2]),
        (Pod(ready=0), 8, [0.0, 0.5, 1.5, 3.5, 5.5, 7.5]),
    ],
)
def test_a_tunnel_knocks_in_the_first_second_and_when_the_status_says_more(
    pod: Pod, until: float, expected: list[float]
) -> None:
    knocks = AttemptSchedule(pod.stage, clock=pod.clock, sleep=pod.sleep)
    assert turns(pod, knocks, until) == pytest.approx(expected, abs=0.15)


def test_exec_waits_until_the_pod_is_ready() -> None:
    pod = Pod(running=1, ready=3)
    knocks = AttemptSchedule(pod.stage, blind=None, early=None, clock=pod.clock, sleep=pod.sleep)
    assert turns(pod, knocks, 4) == pytest.approx([3.0, 3.5], abs=0.15)


def test_an_image_that_is_pulled_for_minutes_costs_few_calls() -> None:
    pod = Pod(running=300, ready=302)
    knocks = AttemptSchedule(pod.stage, clock=pod.clock, sleep=pod.sleep)
    assert len(turns(pod, knocks, 302.1)) <= 7


def test_a_rest_ends_after_a_moment() -> None:
    pod = Pod()
    knocks = AttemptSchedule(pod.stage, blind=None, clock=pod.clock, sleep=pod.sleep)
    with pytest.raises(NotTried):
        knocks.take_turn()
    assert pod.now == pytest.approx(100.2, abs=0.05)
