"""Sources and destinations of a session's files, by name; ``filesync`` and ``filesend`` transfer them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ci_buildx.model.record import dataclass

CONTEXT = "context"
DOCKERFILE = "dockerfile"
"""Names of the folders that buildkitd requests."""


class ByteWriter(Protocol):
    """A destination for bytes."""

    def write(self, data: bytes, /) -> object:
        """Write all of ``data``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTarget:
    """A file to write; None is standard output. The file appears under its name only when it is complete."""

    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderTarget:
    """A folder to write into; it is created if it is missing.

    Existing content stays. With ``built``, a set that collects the path of everything written, other entries are
    deleted once all results are complete (:func:`ci_buildx.session.filesend.remove_rest`).
    """

    path: Path
    built: set[bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTarget:
    """A destination for bytes, called ``name`` in messages.

    ``opened`` returns its context manager; an exit without an error means that it accepted all bytes.
    """

    name: str
    opened: Callable[[], AbstractContextManager[ByteWriter]]


Target = FileTarget | FolderTarget | StreamTarget
