"""Commit times of a folder's files, read from the local git repository in one pass.

``git log`` lists commits newest first and is stopped as soon as every tracked file has been seen. A merge counts only
for files that differ from all its parents.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ci_buildx.errors import InputError
from ci_buildx.fsutil import git
from ci_buildx.fsutil.git import Git, GitFailed
from ci_buildx.model.record import dataclass

_SECOND = 10**9
_LARGEST_FRACTION = 499_999_999
"""Upper bound in nanoseconds, below half a second: rounding to seconds still yields the commit's time."""
_SUBMODULE = b"160000"
_COMMITTED = b"H"
_BLOCK = 1 << 16
LONGEST_NAME = 1 << 20
"""Maximum length in bytes of a path that git lists; Linux allows 4 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitTimes:
    """Commit times in nanoseconds, by path relative to the folder.

    ``times`` covers unmodified tracked files and the folders that contain them. ``shallow`` is true for a shallow
    clone: older files then have the time of the oldest fetched commit.
    """

    times: dict[bytes, int]
    shallow: bool


def check_repository(folder: Path, *, source: str) -> None:
    """Raise InputError if ``folder`` is not in a git repository with at least one commit."""
    with _explain(folder, source):
        Git(folder).read("rev-parse", "--verify", "HEAD")


def read_commit_times(folder: Path, *, source: str) -> CommitTimes:
    """Return the commit times of the files below ``folder``; untracked and modified files are left out.

    The fraction of a file's time is derived from its blob hash: buildkitd compares times and sizes, not content, so
    different files must not share a time. Raises InputError, naming ``source``, if git or the repository is missing
    or broken.
    """
    repository = Git(folder)
    with _explain(folder, source):
        shallow = repository.read_text("rev-parse", "--is-shallow-repository") == "true"
        # git diff stats every file, so it runs in parallel with the listing.
        with repository.start("diff", "--name-only", "-z", "--relative", "HEAD", "--", ".") as difference:
            blobs = dict(_parse_listing(repository.read("ls-files", "--stage", "-v", "-z")))
            for path in repository.finish(difference, "diff").split(b"\0"):
                blobs.pop(path, None)
        times = {
            path: seconds * _SECOND + _make_fraction(blobs[path])
            for path, seconds in _read_commits(repository, set(blobs))
        }
    times |= _compute_folder_times(times)
    return CommitTimes(times=times, shallow=shallow)


def _parse_listing(listing: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield path and blob of regular tracked files: no submodules, conflicts, assume-unchanged or skip-worktree."""
    for record in listing.split(b"\0"):
        head, _, path = record.partition(b"\t")
        parts = head.split(b" ")
        if len(parts) == 4 and parts[0] == _COMMITTED and parts[1] != _SUBMODULE and parts[3] == b"0":
            yield path, parts[2]


def _make_fraction(blob: bytes) -> int:
    return int(blob[:16], 16) % _LARGEST_FRACTION


def _read_commits(repository: Git, waiting: set[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield each path in ``waiting`` with the time, in seconds, of the newest commit that touched it."""
    mark = os.urandom(12).hex().encode()
    options = ("-c", "-z", "--no-renames", "--name-only", "--relative", f"--format={mark.decode()}%ct")
    with _GitStream(repository.start("log", *options, "--", ".", stderr=subprocess.DEVNULL)) as stream:
        seconds, is_first = 0, False
        for field in _read_fields(stream):
            if field.startswith(mark):
                seconds, is_first = int(field[len(mark) :]), True
                continue
            # A commit's file list starts with a line break; a merge's starts with an empty field first.
            path = field[1:] if is_first and field.startswith(b"\n") else field
            is_first = False
            if path in waiting:
                waiting.remove(path)
                yield path, seconds
                if not waiting:
                    return


def _read_fields(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(_BLOCK):
        *fields, rest = (rest + block).split(b"\0")
        if len(rest) > LONGEST_NAME:
            raise GitFailed(f"git log names a file of more than {LONGEST_NAME} bytes")
        yield from fields


def _compute_folder_times(times: dict[bytes, int]) -> dict[bytes, int]:
    """Return the time of each folder: that of the newest file below it at any depth, in whole seconds."""
    newest: dict[bytes, int] = {}
    for path, time in times.items():
        parent = path.rpartition(b"/")[0]
        if newest.get(parent, 0) < time:
            newest[parent] = time
    found: dict[bytes, int] = {}
    for folder, time in newest.items():
        while folder and found.get(folder, 0) < time:
            found[folder] = time
            folder = folder.rpartition(b"/")[0]
    return {folder: time - time % _SECOND for folder, time in found.items()}


@contextmanager
def _explain(folder: Path, source: str) -> Iterator[None]:
    """Turn a GitFailed into an InputError that names the folder."""
    try:
        yield
    except GitFailed as error:
        fix = "run the build in a clone with its history, with git installed, or use keep"
        raise InputError(f"{folder}: {error}", source=source, fix=fix) from error


class _GitStream:
    """A context manager that kills the command on exit, even if it has not printed everything.

    It also kills the command at git's deadline; then its exit raises GitFailed.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._expired = threading.Event()
        self._timer = threading.Timer(git.DEADLINE, self._expire)

    def __enter__(self) -> IO[bytes]:
        assert self._process.stdout is not None
        self._timer.start()
        return self._process.stdout

    def __exit__(self, *_: object) -> None:
        assert self._process.stdout is not None
        self._timer.cancel()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()
        if self._expired.is_set():
            raise GitFailed(f"git log did not finish within {git.DEADLINE:.0f} s")

    def _expire(self) -> None:
        self._expired.set()
        self._process.kill()
