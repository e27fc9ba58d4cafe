"""Files that a build leaves for later steps: whole, or as they were."""

from __future__ import annotations

from pathlib import Path

from ci_buildx.errors import InputError


def write(path: Path, text: str, *, source: str) -> None:
    """Replace a file at once. A path that can't be written is an InputError of ``source``."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", source=source) from error
