"""A secret that cannot be printed by accident."""

from __future__ import annotations

from collections.abc import Callable

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
