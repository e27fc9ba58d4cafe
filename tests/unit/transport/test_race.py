"""The race: who wins, who is tried again, and what is said when nobody answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from ci_buildx.errors import Forbidden, TransportError
from ci_buildx.transport import race
from ci_buildx.transport.race import PodEndpoint, TransportCandidate


@dataclass
class Runner:
    """A transport that fails ``failures`` times with ``error`` before it opens; counts what is open."""

    name: str
    failures: int = 0
    error: Exception = field(default_factory=lambda: ConnectionError("refused"))
    opened: int = 0
    closed: int = 0
    delay: float = 0.0

    @contextmanager
    def open(self) -> Iterator[PodEndpoint]:
        if self.failures:
            self.failures -= 1
            raise self.error
        self.opened += 1
        try:
            yield PodEndpoint(self.name, secure=True)
        finally:
            self.closed += 1

    @property
    def candidate(self) -> TransportCandidate:
        return TransportCandidate(self.name, self.open, self.delay)


def run(
    *runners: Runner, answer: Callable[[PodEndpoint, float], str] = lambda endpoint, _: endpoint.target, **more: object
) -> race.TransportWinner[str]:
    arguments: dict[str, object] = {"deadline": time.monotonic() + 20, **more}
    return race.race_transports([runner.candidate for runner in runners], answer=answer, **arguments)  # type: ignore[arg-type]


def settled(condition: Callable[[], bool]) -> bool:
    return any(condition() or threading.Event().wait(0.01) for _ in range(1000))


def test_the_first_has_a_head_start() -> None:
    direct, tunnel = Runner("direct"), Runner("tunnel", delay=5.0)
    with run(direct, tunnel) as winner:
        assert (winner.name, winner.value, winner.endpoint) == ("direct", "direct", PodEndpoint("direct", secure=True))
        assert (direct.opened, direct.closed, tunnel.opened) == (1, 0, 0)
    assert direct.closed == 1


def test_a_candidate_that_fails_is_tried_until_it_answers() -> None:
    booting = Runner("booting", failures=5)
    with run(booting) as winner:
        assert winner.name == "booting"


def test_a_connection_without_an_answer_does_not_win() -> None:
    mute, working = Runner("mute"), Runner("working")

    def answer(endpoint: PodEndpoint, timeout: float) -> str:
        if endpoint.target == "mute":
            raise TimeoutError("silence")
        return endpoint.target

    with run(mute, working, answer=answer) as winner:
        assert winner.name == "working"
    assert settled(lambda: mute.opened == mute.closed)


def test_a_late_answer_gets_more_time_in_the_next_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures that come at once say nothing about how busy the pod is."""
    monkeypatch.setattr(race, "ANSWER_TIMES", (0.02, 0.04, 0.08))
    given: list[float] = []

    def answer(endpoint: PodEndpoint, timeout: float) -> str:
        given.append(timeout)
        if len(given) in (1, 3):
            raise ConnectionError("reset")
        if len(given) < 7:
            time.sleep(timeout)
            raise TimeoutError("ListWorkers: Deadline Exceeded")
        return endpoint.target

    with run(Runner("exec"), answer=answer) as winner:
        assert winner.name == "exec"
    assert given == [0.02, 0.02, 0.04, 0.04, 0.08, 0.08, 0.08]


def test_who_comes_second_is_closed_and_its_answer_discarded() -> None:
    first, second = Runner("first"), Runner("second")
    gates = {"first": threading.Event(), "second": threading.Event()}
    discarded: list[str] = []

    def answer(endpoint: PodEndpoint, timeout: float) -> str:
        gates[endpoint.target].wait(20)
        return endpoint.target

    gates["first"].set()
    with run(first, second, answer=answer, discard=discarded.append) as winner:
        assert winner.name == "first"
        opened = second.opened
        gates["second"].set()
        assert settled(lambda: second.closed == opened)
        assert settled(lambda: discarded == ["second"] * opened)


def test_each_candidate_is_quoted_when_nobody_answers() -> None:
    noted = ConnectionError("reset")
    noted.add_note("connection refused inside the pod")
    never, tunnel = Runner("direct", failures=10**6), Runner("port-forward", failures=10**6, error=noted)
    with pytest.raises(TransportError) as caught:
        run(never, tunnel, deadline=time.monotonic() + 0.5)
    said = "buildkitd cannot be reached: direct: refused; port-forward: connection refused inside the pod"
    assert str(caught.value) == said


def test_what_is_hopeless_is_not_tried_again() -> None:
    denied = Runner("exec", failures=10**6, error=Forbidden('user "bob" may not create pods/exec'))
    with pytest.raises(TransportError, match=r'exec: user "bob" may not create pods/exec'):
        run(denied)
    assert denied.failures == 10**6 - 1


def test_stop_ends_it() -> None:
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(TransportError, match="cannot be reached: x: refused"):
        run(Runner("x", failures=10**6), stop=stop)
