"""What is written to the log for the runner to act on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOBase
from itertools import chain
from typing import TextIO, cast

from ci_buildx.progress.runner import escape, harmless
from ci_buildx.progress.text import inert

TITLE = "kube-builder"
SHORTEST_LINE = 4
"""Characters of a line that is masked by itself, of a secret of several lines.

The runner replaces a mask anywhere, and drops outputs that hold one: with ``{`` or ``1`` as masks, ``metadata``
and ``digest`` would vanish. Four given digits stand in one of a thousand digests.
"""


def annotate(stdout: TextIO, level: str, message: str, *, file: str = "", line: int = 0) -> None:
    """Show a message at the top of the run, and at a line of a file where one is named."""
    place = {"file": file, "line": str(line)} if file and line else {}
    properties = ",".join(f"{name}={_property(value)}" for name, value in {**place, "title": TITLE}.items())
    stdout.write(f"::{level} {properties}::{escape(inert(message))}\n")
    stdout.flush()


def mask(secrets: Iterable[str], stdout: TextIO) -> None:
    """Tell the runner to hide the secrets, should a step print them.

    A secret of one line is hidden whatever its length, as the toolkit's ``setSecret`` has it. One of several lines is
    hidden line by line without the shortest, since a log has lines. It is never sent as one: runners mask each line of
    it (actions/runner 2.330, ``src/Runner.Worker/ActionCommandManager.cs``, AddMaskCommandExtension).
    """
    for line in dict.fromkeys(chain.from_iterable(map(maskable_lines, secrets))):
        stdout.write(f"::add-mask::{escape(line)}\n")
    stdout.flush()


def maskable_lines(secret: str) -> list[str]:
    """Return what of a secret is hidden: its lines, of several those of at least :data:`SHORTEST_LINE` characters."""
    lines = [line for line in secret.replace("\r", "\n").split("\n") if line.strip()]
    return lines if len(lines) == 1 else [line for line in lines if len(line.strip()) >= SHORTEST_LINE]


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
    return escape(inert(text)).replace(":", "%3A").replace(",", "%2C")
