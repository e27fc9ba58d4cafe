"""The output stream of a display, which may break, or not support every character."""

from __future__ import annotations

from typing import TextIO


class TextOutlet:
    """Writes text to ``stream``; once that is broken, writes nothing.

    A reader that went away (``| head``) must not fail the build.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._broken = False

    def write(self, text: str) -> None:
        """Write and flush; escape characters that the stream's encoding lacks."""
        if self._broken or self._stream.closed:
            return
        try:
            self._stream.write(self._replace_unencodable(text))
            self._stream.flush()
        except OSError:
            self._broken = True

    def _replace_unencodable(self, text: str) -> str:
        encoding = self._stream.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            return text.encode(encoding, "backslashreplace").decode(encoding)
        return text
