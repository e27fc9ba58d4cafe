"""When a tunnel knocks at a pod that comes up: each knock is a call to the API server, and few of them are enough.

The status of a pod tells up to a second late that its container runs (the kubelet looks once a second), so a boot is
quickest where tunnels begin before that, blindly. When the first second has not been enough, an image is being pulled
or the node is slow: then they rest until the pod's status says more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from enum import IntEnum
from types import TracebackType
from typing import Generic, Self, TypeVar

from ci_buildx.errors import Forbidden, InputError, KubeBuilderError, TransportError, Unauthorized
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass
from ci_buildx.transport.endpoint import PodEndpoint

BLIND = (0.12, 0.18, 0.28)
"""Seconds between knocks at a pod that nothing is known of: four of them."""
EARLY = (0.6,)
"""The same at a pod whose container runs: what buildkitd needs to begin to listen, twice."""

_FIRST_GAP = 0.5
_LONGEST_GAP = 2.0
_LOOK = 0.02
_REST = 0.2
"""Seconds for which a turn is waited for at a time, so that the end of the race is noticed."""


class PodProgress(IntEnum):
    """What the status of a pod says."""

    UNKNOWN = 0
    RUNNING = 1
    READY = 2


class NotTried(Exception):
    """A transport that rests: it was not tried."""


class AttemptSchedule:
    """The turns of one transport at one pod.

    ``blind`` and ``early`` are its gaps while nothing is known and while the container runs; None for not at all. A
    pod that is ready is knocked at for ever, ever more slowly.
    """

    def __init__(
        self,
        stage: Callable[[], PodProgress],
        *,
        blind: Sequence[float] | None = BLIND,
        early: Sequence[float] | None = EARLY,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._stage = stage
        self._gaps = {PodProgress.UNKNOWN: blind, PodProgress.RUNNING: early}
        self._clock = clock
        self._sleep = sleep
        self._seen = PodProgress.UNKNOWN
        self._made = 0
        self._last = 0.0

    def take_turn(self) -> None:
        """Return when it is time to knock. Raises NotYet after a moment in which it was not."""
        until = self._clock() + _REST
        while not self._is_due():
            if self._clock() >= until:
                raise NotTried
            self._sleep(_LOOK)
        self._made += 1
        self._last = self._clock()

    def _is_due(self) -> bool:
        stage = self._stage()
        if stage > self._seen:
            self._seen, self._made = stage, 0
        return self._clock() - self._last >= self._compute_gap()

    def _compute_gap(self) -> float:
        """Seconds from the last knock to the next."""
        if self._seen is PodProgress.READY:
            return min(_FIRST_GAP * 2.0 ** (self._made - 1), _LONGEST_GAP) if self._made else 0.0
        gaps = self._gaps[self._seen]
        if gaps is None or self._made > len(gaps):
            return float("inf")
        return gaps[self._made - 1] if self._made else 0.0


T = TypeVar("T")

_LOG = debug.get_log("transport")
_HOPELESS = (Forbidden, InputError, Unauthorized)
"""Refusals that another try would only repeat."""

_TICK = 0.05


@dataclass(frozen=True, slots=True)
class TransportCandidate:
    """A transport in the race, which it enters ``delay`` seconds late.

    ``open`` is called for each try, so it may look up what changed meanwhile, or rest by raising NotYet.
    """

    name: str
    open: Callable[[], AbstractContextManager[PodEndpoint]]
    delay: float = 0.0


class TransportWinner(Generic[T]):
    """The transport that won: ``name``, ``endpoint`` and ``value``, what ``answer`` returned. Close it at the end."""

    def __init__(self, name: str, endpoint: PodEndpoint, value: T, undo: ExitStack) -> None:
        self.name = name
        self.endpoint = endpoint
        self.value = value
        self._undo = undo

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.__exit__(kind, value, trace)

    def close(self) -> None:
        """Close the transport."""
        self._undo.close()


def race_transports(
    candidates: Sequence[TransportCandidate],
    *,
    answer: Callable[[PodEndpoint], T],
    deadline: float,
    stop: threading.Event | None = None,
    discard: Callable[[T], None] = lambda _: None,
    subject: str = "buildkitd",
) -> TransportWinner[T]:
    """Race ``candidates`` until ``deadline`` (a time.monotonic() value) or ``stop``.

    ``answer`` makes a call over an endpoint and must have a time-out of its own; ``discard`` closes what it returned
    over a transport that came second. ``subject`` names what is reached, in the debug log. Raises TransportError that
    names what each candidate said last.
    """
    race = _TransportRace(answer, discard, stop or threading.Event(), deadline, subject)
    threads = [
        threading.Thread(target=race.run, args=(candidate,), name=f"race-{candidate.name}", daemon=True)
        for candidate in candidates
    ]
    try:
        for thread in threads:
            thread.start()
        race.wait(threads)
    except BaseException:
        race.cancel()
        if race.winner is not None:
            discard(race.winner.value)
            race.winner.close()
        raise
    if race.winner is None:
        explanation = race.explain_failure(candidates)
        _LOG.debug("race to %s: no transport has won: %s", subject, explanation)
        raise TransportError(explanation)
    return race.winner


class _TransportRace(Generic[T]):
    def __init__(
        self,
        answer: Callable[[PodEndpoint], T],
        discard: Callable[[T], None],
        stop: threading.Event,
        deadline: float,
        subject: str,
    ) -> None:
        self.winner: TransportWinner[T] | None = None
        self._answer = answer
        self._discard = discard
        self._stop = stop
        self._deadline = deadline
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._said: dict[str, str] = {}
        self._logged: dict[str, str] = {}
        self._subject = subject

    def run(self, candidate: TransportCandidate) -> None:
        """Try one candidate until somebody wins, it is hopeless or the race is over."""
        attempt, delay = 0, candidate.delay
        while not self._over.wait(delay):
            began = time.monotonic()
            try:
                self._try(candidate, attempt + 1)
            except _HOPELESS as failure:
                self._said[candidate.name] = _choose_message(failure)
                self._log_failure(candidate, attempt + 1, began, "it gives up")
                return
            except NotTried:
                delay = 0.0
                continue
            except Exception as failure:
                # Whatever answer raises (gRPC's errors among them) is this candidate's failure, not the race's.
                self._said[candidate.name] = _choose_message(failure)
                self._log_failure(candidate, attempt + 1, began, "it tries again")
            delay = min(0.05 * 1.05**attempt, 0.5) * _draw_jitter()
            attempt += 1

    def wait(self, threads: Sequence[threading.Thread]) -> None:
        """Until there is a winner, nobody runs any more, the deadline or the stop."""
        while not self._over.wait(_TICK):
            if self._stop.is_set() or time.monotonic() >= self._deadline or not any(t.is_alive() for t in threads):
                self.cancel()

    def cancel(self) -> None:
        """Let no one win any more."""
        with self._lock:
            self._over.set()

    def explain_failure(self, candidates: Sequence[TransportCandidate]) -> str:
        """What each candidate said last."""
        said = [f"{one.name}: {self._said.get(one.name, 'no answer yet')}" for one in candidates]
        end = " (stopped)" if self._stop.is_set() else ""
        return f"buildkitd cannot be reached{end}: {'; '.join(said)}"

    def _log_failure(self, candidate: TransportCandidate, attempt: int, began: float, then: str) -> None:
        """Tell the debug log; attempts that fail as the one before are not told: there are ten in a second."""
        name, said = candidate.name, self._said[candidate.name]
        if _LOG.is_on and self._logged.get(name) != said:
            self._logged[name] = said
            text = "race to %s: %s, attempt %s failed after %.3f s; %s: %s"
            _LOG.debug(text, self._subject, name, attempt, time.monotonic() - began, then, said)

    def _try(self, candidate: TransportCandidate, attempt: int) -> None:
        began = time.monotonic()
        with ExitStack() as undo:
            endpoint = undo.enter_context(candidate.open())
            value = self._answer(endpoint)
            with self._lock:
                if not self._over.is_set():
                    self.winner = TransportWinner(candidate.name, endpoint, value, undo.pop_all())
                    self._over.set()
                    seconds = time.monotonic() - began
                    text = "race to %s: %s wins by attempt %s after %.3f s"
                    _LOG.debug(text, self._subject, candidate.name, attempt, seconds)
                    return
            _LOG.debug("race to %s: %s answers too late", self._subject, candidate.name)
            self._discard(value)


def _draw_jitter() -> float:
    """Half to one and a half."""
    from random import uniform

    return uniform(0.5, 1.5)  # noqa: S311


def _choose_message(failure: Exception) -> str:
    """The most telling words: a tunnel's note knows more than gRPC does."""
    notes = getattr(failure, "__notes__", [])
    text = str(failure) if isinstance(failure, KubeBuilderError) else f"{failure or type(failure).__name__}"
    return " ".join((notes[-1] if notes else text).split())[:400]
