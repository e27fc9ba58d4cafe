"""Files that a build leaves for later steps: whole, or as they were."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from ci_buildx.errors import KubeBuilderError


def write(path: Path, text: str, *, source: str, fix: str = "") -> None:
    """Replace a file at once. Raises KubeBuilderError of ``source`` with ``fix``: by now something has been built.

    What cannot be replaced (a device, a mounted file, a file in a folder that is not writable) is written in place.
    """
    try:
        if (path.exists() and not path.is_file()) or not _replace(path, text):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise KubeBuilderError(f"{source}: cannot write {path}: {error.strerror}", fix=fix) from error


def _replace(path: Path, text: str) -> bool:
    """Whether it could be replaced. OSError if there is no space for the text."""
    from ci_buildx.fsutil import scratch

    try:
        stream = scratch.open_partial(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        return False
    draft = Path(stream.name)
    try:
        with stream:
            stream.write(text.encode())
            stream.flush()
            with suppress(OSError):
                draft.replace(path)
                return True
        return False
    finally:
        draft.unlink(missing_ok=True)
