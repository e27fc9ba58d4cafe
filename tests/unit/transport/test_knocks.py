"""How often a tunnel knocks: often in the first second, then only when the pod's status says more."""

import pytest

from ci_buildx.transport.knocks import BLIND, Knocks, NotYet, Stage


class Pod:
    """A pod whose status changes at certain moments of a clock that only sleeping moves."""

    def __init__(self, running: float = 1e9, ready: float = 1e9) -> None:
        self.now = 100.0
        self.running, self.ready = self.now + running, self.now + ready

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def stage(self) -> Stage:
        return Stage.READY if self.now >= self.ready else Stage.RUNNING if self.now >= self.running else Stage.UNKNOWN


def turns(pod: Pod, until: float, blind: tuple[float, ...] = BLIND) -> list[float]:
    """When it knocks, in seconds, if nobody ever answers."""
    knocks = Knocks(pod.stage, blind, clock=pod.clock, sleep=pod.sleep)
    found = []
    while pod.now < 100 + until:
        try:
            knocks.take_turn()
            found.append(round(pod.now - 100, 1))
        except NotYet:
            continue
    return found


def test_a_pod_of_which_nothing_is_known_is_knocked_at_for_a_second() -> None:
    assert turns(Pod(), until=60) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.5, 0.7], abs=0.15)


def test_what_its_status_says_wakes_the_tunnel() -> None:
    assert turns(Pod(running=10, ready=12), until=14)[6:] == pytest.approx(
        [10.0, 10.3, 10.8, 11.8, 12.0, 12.3, 12.8, 13.8], abs=0.15
    )


def test_a_pod_that_is_ready_is_knocked_at_at_once_and_then_ever_more_slowly() -> None:
    assert turns(Pod(ready=0), until=8) == pytest.approx([0.0, 0.3, 0.8, 1.8, 3.8, 5.8, 7.8], abs=0.15)


def test_who_does_not_knock_blindly_waits_for_the_status() -> None:
    assert turns(Pod(running=2), until=3, blind=()) == pytest.approx([2.0, 2.3, 2.8], abs=0.15)


def test_an_image_that_is_pulled_for_minutes_costs_no_calls() -> None:
    assert len(turns(Pod(running=300, ready=301), until=301.1)) <= 10


def test_a_rest_ends_after_a_moment() -> None:
    pod = Pod()
    knocks = Knocks(pod.stage, (), clock=pod.clock, sleep=pod.sleep)
    with pytest.raises(NotYet):
        knocks.take_turn()
    assert pod.now == pytest.approx(100.2, abs=0.05)
