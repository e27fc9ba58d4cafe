"""What is written to the log for the runner to act on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOBase
from typing import TextIO, cast

from ci_buildx.model.masker import SHORTEST
from ci_buildx.progress.runner import escape, harmless

TITLE = "kube-builder"


def annotate(stdout: TextIO, level: str, message: str, *, file: str = "", line: int = 0) -> None:
    """Show a message at the top of the run, and at a line of a file where one is named."""
    place = {"file": file, "line": str(line)} if file and line else {}
    properties = ",".join(f"{name}={_property(value)}" for name, value in {**place, "title": TITLE}.items())
    stdout.write(f"::{level} {properties}::{escape(message)}\n")
    stdout.flush()


def mask(secrets: Iterable[str], stdout: TextIO) -> None:
    """Tell the runner to hide the secrets, should a step print them: whole ones, and of several lines the long ones.

    The runner drops an output that holds anything masked: a line such as ``1`` or ``{`` would take the digest with it.
    It would mask each line of a value of several, so those are never sent as one (actions/runner 2.330,
    ``src/Runner.Worker/ActionCommandManager.cs``, AddMaskCommandExtension).
    """
    for secret in secrets:
        lines = [line for line in secret.splitlines() if line.strip()]
        for line in lines:
            if len(lines) == 1 or len(line.strip()) >= SHORTEST:
                stdout.write(f"::add-mask::{escape(line)}\n")
    stdout.flush()


def without_commands(stdout: TextIO) -> TextIO:
    """The log for text of others: nothing that is written to it is taken for a command."""
    return cast("TextIO", _Harmless(stdout))


class _Harmless(TextIOBase):
    """Whole lines come in."""

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stdout.encoding

    def write(self, text: str) -> int:
        return self._stdout.write(harmless(text))

    def flush(self) -> None:
        self._stdout.flush()


@contextmanager
def group(stdout: TextIO, title: str) -> Iterator[None]:
    """Fold what is written inside."""
    stdout.write(f"::group::{escape(title)}\n")
    try:
        yield
    finally:
        stdout.write("::endgroup::\n")
        stdout.flush()


def _property(text: str) -> str:
    return escape(text).replace(":", "%3A").replace(",", "%2C")
