"""Concurrent work: all threads end before the first failure is raised."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from ci_buildx.runtime.signals import ThreadOutcome

T = TypeVar("T")


def start_thread(work: Callable[[], T]) -> ThreadOutcome[T]:
    """Start ``work`` in its own thread and return its outcome."""
    outcome = ThreadOutcome(work)
    threading.Thread(target=outcome.settle, daemon=True).start()
    return outcome


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
