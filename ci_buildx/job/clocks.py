"""The times that the files of each shared folder are sent with: ``--context-mtime``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from ci_buildx.buildkit import request
from ci_buildx.fsutil import clocks
from ci_buildx.fsutil.clocks import Clock
from ci_buildx.job import parallel
from ci_buildx.job.interrupts import Outcome
from ci_buildx.session.places import DOCKERFILE
from ci_buildx.settings.building import EPOCH
from ci_buildx.settings.values import BuildSettings, ContextMtime

_SOURCE = "--context-mtime"


def begin(build: BuildSettings, *, warn: Callable[[str], None]) -> Outcome[dict[str, Clock]]:
    """Start :func:`of_folders`, which takes a second for 100,000 files: a builder may boot meanwhile.

    That there is no repository at all is raised at once, as InputError.
    """
    if build.context_mtime is ContextMtime.GIT:
        from ci_buildx.fsutil import commits

        for folder in _folders(build).values():
            commits.check(folder, source=_SOURCE)
    return parallel.begin(lambda: of_folders(build, warn=warn))


def of_folders(build: BuildSettings, *, warn: Callable[[str], None] = lambda _: None) -> dict[str, Clock]:
    """A clock for each folder, by its name in the session; none for those whose files keep their times.

    Raises InputError where git has no answer.
    """
    folders = _folders(build)
    match build.context_mtime:
        case ContextMtime.KEEP:
            return {}
        case ContextMtime.EPOCH:
            seconds = int(dict(build.build_args)[EPOCH])
            return {name: clocks.fixed(path, seconds) for name, path in folders.items()}
        case ContextMtime.GIT:
            return {name: _by_commits(path, warn) for name, path in folders.items()}
        case _:
            assert_never(build.context_mtime)


def _folders(build: BuildSettings) -> dict[str, Path]:
    """Those that images get files from."""
    return {name: path for name, path in request.shared_folders(build).items() if name != DOCKERFILE}


def _by_commits(folder: Path, warn: Callable[[str], None]) -> Clock:
    from ci_buildx.fsutil import commits

    found = commits.read(folder, source=_SOURCE)
    if found.shallow:
        warn(f"{_SOURCE}=git: the clone is shallow, so old files have the time of its oldest commit; fetch all history")
    return clocks.by_path(found.times)
