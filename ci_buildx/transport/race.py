"""Pods as endpoints, the race of transports to one of them, and the schedule of attempts while it boots.

Each attempt of a tunnel is a call to the API server, so a few must suffice. A pod's status shows its running container
up to a second late (the kubelet checks once a second), so a boot is fastest if tunnels start blindly before that. If
the first second was not enough, an image is being pulled or the cluster node is slow. Tunnels then pause until the
pod's status changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from enum import IntEnum
from types import TracebackType
from typing import Generic, Self, TypeVar

from ci_buildx.errors import Forbidden, InputError, KubeBuilderError, TransportError, Unauthorized
from ci_buildx.kube.connection import open_tcp_connection
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAddress:
    """A pod that runs buildkitd.

    ``ip`` may be "" while the pod boots. ``port`` is buildkitd's TCP port, which requires mTLS.
    """

    namespace: str
    name: str
    ip: str
    container: str
    port: int = 1234

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def make_path(self, subresource: str) -> str:
        """Return the API path of one of the pod's subresources."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}/{subresource}"


@dataclass(frozen=True, slots=True)
class PodEndpoint:
    """A gRPC ``target`` (``10.1.2.3:1234``, ``unix:/…``); ``secure`` requires mTLS over it."""

    target: str
    secure: bool


ANSWER_TIMES = (5.0, 10.0, 20.0)
"""Seconds for the first answers over one transport, and for all later ones the last of them.

A busy cluster node answers late. Attempts that end too early only add to its load: by exec, each starts a process.
"""
KNOCK_TIMEOUT = 1.0
"""Seconds to wait for TCP; a reachable pod network answers in a hundredth of that."""


@contextmanager
def open_direct(pod: PodAddress, *, timeout: float = KNOCK_TIMEOUT) -> Iterator[PodEndpoint]:
    """Open the endpoint at the pod's own address, waiting ``timeout`` seconds for TCP.

    Raises TransportError if the pod has no address or nothing listens there yet. The TCP probe costs a thousandth of a
    gRPC attempt.
    """
    if not pod.ip:
        raise TransportError(f"pod {pod} has no address yet")
    try:
        open_tcp_connection((pod.ip, pod.port), timeout).close()
    except OSError as cause:
        reason = "no answer" if isinstance(cause, TimeoutError) else cause.strerror or str(cause)
        raise TransportError(f"{pod.ip}:{pod.port}: {reason}") from cause
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    yield PodEndpoint(f"{host}:{pod.port}", secure=True)


BLIND = (0.12, 0.18, 0.28)
"""Seconds between attempts at a pod of unknown state: four attempts."""
EARLY = (0.6,)
"""Seconds between attempts at a pod whose container runs: twice what buildkitd needs to start listening."""

_FIRST_GAP = 0.5
_LONGEST_GAP = 2.0
_LOOK = 0.02
_REST = 0.2
"""Seconds to wait for a turn at a time, so that the end of the race is noticed."""


class PodProgress(IntEnum):
    """A pod's progress, as its status reports it."""

    UNKNOWN = 0
    RUNNING = 1
    READY = 2


class NotTried(Exception):
    """Raised by a transport that pauses: no attempt was made."""


class AttemptSchedule:
    """The attempts of one transport at one pod.

    ``stage`` returns the pod's progress. ``blind`` and ``early`` are the gaps between attempts in seconds, while the
    pod's state is unknown and while its container runs; None means no attempts. A ready pod is tried without end, at
    growing gaps.
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
        """Return when the next attempt is due; raise NotTried if it is not due within a moment."""
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
        """Return the seconds between the last attempt and the next."""
        if self._seen is PodProgress.READY:
            return min(_FIRST_GAP * 2.0 ** (self._made - 1), _LONGEST_GAP) if self._made else 0.0
        gaps = self._gaps[self._seen]
        if gaps is None or self._made > len(gaps):
            return float("inf")
        return gaps[self._made - 1] if self._made else 0.0


T = TypeVar("T")

_LOG = debug.get_log("transport")
_HOPELESS = (Forbidden, InputError, Unauthorized)
"""Errors that a retry would only repeat."""

_TICK = 0.05


@dataclass(frozen=True, slots=True)
class TransportCandidate:
    """A transport in the race, which it enters after ``delay`` seconds.

    ``open`` is called for each attempt, so it can look up what has changed, or pause by raising NotTried.
    """

    name: str
    open: Callable[[], AbstractContextManager[PodEndpoint]]
    delay: float = 0.0


class TransportWinner(Generic[T]):
    """The transport that won: ``name``, ``endpoint``, and the ``value`` that ``answer`` returned.

    Close it when done.
    """

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
    answer: Callable[[PodEndpoint, float], T],
    deadline: float,
    stop: threading.Event | None = None,
    discard: Callable[[T], None] = lambda _: None,
    subject: str = "buildkitd",
) -> TransportWinner[T]:
    """Race ``candidates`` until ``deadline`` (a time.monotonic() value) or ``stop``, and return the winner.

    ``answer`` makes a call over an endpoint, with a timeout in seconds. ``discard`` closes what ``answer`` returned
    over a transport that came second. ``subject`` names the target in the debug log.

    Raises TransportError with the last error of each candidate.
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
        _LOG.debug("race to %s: no transport has connected: %s", subject, explanation)
        raise TransportError(explanation)
    return race.winner


