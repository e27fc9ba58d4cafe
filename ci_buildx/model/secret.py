"""Secrets that cannot be printed by accident, and private files for libraries that accept secrets only as files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listener: Callable[[bytes], None] | None = None


class Secret:
    """Bytes that must not appear in a log, an argv, an error or an object that others can read.

    ``repr`` and ``str`` show ``***``. Call :meth:`reveal` only where the value is sent.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str | bytes) -> None:
        self._value = value.encode() if isinstance(value, str) else bytes(value)
        if _listener is not None:
            _listener(self._value)

    def reveal(self) -> bytes:
        """Return the value as bytes."""
        return self._value

    def reveal_text(self) -> str:
        """Return the value as UTF-8 text."""
        return self._value.decode()

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "***"


def listen(listener: Callable[[bytes], None] | None) -> None:
    """Report the value of each secret created from now on to ``listener``, so that a log can hide it.

    None stops the reports.
    """
    global _listener
    _listener = listener


def mention(text: str) -> None:
    """Report a secret that is not a :class:`Secret` to the listener: a build argument that has a secret's name."""
    if _listener is not None:
        _listener(text.encode(errors="replace"))


PREFIX = "kube-builder-key-"


@contextmanager
def open_private_file(content: bytes) -> Iterator[str]:
    """Provide a file name for ``content``, which stays in memory and disappears on exit. Raises OSError."""
    if not hasattr(os, "memfd_create"):
        with _open_temporary(content) as name:
            yield name
        return
    descriptor = os.memfd_create("kube-builder", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextmanager
def _open_temporary(content: bytes) -> Iterator[str]:
    """Create a temporary file that only its owner can read, for systems without ``memfd_create``."""
    import tempfile

    with tempfile.NamedTemporaryFile(prefix=PREFIX) as stream:
        stream.write(content)
        stream.flush()
        yield stream.name
