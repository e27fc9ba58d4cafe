"""Signals: turned into one exception in the main thread, while the work runs in others.

The main thread only waits, so an interruption reaches it wherever the work is; and it never strikes inside teardown,
which runs in the main thread outside of :meth:`Interrupts.run`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Generic, Self, TypeVar

from ci_buildx.errors import Interrupted

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LOOK = 0.05
_heard: list[int] = []
"""Signals that :func:`raise_on_signals` has raised for. C code and weak references' callbacks lose what is raised in
them.
"""


class ThreadOutcome(Generic[T]):
    """What a thread returned or raised; set once."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._value: list[T] = []
        self.error: BaseException | None = None
        self.done = threading.Event()

    def settle(self) -> None:
        """Do the work and keep what it gave. Runs in the worker's thread."""
        try:
            self._value.append(self._work())
        except BaseException as error:
            self.error = error
        finally:
            self.done.set()

    def take_result(self) -> T:
        """The value; raises what the work raised."""
        if self.error is not None:
            raise self.error
        return self._value[0]


def _list_owned() -> list[signal.Signals]:
    """The signals to own: one that nohup or a parent has set to be ignored stays so."""
    handed = (signal.SIGHUP, signal.SIGQUIT)
    return [one for one in _SIGNALS if one not in handed or signal.getsignal(one) is not signal.SIG_IGN]


@contextmanager
def raise_on_signals() -> Iterator[Callable[[], None]]:
    """Signals raise Interrupted in the main thread, for what comes before and after the work of :class:`SignalHandler`.

    What is yielded, called once an end is being told, lets later signals pass: telling takes no time.
    An error that comes after a signal is the signal's: an import that is interrupted may fail with any.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def hear(number: int, _frame: FrameType | None) -> None:
        _heard.append(number)
        raise Interrupted(number)

    def pass_over() -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    known = len(_heard)
    previous = {number: signal.signal(number, hear) for number in _list_owned()}
    try:
        yield pass_over
    except Exception as error:
        if len(_heard) > known:
            raise Interrupted(_heard[known]) from error
        raise
    finally:
        del _heard[known:]
        for number, handler in previous.items():
            signal.signal(number, handler)


class SignalHandler:
    """Owns SIGINT, SIGTERM, SIGHUP and SIGQUIT for as long as it is entered. ``stop`` tells all work to end.

    Outside the main thread (the product embedded in another program) no signal can be owned: it only runs the work.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._received: int | None = None
        self._previous: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._received = next(iter(_heard), None)
            for number in _list_owned():
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        """Only take note: a handler runs between any two instructions of the main thread, which may hold a lock."""
        self._received = self._received or number

    def check(self) -> None:
        """Raise Interrupted if a signal has come; from then on ``stop`` is set."""
        if self._received is not None:
            self.stop.set()
            raise Interrupted(self._received)

    def run(self, work: Callable[[], T], *, settle: float) -> T:
        """Run ``work`` in a thread and return its result.

        On a signal, ``stop`` is set, the work gets ``settle`` seconds to end by itself, and Interrupted is raised.
        """
        self.check()
        outcome = ThreadOutcome(work)
        threading.Thread(target=outcome.settle, daemon=True, name="work").start()
        # A signal that comes just before the main thread blocks does not wake it: it has to look by itself.
        while not outcome.done.wait(_LOOK):
            try:
                self.check()
            except Interrupted:
                outcome.done.wait(settle)
                raise
        return outcome.take_result()