class _TransportRace(Generic[T]):
    def __init__(
        self,
        answer: Callable[[PodEndpoint, float], T],
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
        """Try one candidate until a transport wins, the candidate fails permanently, or the race is over."""
        attempt, late, delay = 0, 0, candidate.delay
        while not self._over.wait(delay):
            began, timeout = time.monotonic(), choose_answer_time(late)
            try:
                self._try(candidate, attempt + 1, timeout)
                return
            except _HOPELESS as failure:
                self._said[candidate.name] = _choose_message(failure)
                self._log_failure(candidate, attempt + 1, began, "giving up")
                return
            except NotTried:
                delay = 0.0
                continue
            except Exception as failure:
                # Whatever answer raises (gRPC's errors among them) is this candidate's failure, not the race's.
                self._said[candidate.name] = _choose_message(failure)
                self._log_failure(candidate, attempt + 1, began, "retrying")
                late += time.monotonic() - began >= timeout
            delay = min(0.05 * 1.05**attempt, 0.5) * _draw_jitter()
            attempt += 1

    def wait(self, threads: Sequence[threading.Thread]) -> None:
        """Wait for a winner, the end of all candidates, the deadline or the stop event."""
        while not self._over.wait(_TICK):
            if self._stop.is_set() or time.monotonic() >= self._deadline or not any(t.is_alive() for t in threads):
                self.cancel()

    def cancel(self) -> None:
        """End the race without a winner from now on."""
        with self._lock:
            self._over.set()

    def explain_failure(self, candidates: Sequence[TransportCandidate]) -> str:
        """Return an error text with the last error of each candidate."""
        said = [f"{one.name}: {self._said.get(one.name, 'no answer yet')}" for one in candidates]
        return f"buildkitd cannot be reached: {'; '.join(said)}"

    def _log_failure(self, candidate: TransportCandidate, attempt: int, began: float, then: str) -> None:
        """Log a failed attempt, unless it repeats the candidate's last error: there are ten attempts a second."""
        name, said = candidate.name, self._said[candidate.name]
        if _LOG.is_on and self._logged.get(name) != said:
            self._logged[name] = said
            text = "race to %s: %s, attempt %s failed after %.3f s; %s: %s"
            _LOG.debug(text, self._subject, name, attempt, time.monotonic() - began, then, said)

    def _try(self, candidate: TransportCandidate, attempt: int, timeout: float) -> None:
        began = time.monotonic()
        with ExitStack() as undo:
            endpoint = undo.enter_context(candidate.open())
            value = self._answer(endpoint, timeout)
            with self._lock:
                if not self._over.is_set():
                    self.winner = TransportWinner(candidate.name, endpoint, value, undo.pop_all())
                    self._over.set()
                    seconds = time.monotonic() - began
                    text = "race to %s: %s wins by attempt %s after %.3f s"
                    _LOG.debug(text, self._subject, candidate.name, attempt, seconds)
                    return
            _LOG.debug("race to %s: %s responded too late", self._subject, candidate.name)
            self._discard(value)


def choose_answer_time(late: int) -> float:
    """Return the seconds for an answer over a transport whose earlier answers were ``late`` so many times."""
    return ANSWER_TIMES[min(late, len(ANSWER_TIMES) - 1)]


def _draw_jitter() -> float:
    """Return a random factor from 0.5 to 1.5."""
    from random import uniform

    return uniform(0.5, 1.5)  # noqa: S311


def _choose_message(failure: Exception) -> str:
    """Return the most informative message: a tunnel's note says more than gRPC's error."""
    notes = getattr(failure, "__notes__", [])
    text = str(failure) if isinstance(failure, KubeBuilderError) else f"{failure or type(failure).__name__}"
    return " ".join((notes[-1] if notes else text).split())[:400]
