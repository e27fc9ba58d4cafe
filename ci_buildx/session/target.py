"""Where the result of an exporter goes; :mod:`ci_buildx.session.filesend` takes it there."""

from __future__ import annotations

from pathlib import Path

from ci_buildx.model.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTarget:
    """A file to write; None is standard output. The file appears under its name only when it is whole."""

    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderTarget:
    """A folder to write into; it is made if it is missing, what is in it stays."""

    path: Path


Target = FileTarget | FolderTarget
