"""Where a session's files come from and go to, by name; what moves them is ``filesync`` and ``filesend``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ci_buildx.model.record import dataclass

CONTEXT = "context"
DOCKERFILE = "dockerfile"
"""The folders that buildkitd asks for."""


class ByteWriter(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTarget:
    """A file to write; None is standard output. The file appears under its name only when it is whole."""

    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderTarget:
    """A folder to write into; it is made if it is missing.

    What is in it stays; with ``built``, which gets the path of everything that is written, the rest is removed when all
    is whole (:func:`ci_buildx.session.filesend.remove_rest`).
    """

    path: Path
    built: set[bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTarget:
    """Something that takes bytes and is called ``name``; ``opened`` ends well where it has taken them all."""

    name: str
    opened: Callable[[], AbstractContextManager[ByteWriter]]


Target = FileTarget | FolderTarget | StreamTarget
