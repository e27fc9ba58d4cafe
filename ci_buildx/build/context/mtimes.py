"""Modification times of the files in shared folders, for ``--context-mtime``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from ci_buildx.buildkit import solve_request
from ci_buildx.fsutil import mtimes
from ci_buildx.fsutil.mtimes import Clock
from ci_buildx.runtime import signals
from ci_buildx.runtime.signals import ThreadOutcome
from ci_buildx.session.file_targets import DOCKERFILE
from ci_buildx.settings.building import EPOCH
from ci_buildx.settings.values import BuildSettings, ContextMtime

_SOURCE = "--context-mtime"


def start_mtimes(build: BuildSettings, *, warn: Callable[[str], None]) -> ThreadOutcome[dict[str, Clock]]:
    """Start :func:`read_folder_clocks` in a thread: it takes a second for 100,000 files, while a builder can boot.

    Raises InputError at once if there is no repository.
    """
    if build.context_mtime is ContextMtime.GIT:
        from ci_buildx.fsutil import commit_times

        for folder in _list_folders(build).values():
            commit_times.check_repository(folder, source=_SOURCE)
    return signals.start_thread(lambda: read_folder_clocks(build, warn=warn))


def read_folder_clocks(build: BuildSettings, *, warn: Callable[[str], None] = lambda _: None) -> dict[str, Clock]:
    """Return a clock for each folder by its name in the session; none for folders whose files keep their times.

    Raises InputError if git fails.
    """
    folders = _list_folders(build)
    match build.context_mtime:
        case ContextMtime.KEEP:
            return {}
        case ContextMtime.EPOCH:
            seconds = int(dict(build.build_args)[EPOCH])
            return {name: mtimes.make_fixed_clock(path, seconds) for name, path in folders.items()}
        case ContextMtime.GIT:
            return {name: _make_commit_clock(path, warn) for name, path in folders.items()}
        case _:
            assert_never(build.context_mtime)


def _list_folders(build: BuildSettings) -> dict[str, Path]:
    """Return the folders that images take files from."""
    return {name: path for name, path in solve_request.list_shared_folders(build).items() if name != DOCKERFILE}


def _make_commit_clock(folder: Path, warn: Callable[[str], None]) -> Clock:
    from ci_buildx.fsutil import commit_times

    found = commit_times.read_commit_times(folder, source=_SOURCE)
    if found.shallow:
        warn(f"{_SOURCE}=git: the clone is shallow, so old files have the time of its oldest commit; fetch all history")
    return mtimes.make_path_clock(found.times)
