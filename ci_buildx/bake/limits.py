"""Bounds on the work that a definition can cause: processor time and memory of its evaluation.

A definition may be a stranger's. Loops, nested values, products of lists and patterns such as ``(a+)+$`` can take any
amount of both, in functions of Python's library, too. So the process itself is bounded while it evaluates.
"""

from __future__ import annotations

import resource
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from ci_buildx.errors import InputError

SECONDS = 30.0
"""Maximum processor time; usual definitions take a tenth of a second."""
MEMORY = 1 << 30
"""Maximum memory in bytes, beyond what the process has at the beginning."""
_AGAIN = 1.0
Result = TypeVar("Result")
_PAGES = Path("/proc/self/statm")


class _TimeOver(BaseException):
    """The processor time is over; no handler of errors on the way may catch it."""


class _WorkTimer:
    """Raises _TimeOver in the main thread at the bound; a pattern that is being matched is interrupted, too."""

    def __init__(self) -> None:
        self._active = threading.current_thread() is threading.main_thread()
        self._known: Any = None

    def start(self) -> None:
        """Begin to count. Repeated, since an exception in a finalizer is lost."""
        if self._active:
            self._known = signal.signal(signal.SIGPROF, self._stop)
            signal.setitimer(signal.ITIMER_PROF, SECONDS, _AGAIN)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        if self._active:
            raise _TimeOver

    def end(self) -> None:
        """Stop counting. Idempotent."""
        if self._active:
            self._active = False
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            signal.signal(signal.SIGPROF, self._known)


def run_bounded(work: Callable[[], Result], *, source: str) -> Result:
    """Return the result of ``work``, whose processor time and memory are bounded. Raises InputError beyond them."""
    timer, space = _WorkTimer(), resource.getrlimit(resource.RLIMIT_AS)
    try:
        _bound_memory(space)
        try:
            timer.start()
            return work()
        except MemoryError:
            message = f"the definition takes more than {MEMORY >> 20} MiB of memory to evaluate"
            raise InputError(message, source=source, fix="simplify its loops and values") from None
        except RecursionError:
            raise InputError("the definition is nested too deeply", source=source, fix="simplify it") from None
        finally:
            timer.end()
    except _TimeOver:
        message = f"the definition takes more than {SECONDS:g} seconds of processor time to evaluate"
        raise InputError(message, source=source, fix="simplify its loops and patterns") from None
    finally:
        timer.end()
        resource.setrlimit(resource.RLIMIT_AS, space)


def _bound_memory(limits: tuple[int, int]) -> None:
    """Lower the limit of the process's address space, where the system tells its size."""
    used = 0
    if sys.platform == "linux":
        with suppress(OSError, ValueError):
            used = int(_PAGES.read_text().split()[0]) * resource.getpagesize()
    wanted = used + MEMORY
    if used and (limits[0] == resource.RLIM_INFINITY or limits[0] > wanted):
        resource.setrlimit(resource.RLIMIT_AS, (wanted, limits[1]))
