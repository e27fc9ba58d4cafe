"""Signals, turned into one exception in the main thread while the work runs in other threads.

The main thread only waits, so an interruption reaches it regardless of what the workers do. It never interrupts
teardown, which runs in the main thread outside of :meth:`SignalHandler.run`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Generic, Self, TypeVar

from ci_buildx.errors import Interrupted, KubeBuilderError

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LOOK = 0.05
_AGAIN = 0.5
_FORWARD = 0.2
_TIMERS = {signal.ITIMER_REAL: signal.SIGALRM, signal.ITIMER_PROF: signal.SIGPROF}
"""Timers with the signals that they send."""
_heard: list[int] = []
"""Numbers of the signals that :func:`raise_on_signals` has raised for.

C code and callbacks of weak references swallow exceptions, so the signal is also recorded here.
"""


class ThreadOutcome(Generic[T]):
    """Result or exception of a thread's work; set once."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._value: list[T] = []
        self.error: BaseException | None = None
        self.done = threading.Event()

    def settle(self) -> None:
        """Do the work and store its result or exception. Runs in the worker's thread."""
        try:
            self._value.append(self._work())
        except BaseException as error:
            self.error = error
        finally:
            self.done.set()

    def take_result(self) -> T:
        """Return the result of the work, or raise its exception."""
        if self.error is not None:
            raise self.error
        return self._value[0]


def _list_owned() -> list[signal.Signals]:
    """Return the signals to handle, without those that nohup or a parent process has set to be ignored."""
    handed = (signal.SIGHUP, signal.SIGQUIT)
    return [one for one in _SIGNALS if one not in handed or signal.getsignal(one) is not signal.SIG_IGN]


@contextmanager
def raise_on_signals() -> Iterator[Callable[[], None]]:
    """Raise Interrupted in the main thread on signals, before and after the work of :class:`SignalHandler`.

    Yields a function that ignores all later signals; call it before the final message is printed.
    Any exception after a signal becomes Interrupted, since an interrupted import may fail with any error. Outside the
    main thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def record_signal(number: int, _frame: FrameType | None) -> None:
        _heard.append(number)
        raise Interrupted(number)

    def pass_over() -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    known = len(_heard)
    previous = {number: signal.signal(number, record_signal) for number in _list_owned()}
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


class _TimeOver(BaseException):
    """The time of :func:`limit_time` is over. No handler of errors in the block catches it."""


@contextmanager
def limit_time(
    seconds: float, make_error: Callable[[], KubeBuilderError], *, timer: int = signal.ITIMER_REAL
) -> Iterator[None]:
    """Raise the error in the main thread if the block takes longer; it also ends a regular expression's search.

    ``timer`` is a key of :data:`_TIMERS`: ITIMER_PROF counts the process's processor time in place of time. Blocks with
    different timers may be nested. Outside the main thread there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over, active = _TimeOver(), True

    def end(_number: int, _frame: FrameType | None) -> None:
        if active:
            raise over

    number = _TIMERS[timer]
    previous = signal.signal(number, end)
    # Repeated, because C code may swallow an exception.
    delay, interval = signal.setitimer(timer, seconds, _AGAIN)
    try:
        try:
            yield
        finally:
            active = False
    except _TimeOver as error:
        if error is not over:
            raise
        raise make_error() from None
    finally:
        active = False
        signal.setitimer(timer, delay, interval)
        signal.signal(number, previous)


class SignalHandler:
    """Handles SIGINT, SIGTERM, SIGHUP and SIGQUIT while it is entered; ``stop`` tells all work to end.

    Outside the main thread (the product embedded in another program) no signal can be handled: it only runs the work.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._received: int | None = None
        self._failure: KubeBuilderError | None = None
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
        """Record the signal only.

        A handler runs between any two instructions of the main thread, which may hold a lock.
        """
        self._received = self._received or number

    def fail(self, error: KubeBuilderError) -> None:
        """End the work with ``error``, as a signal would; without effect if the work is done."""
        self._failure = error

    def check(self) -> None:
        """Raise Interrupted if a signal was received, or the error of :meth:`fail`, and set ``stop``."""
        if self._received is not None:
            self.stop.set()
            raise Interrupted(self._received)
        if self._failure is not None:
            self.stop.set()
            failure, self._failure = self._failure, None
            raise failure

    def run(self, work: Callable[[], T], *, settle: float) -> T:
        """Run ``work`` in a thread and return its result.

        On a signal, ``stop`` is set, the work gets ``settle`` seconds to end by itself, and Interrupted is raised. The
        error of :meth:`fail` ends it in the same way.
        """
        self.check()
        outcome = ThreadOutcome(work)
        threading.Thread(target=outcome.settle, daemon=True, name="work").start()
        # A signal that arrives just before the main thread blocks does not wake it, so poll.
        while not outcome.done.wait(_LOOK):
            try:
                self.check()
            except (Interrupted, KubeBuilderError):
                outcome.done.wait(settle)
                raise
        return outcome.take_result()


def start_thread(work: Callable[[], T]) -> ThreadOutcome[T]:
    """Start ``work`` in its own thread and return its outcome."""
    outcome = ThreadOutcome(work)
    threading.Thread(target=outcome.settle, daemon=True).start()
    return outcome


def forward_stop(source: threading.Event, target: threading.Event, over: threading.Event) -> None:
    """Set ``target`` when ``source`` is set, until ``over`` is: a part that ends by itself must not stop the whole."""
    while not over.is_set():
        if source.wait(_FORWARD):
            target.set()
            return


def run_all(works: Sequence[Callable[[], T]], *, stop: threading.Event) -> list[T]:
    """Run every function in its own thread and return their results in order.

    The first failure sets ``stop`` so that the others end, and is the one raised: later failures are usually
    consequences of it. A single function runs in the caller's thread.
    """
    if len(works) == 1:
        return [works[0]()]
    finished: list[ThreadOutcome[T]] = []
    lock = threading.Lock()

    def settle(outcome: ThreadOutcome[T]) -> None:
        outcome.settle()
        with lock:
            finished.append(outcome)
        if outcome.error is not None:
            stop.set()

    outcomes = [ThreadOutcome(work) for work in works]
    threads = [threading.Thread(target=settle, args=(outcome,), daemon=True) for outcome in outcomes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = [outcome.error for outcome in finished if outcome.error is not None]
    if failed:
        raise failed[0]
    return [outcome.take_result() for outcome in outcomes]
