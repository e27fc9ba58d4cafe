"""The files of a context that the ignore rules leave, in the order in which they are sent.

Source: BuildKit 0.34.2, ``frontend/dockerui``: ``NAME.dockerignore`` beside the Dockerfile ``NAME`` wins over
``.dockerignore`` in the context, even where it is empty. What COPY does not ask for is not sent either; that is
decided by buildkitd.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.fsutil import ignorefile, modes
from ci_buildx.fsutil.entry import Entry, shown
from ci_buildx.fsutil.errors import PatternError
from ci_buildx.fsutil.walk import walk
from ci_buildx.settings.values import BuildSettings

IGNORE_FILE = ".dockerignore"


def listed(build: BuildSettings) -> Iterator[dict[str, Any]]:
    """Path, POSIX mode in octal, size and link target of each entry; bytes that are no UTF-8 as lone surrogates.

    Raises InputError for a context that is not on this machine and for malformed patterns, KubeBuilderError for what
    cannot be read.
    """
    if isinstance(build.context, str):
        what = "an archive from standard input is sent as it is" if build.archive else "BuildKit fetches it itself"
        raise InputError(f"the context has no files here: {what}", source="--print", fix="name a folder")
    ignore_file = find_ignore_file(build.context, build.dockerfile)
    try:
        patterns = ignorefile.read(_read(ignore_file)) if ignore_file else []
        for entry in walk(build.context, exclude=patterns):
            yield _shown(entry)
    except PatternError as error:
        raise InputError(str(error), source=str(ignore_file)) from error
    except OSError as error:
        name = shown(os.fsencode(error.filename or "."))
        raise KubeBuilderError(f"cannot read {name}: {error.strerror}") from error


def find_ignore_file(context: Path, dockerfile: Path | None) -> Path | None:
    """The ignore file that counts, if there is one."""
    own = [dockerfile.with_name(dockerfile.name + IGNORE_FILE)] if dockerfile else []
    return next((path for path in (*own, context / IGNORE_FILE) if path.is_file()), None)


def _read(path: Path) -> str:
    return path.read_bytes().decode(errors="surrogateescape")


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "path": os.fsdecode(entry.path),
        "mode": f"{modes.to_posix(entry.mode):06o}",
        "size": entry.size,
        "linkname": os.fsdecode(entry.linkname),
    }
