"""The race of the transports: the first over which buildkitd answers wins.

A connection alone proves nothing (a tunnel connects to the API server, not to buildkitd), so what counts is that
``answer`` returns. A candidate that fails is tried again, because a pod that boots refuses until it does not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Generic, Self, TypeVar

from ci_buildx.errors import Forbidden, InputError, KubeBuilderError, TransportError, Unauthorized
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass
from ci_buildx.transport.endpoint import Endpoint
from ci_buildx.transport.knocks import NotYet

T = TypeVar("T")

_LOG = debug.get_log("transport")
_HOPELESS = (Forbidden, InputError, Unauthorized)
"""Refusals that another try would only repeat."""

_TICK = 0.05


@dataclass(frozen=True, slots=True)
class Candidate:
    """A transport in the race, which it enters ``delay`` seconds late.

    ``open`` is called for each try, so it may look up what changed meanwhile, or rest by raising NotYet.
    """

    name: str
    open: Callable[[], AbstractContextManager[Endpoint]]
    delay: float = 0.0


class Winner(Generic[T]):
    """The transport that won: ``name``, ``endpoint`` and ``value``, what ``answer`` returned. Close it at the end."""

    def __init__(self, name: str, endpoint: Endpoint, value: T, undo: ExitStack) -> None:
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


def connect(
    candidates: Sequence[Candidate],
    *,
    answer: Callable[[Endpoint], T],
    deadline: float,
    stop: threading.Event | None = None,
    discard: Callable[[T], None] = lambda _: None,
    subject: str = "buildkitd",
) -> Winner[T]:
    """Race ``candidates`` until ``deadline`` (a time.monotonic() value) or ``stop``.

    ``answer`` makes a call over an endpoint and must have a time-out of its own; ``discard`` closes what it returned
    over a transport that came second. ``subject`` names what is reached, in the debug log. Raises TransportError that
    names what each candidate said last.
    """
    race = _Race(answer, discard, stop or threading.Event(), deadline, subject)
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
        explanation = race.explanation(candidates)
        _LOG.debug("race to %s: no transport has won: %s", subject, explanation)
        raise TransportError(explanation)
    return race.winner


class _Race(Generic[T]):
    def __init__(
        self,
        answer: Callable[[Endpoint], T],
        discard: Callable[[T], None],
        stop: threading.Event,
        deadline: float,
        subject: str,
    ) -> None:
        self.winner: Winner[T] | None = None
        self._answer = answer
        self._discard = discard
        self._stop = stop
        self._deadline = deadline
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._said: dict[str, str] = {}
        self._logged: dict[str, str] = {}
        self._subject = subject

    def run(self, candidate: Candidate) -> None:
        """Try one candidate until somebody wins, it is hopeless or the race is over."""
        attempt, delay = 0, candidate.delay
        while not self._over.wait(delay):
            began = time.monotonic()
            try:
                self._try(candidate, attempt + 1)
            except _HOPELESS as failure:
                self._said[candidate.name] = _told(failure)
                self._log_failure(candidate, attempt + 1, began, "it gives up")
                return
            except NotYet:
                delay = 0.0
                continue
            except Exception as failure:
                # Whatever answer raises (gRPC's errors among them) is this candidate's failure, not the race's.
                self._said[candidate.name] = _told(failure)
                self._log_failure(candidate, attempt + 1, began, "it tries again")
            delay = min(0.05 * 1.05**attempt, 0.5) * _jitter()
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

    def explanation(self, candidates: Sequence[Candidate]) -> str:
        """What each candidate said last."""
        said = [f"{one.name}: {self._said.get(one.name, 'no answer yet')}" for one in candidates]
        end = " (stopped)" if self._stop.is_set() else ""
        return f"buildkitd cannot be reached{end}: {'; '.join(said)}"

    def _log_failure(self, candidate: Candidate, attempt: int, began: float, then: str) -> None:
        """Tell the debug log; attempts that fail as the one before are not told: there are ten in a second."""
        name, said = candidate.name, self._said[candidate.name]
        if _LOG.is_on and self._logged.get(name) != said:
            self._logged[name] = said
            text = "race to %s: %s, attempt %s failed after %.3f s; %s: %s"
            _LOG.debug(text, self._subject, name, attempt, time.monotonic() - began, then, said)

    def _try(self, candidate: Candidate, attempt: int) -> None:
        began = time.monotonic()
        with ExitStack() as undo:
            endpoint = undo.enter_context(candidate.open())
            value = self._answer(endpoint)
            with self._lock:
                if not self._over.is_set():
                    self.winner = Winner(candidate.name, endpoint, value, undo.pop_all())
                    self._over.set()
                    seconds = time.monotonic() - began
                    text = "race to %s: %s wins by attempt %s after %.3f s"
                    _LOG.debug(text, self._subject, candidate.name, attempt, seconds)
                    return
            _LOG.debug("race to %s: %s answers too late", self._subject, candidate.name)
            self._discard(value)


def _jitter() -> float:
    """Half to one and a half."""
    from random import uniform

    return uniform(0.5, 1.5)  # noqa: S311


def _told(failure: Exception) -> str:
    """The most telling words: a tunnel's note knows more than gRPC does."""
    notes = getattr(failure, "__notes__", [])
    text = str(failure) if isinstance(failure, KubeBuilderError) else f"{failure or type(failure).__name__}"
    return " ".join((notes[-1] if notes else text).split())[:400]
