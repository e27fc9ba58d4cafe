"""Bounds on the work that a definition can cause: processor time and memory of its evaluation.

A definition may be a stranger's. Loops, nested values, products of lists and patterns such as ``(a+)+$`` can take any
amount of both, in functions of Python's library, too. So the process itself is bounded while it evaluates.
"""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ci_buildx.errors import InputError
from ci_buildx.runtime.signals import limit_time

SECONDS = 30.0
"""Maximum processor time; usual definitions take a tenth of a second."""
MEMORY = 1 << 30
"""Maximum memory in bytes, beyond what the process has at the beginning."""
Result = TypeVar("Result")
_PAGES = Path("/proc/self/statm")


def run_bounded(work: Callable[[], Result], *, source: str) -> Result:
    """Return the result of ``work``, whose processor time and memory are bounded. Raises InputError beyond them."""

    def make_time_error() -> InputError:
        message = f"the definition takes more than {SECONDS:g} seconds of processor time to evaluate"
        return InputError(message, source=source, fix="simplify its loops and patterns")

    space = resource.getrlimit(resource.RLIMIT_AS)
    try:
        _bound_memory(space)
        with limit_time(SECONDS, make_time_error, timer=signal.ITIMER_PROF):
            return work()
    except MemoryError:
        message = f"the definition takes more than {MEMORY >> 20} MiB of memory to evaluate"
        raise InputError(message, source=source, fix="simplify its loops and values") from None
    except RecursionError:
        raise InputError("the definition is nested too deeply", source=source, fix="simplify it") from None
    finally:
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
