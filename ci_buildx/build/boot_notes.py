"""What the pods of a booting builder wait for, shown only if it lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LASTING = 2.0
"""Seconds after which a wait is shown. A usual boot is over by then, and its log says only which pod answered."""


class BootNotes:
    """Passes each reason for which a pod waits to ``show``, unless it changes or ends within ``lasting`` seconds.

    A reason begins with the object that waits and a colon, as in ``pod buildkit-amd64-0: buildkitd is starting``.
    """

    def __init__(self, show: Callable[[str], None], *, lasting: float = LASTING) -> None:
        self._show = show
        self._lasting = lasting
        self._lock = threading.Lock()
        self._timers: dict[str, threading.Timer] = {}
        self._closed = False

    def explain(self, reason: str) -> None:
        """Take a new reason in place of the last one of the same object."""
        subject = reason.partition(":")[0]
        with self._lock:
            if self._closed:
                return
            self._cancel(subject)
            timer = self._timers[subject] = threading.Timer(self._lasting, self._show_one, (subject, reason))
            timer.daemon = True
            timer.start()

    def settle(self, subject: str) -> None:
        """Forget what an object such as ``pod buildkit-amd64-0`` waits for: it waits no more."""
        with self._lock:
            self._cancel(subject)

    def clear(self) -> None:
        """Forget what all objects wait for: the boot is over."""
        with self._lock:
            for subject in list(self._timers):
                self._cancel(subject)

    def close(self) -> None:
        """Forget everything; nothing is shown from now on."""
        with self._lock:
            self._closed = True
        self.clear()

    def _cancel(self, subject: str) -> None:
        if (timer := self._timers.pop(subject, None)) is not None:
            timer.cancel()

    def _show_one(self, subject: str, reason: str) -> None:
        with self._lock:
            if self._closed or self._timers.get(subject) is not threading.current_thread():
                return
            del self._timers[subject]
            self._show(reason)


@contextmanager
def open_notes(show: Callable[[str], None]) -> Iterator[BootNotes]:
    """Provide notes that are closed at the end."""
    notes = BootNotes(show)
    try:
        yield notes
    finally:
        notes.close()
