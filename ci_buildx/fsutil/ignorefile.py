"""``.dockerignore`` files.

Source: moby/patternmatcher v0.6.1, ``ignorefile/ignorefile.go``.
"""

from __future__ import annotations

from ci_buildx.fsutil import paths

_BOM = "\ufeff"


def read(text: str) -> list[str]:
    """Return the patterns of an ignore file, cleaned, in their order.

    A byte order mark, lines that begin with ``#`` and empty lines are dropped. A slash at the front is removed, since
    all patterns are relative to the context. What is wrong in a pattern shows when it is compiled.
    """
    lines = text.removeprefix(_BOM).split("\n")
    return [_pattern(line) for line in lines if not line.startswith("#") and line.strip(paths.WHITE_SPACE)]


def _pattern(line: str) -> str:
    pattern = line.strip(paths.WHITE_SPACE)
    negation = "!" if pattern.startswith("!") else ""
    pattern = pattern.removeprefix("!").strip(paths.WHITE_SPACE) if negation else pattern
    if pattern:
        pattern = paths.clean(pattern)
        if len(pattern) > 1:
            pattern = pattern.removeprefix("/")
    return negation + pattern
