"""Where a job keeps credentials while it runs: named after it, so that after_script finds what a killed script left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.fsutil import scratch


@contextmanager
def private(suffix: str) -> Iterator[Path]:
    """A folder that only this user reads, gone at the end. InputError if its place is somebody else's."""
    path = _place(suffix)
    if path.is_symlink() or (path.exists() and path.stat().st_uid != os.getuid()):
        raise InputError(f"{path} is somebody else's", fix="set TMPDIR to a folder of this job's")
    forget(suffix)
    with scratch.open_folder(path.parent, name=path.name):
        yield path


def forget(suffix: str) -> None:
    """Remove it; one that is gone, or was never made, is no error."""
    shutil.rmtree(_place(suffix), ignore_errors=True)


def _place(suffix: str) -> Path:
    return scratch.system() / f"{scratch.JOB}{suffix}"
