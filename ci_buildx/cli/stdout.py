"""Standard output, whose failures are told from those of any other file."""

from __future__ import annotations

import io
from typing import TextIO


class StdoutFailed(OSError):
    """Standard output takes nothing (a full disk, a device that is gone): no defect, and not the build's failure."""


class Stdout(io.TextIOWrapper):
    """Raises StdoutFailed, and BrokenPipeError for a reader who went away."""

    def write(self, text: str, /) -> int:
        """Write to the buffer, and through it where it is full."""
        try:
            return super().write(text)
        except OSError as error:
            raise _told(error) from error

    def flush(self) -> None:
        """Write what is in the buffer."""
        try:
            super().flush()
        except OSError as error:
            raise _told(error) from error


def watch(stream: TextIO) -> TextIO:
    """A Stdout in the place of ``stream``, where that is one of the interpreter's own."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    encoding, errors = stream.encoding, stream.errors
    lines, through = stream.line_buffering, stream.write_through
    return Stdout(stream.detach(), encoding=encoding, errors=errors, line_buffering=lines, write_through=through)


def _told(error: OSError) -> OSError:
    return error if isinstance(error, (BrokenPipeError, StdoutFailed)) else StdoutFailed(error.errno, error.strerror)
