"""Output of the debug log: standard logging to standard error, with times and without secrets."""

from __future__ import annotations

import json
import logging
import platform
import threading
import time
from collections.abc import Mapping, Sequence

from ci_buildx import __version__
from ci_buildx.cli.process import ProcessContext, describe_system
from ci_buildx.model import debug, masker, secret
from ci_buildx.progress.ci_logs import defuse_commands
from ci_buildx.progress.renderer import TextOutlet
from ci_buildx.progress.step import drop_controls, strip_control_characters

LONGEST = 2000
"""Length limit of a message, in characters: peers control parts of it."""
MOST_LINES = 100
"""Largest number of lines of a secret that are also masked one by one; a longer secret is masked only as a whole."""
_TIME = "%Y-%m-%dT%H:%M:%S"
_LOG = debug.get_log("cli")


def switch_on(around: ProcessContext, argv: Sequence[str], *, verb: str = "", as_json: bool) -> None:
    """Connect all loggers to standard error. The first line contains version, verb and system."""
    handler = _Handler(TextOutlet(around.stderr))
    handler.setFormatter(_JsonLine() if as_json else _TextLine())
    mask = Mask(around.env, argv)
    handler.addFilter(mask)
    secret.listen(mask.learn)
    root = logging.getLogger(debug.ROOT)
    _remove_handlers(root)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    # Handlers of the root logger belong to libraries and to programs that embed kube-builder.
    root.propagate = False
    debug.connect(lambda name: logging.getLogger(name).debug)
    _LOG.debug("kube-builder %s %s, Python %s, %s", __version__, verb, platform.python_version(), describe_system())


def switch_off() -> None:
    """Disconnect all loggers."""
    debug.connect(None)
    secret.listen(None)
    _remove_handlers(logging.getLogger(debug.ROOT))


def _remove_handlers(root: logging.Logger) -> None:
    for handler in list(root.handlers):
        if isinstance(handler, _Handler):
            root.removeHandler(handler)


class Mask(logging.Filter):
    """Makes each message one safe line: without secrets, control characters and a CI system's log commands.

    Secrets are those of the environment and the arguments (:func:`masker.list_process_secrets`), and the value of every
    :class:`~ci_buildx.model.secret.Secret` that is created while the log is on.
    """

    def __init__(self, env: Mapping[str, str], argv: Sequence[str]) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._hidden = masker.list_process_secrets(env, argv)

    def learn(self, value: bytes) -> None:
        """Mask a value from now on."""
        text = value.decode(errors="replace")
        lines = text.splitlines()
        forms = masker.list_spellings([text, *(lines if len(lines) <= MOST_LINES else ())])
        if forms and not set(forms) <= set(self._hidden):
            with self._lock:
                self._hidden = tuple(sorted({*self._hidden, *forms}, key=len, reverse=True))

    def filter(self, record: logging.LogRecord) -> bool:
        """Sanitize the record's message and return True: no record is dropped."""
        text = masker.mask_secrets(record.getMessage(), self._hidden)
        text = defuse_commands(strip_control_characters(drop_controls(" ".join(text.splitlines()))))
        record.msg = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
        record.args = ()
        return True


class _Handler(logging.Handler):
    """Writes whole lines, above the terminal's progress display if one is active."""

    def __init__(self, outlet: TextOutlet) -> None:
        super().__init__(logging.DEBUG)
        self._outlet = outlet

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record. A broken stream ends the log, not the build."""
        line = self.format(record)
        detour = debug.get_detour()
        if detour is not None:
            detour(line)
        else:
            self._outlet.write(f"{line}\n")


class _TextLine(logging.Formatter):
    """Formats lines that begin with the time in UTC, so that no line begins with untrusted text."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ DEBUG %(name)s: %(message)s", _TIME)
        self.converter = time.gmtime


class _JsonLine(logging.Formatter):
    """Formats objects with the single field ``debug``, which readers of rawjson progress ignore."""

    def __init__(self) -> None:
        super().__init__()
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON without line breaks."""
        moment = f"{self.formatTime(record, _TIME)}.{int(record.msecs):03d}Z"
        return json.dumps({"debug": {"time": moment, "logger": record.name, "message": record.getMessage()}})
