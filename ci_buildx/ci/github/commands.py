"""What is written to the log for the runner to act on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

TITLE = "kube-builder"


def annotate(stdout: TextIO, level: str, message: str, *, file: str = "", line: int = 0) -> None:
    """Show a message at the top of the run, and at a line of a file where one is named."""
    place = {"file": file, "line": str(line)} if file and line else {}
    properties = ",".join(f"{name}={_property(value)}" for name, value in {**place, "title": TITLE}.items())
    stdout.write(f"::{level} {properties}::{escape(message)}\n")
    stdout.flush()


def mask(secrets: Iterable[str], stdout: TextIO) -> None:
    """Tell the runner to hide each line of the secrets, should a step print it."""
    for secret in secrets:
        for line in secret.splitlines():
            if line.strip():
                stdout.write(f"::add-mask::{escape(line)}\n")
    stdout.flush()


@contextmanager
def group(stdout: TextIO, title: str) -> Iterator[None]:
    """Fold what is written inside."""
    stdout.write(f"::group::{escape(title)}\n")
    try:
        yield
    finally:
        stdout.write("::endgroup::\n")
        stdout.flush()


def escape(text: str) -> str:
    """The value of a workflow command on one line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return escape(text).replace(":", "%3A").replace(",", "%2C")
