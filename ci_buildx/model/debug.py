"""The debug log (``--debug``): one logger for each package, which does nothing until the log is switched on.

:mod:`logging` takes milliseconds to import and a cached build has none to spare, so loggers are handed out here and
:mod:`ci_buildx.cli.debug` connects them to the standard ones. Until then a call of :meth:`Log.debug` formats nothing.
"""

from __future__ import annotations

from collections.abc import Callable

ROOT = "ci_buildx"
"""The logger above all of them."""
Write = Callable[..., None]
"""A standard logger's method ``debug``."""


class Log:
    """The logger of one package. Guard with :attr:`is_on` what is computed for a message alone."""

    __slots__ = ("_write", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._write: Write | None = None

    @property
    def is_on(self) -> bool:
        """Whether messages are written."""
        return self._write is not None

    def debug(self, text: str, *values: object) -> None:
        """Write ``text`` with ``values`` in the place of each ``%s``, as the standard method does."""
        if self._write is not None:
            self._write(text, *values)

    def connect(self, write: Write | None) -> None:
        """Hand messages to ``write``; with None, drop them."""
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
    """Switch all loggers on, those of modules that are not yet imported too; with None, off.

    ``opener`` returns what a logger of a name writes with.
    """
    global _opener
    _opener = opener
    for log in _logs.values():
        log.connect(opener(log.name) if opener is not None else None)


def offer(starter: Callable[[bool | None, bool], None] | None) -> None:
    """Set what :func:`choose` calls: the command line knows the streams and the environment."""
    global _starter
    _starter = starter


def choose(wanted: bool | None, *, as_json: bool = False) -> None:
    """Switch the log on or off as the option says; where it is not given (None), as the environment says.

    ``as_json`` means that lines must be JSON, because their stream holds nothing else. Raises InputError for a variable
    that says neither yes nor no.
    """
    if _starter is not None:
        _starter(wanted, as_json)


def divert(write: Callable[[str], None] | None) -> None:
    """Let whole lines be written by ``write`` while a display redraws the terminal; with None, end that."""
    global _detour
    _detour = write


def get_detour() -> Callable[[str], None] | None:
    """Return what :func:`divert` has set."""
    return _detour
