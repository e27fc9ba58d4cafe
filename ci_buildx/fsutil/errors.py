"""What goes wrong with a tree."""

from __future__ import annotations

from ci_buildx.fsutil.entry import shown


class PatternError(ValueError):
    """A pattern is malformed. ``pattern`` is the pattern as typed, without its ``!``."""

    def __init__(self, pattern: str, reason: str) -> None:
        super().__init__(f"malformed pattern {pattern!r}: {reason}")
        self.pattern = pattern
        self.reason = reason


class ContentError(Exception):
    """A file is not any more what it was when its folder was listed, or cannot be read. ``path`` is relative."""

    def __init__(self, path: bytes, reason: str) -> None:
        super().__init__(f"{shown(path)} {reason}")
        self.path = path
        self.reason = reason
