"""The debug log (``--debug``): one logger for each package, inactive until the log is enabled.

Importing :mod:`logging` takes milliseconds, which a fully cached build cannot spare. So loggers are created here, and
:mod:`ci_buildx.cli.debug` connects them to the standard ones. Until then a call of :meth:`Log.debug` formats nothing.
"""

from __future__ import annotations

from collections.abc import Callable

ROOT = "ci_buildx"
"""Name of the parent of all loggers."""
Write = Callable[..., None]
"""Signature of a standard logger's ``debug`` method."""


class Log:
    """The logger of one package. Check :attr:`is_on` before computing values that only a message needs."""

    __slots__ = ("_write", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._write: Write | None = None

    @property
    def is_on(self) -> bool:
        """Whether messages are written."""
        return self._write is not None

    def debug(self, text: str, *values: object) -> None:
        """Write ``text`` with ``values`` in place of each ``%s``, like the standard method."""
        if self._write is not None:
            self._write(text, *values)

    def connect(self, write: Write | None) -> None:
        """Send messages to ``write``; with None, drop them."""
        self._write = write


_logs: dict[str, Log] = {}
_opener: Callable[[str], Write] | None = None
_starter: Callable[[bool | None, bool], None] | None = None
_detour: Callable[[str], None] | None = None


def get_log(package: str) -> Log:
    """Return the logger ``ci_buildx.PACKAGE``."""
    log = _logs.get(package)
    if log is None:
        log = _logs[package] = Log(f"{ROOT}.{package}")
        if _opener is not None:
            log.connect(_opener(log.name))
    return log


def connect(opener: Callable[[str], Write] | None) -> None:
    """Enable all loggers, including those created later; with None, disable them.

    ``opener`` takes the name of a logger and returns the function that writes its messages.
    """
    global _opener
    _opener = opener
    for log in _logs.values():
        log.connect(opener(log.name) if opener is not None else None)


def offer(starter: Callable[[bool | None, bool], None] | None) -> None:
    """Set the function that :func:`choose` calls; the command line sets it because it knows streams and environment."""
    global _starter
    _starter = starter


def choose(wanted: bool | None, *, as_json: bool = False) -> None:
    """Enable or disable the log as the option says; without the option (None), as the environment says.

    ``as_json`` makes every line JSON, for a stream that must hold nothing else. Raises InputError if the variable's
    value is not a boolean.
    """
    if _starter is not None:
        _starter(wanted, as_json)


def divert(write: Callable[[str], None] | None) -> None:
    """Route whole lines through ``write`` while a display redraws the terminal; with None, stop that."""
    global _detour
    _detour = write


def get_detour() -> Callable[[str], None] | None:
    """Return the function that :func:`divert` has set, or None."""
    return _detour
