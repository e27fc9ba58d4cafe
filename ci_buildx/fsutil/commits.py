"""When each file of a folder was last committed, from the local git repository: one pass, whatever its size.

``git log`` lists commits from the newest on and is stopped when every tracked file has been seen. A merge counts for
the files that differ from all its parents.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass

_SECOND = 10**9
_LARGEST_FRACTION = 499_999_999
"""Below half a second: what rounds to seconds still shows the commit's time."""
_SUBMODULE = b"160000"
_COMMITTED = b"H"
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Commits:
    """``times`` (ns) by the paths below the folder, of files as committed and of the folders that hold them.

    ``shallow`` says that the repository's history is cut off: files that are older have the time of the cut.
    """

    times: dict[bytes, int]
    shallow: bool


def check(folder: Path, *, source: str) -> None:
    """Raise InputError where ``folder`` is in no repository that has a commit."""
    _Git(folder, source).output("rev-parse", "--verify", "HEAD")


def read(folder: Path, *, source: str) -> Commits:
    """The commit times below ``folder``. Files that are untracked, or not as committed, are left out.

    A file's time holds the commit's second and, as its fraction, some digits of the blob's name: buildkitd compares
    times and sizes, never content, so files that differ must not have one time. Raises InputError that names
    ``source`` where git or the repository is missing or broken.
    """
    git = _Git(folder, source)
    shallow = git.output("rev-parse", "--is-shallow-repository").strip() == b"true"
    # What looks at every file runs beside what reads git's list of them.
    with git.begin("diff", "--name-only", "-z", "--relative", "--no-ext-diff", "HEAD", "--", ".") as difference:
        blobs = dict(_tracked(git.output("ls-files", "--stage", "-v", "-z")))
        for path in git.finish(difference, "diff").split(b"\0"):
            blobs.pop(path, None)
    times = {path: seconds * _SECOND + _fraction(blobs[path]) for path, seconds in _committed(git, set(blobs))}
    times |= _of_folders(times)
    return Commits(times=times, shallow=shallow)


def _tracked(listing: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Path and blob of what is plainly tracked: no submodules, no conflicts, nothing that git is to look away from."""
    for record in listing.split(b"\0"):
        head, _, path = record.partition(b"\t")
        parts = head.split(b" ")
        if len(parts) == 4 and parts[0] == _COMMITTED and parts[1] != _SUBMODULE and parts[3] == b"0":
            yield path, parts[2]


def _fraction(blob: bytes) -> int:
    return int(blob[:16], 16) % _LARGEST_FRACTION


def _committed(git: _Git, waiting: set[bytes]) -> Iterator[tuple[bytes, int]]:
    """Each path of ``waiting`` with the seconds of the newest commit that touched it."""
    mark = os.urandom(12).hex().encode()
    options = ("-c", "-z", "--no-renames", "--no-ext-diff", "--name-only", "--relative", "--no-show-signature")
    with git.stream("log", *options, f"--format={mark.decode()}%ct", "--", ".") as stream:
        seconds, is_first = 0, False
        for field in _fields(stream):
            if field.startswith(mark):
                seconds, is_first = int(field[len(mark) :]), True
                continue
            # What a commit lists begins with a line break, after a merge's with an empty field.
            path = field[1:] if is_first and field.startswith(b"\n") else field
            is_first = False
            if path in waiting:
                waiting.remove(path)
                yield path, seconds
                if not waiting:
                    return


def _fields(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(_BLOCK):
        *fields, rest = (rest + block).split(b"\0")
        yield from fields


def _of_folders(times: dict[bytes, int]) -> dict[bytes, int]:
    """Each folder's time: that of the newest file in it, at whatever depth, in whole seconds."""
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


class _Git:
    """git, run in a folder. Every failure is an InputError."""

    def __init__(self, folder: Path, source: str) -> None:
        self._folder = folder
        self._source = source
        # No programs that the repository's own configuration names, no locks that a build would leave.
        self._command = ("git", "-c", "core.fsmonitor=false", "--no-optional-locks", "--literal-pathspecs")

    def output(self, *arguments: str) -> bytes:
        """All that a command prints."""
        with self.begin(*arguments) as process:
            return self.finish(process, arguments[0])

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command that runs; a context manager that waits for it."""
        return self._start(arguments, stderr=subprocess.PIPE)

    def finish(self, process: subprocess.Popen[bytes], verb: str) -> bytes:
        """All that the command ``verb`` prints."""
        out, complaint = process.communicate()
        if process.returncode:
            lines = complaint.decode(errors="replace").strip().splitlines() or ["no reason is given"]
            raise self._error(f"git {verb} failed: {lines[0]}")
        return out

    def stream(self, *arguments: str) -> _Stream:
        """What a command prints, while it prints it."""
        return _Stream(self._start(arguments, stderr=subprocess.DEVNULL))

    def _start(self, arguments: tuple[str, ...], *, stderr: int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                (*self._command, *arguments),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        except OSError as error:
            raise self._error(f"cannot run git: {error.strerror}") from error

    def _error(self, text: str) -> InputError:
        fix = "run the build in a clone with its history, with git installed, or use keep"
        return InputError(f"{self._folder}: {text}", source=self._source, fix=fix)


class _Stream:
    """A context manager: at its exit the command is over, whether it has said everything or not."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __enter__(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def __exit__(self, *_: object) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()
