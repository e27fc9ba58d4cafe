"""Temporary files and folders: their names, their cleanup, and the removal of leftovers of killed processes.

A process holds a lock (flock) on everything it uses: the kernel drops the lock when the process ends, however it ends.
So anything that can be locked is abandoned, even if its process ran in another container that shares the disk, where
process numbers are meaningless. Files that later steps of a job use are removed by age.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from ci_buildx.model import secret
from ci_buildx.model.lazy import compile_lazily

PREFIX = "kube-builder-tmp-"
JOB, DOCKER, BAKE = "kube-builder-job-", "kube-builder-docker-", "kube-builder-bake-"
SOCKETS = "kube-builder-sockets-"
KUBECONFIG, CRASH = "kube-builder-kubeconfig-", "kube-builder-crash-"
_YOUNG = 60.0
"""Seconds during which something may exist without being locked yet."""
_LONGEST_JOB = 6 * 86400.0
"""Seconds after which leftovers of a job are unused: a GitHub job runs for at most five days."""
_REPORTED = 30 * 86400.0
"""Seconds for which crash reports are kept."""
_FOLDERS = {
    PREFIX: (compile_lazily("[0-9a-f]{12}"), _YOUNG),
    JOB: (compile_lazily("[0-9a-z-]+"), _YOUNG),
    DOCKER: (compile_lazily("[0-9a-f]{16}"), _LONGEST_JOB),
    BAKE: (compile_lazily("[0-9a-f]{16}"), _LONGEST_JOB),
    SOCKETS: (compile_lazily("[0-9a-f]{16}"), _LONGEST_JOB),
}
_FILES = {
    KUBECONFIG: (compile_lazily("[0-9a-f]{16}"), _LONGEST_JOB),
    CRASH: (compile_lazily(r"[0-9a-z_]+\.txt"), _REPORTED),
    secret.PREFIX: (compile_lazily("[0-9a-z_]+"), _YOUNG),
}
"""Names in folders for temporary files: for each prefix, what follows it, and the age in seconds after which the entry
is deleted unless locked."""
_DRAFT = compile_lazily(r"\.kube-builder\.[0-9a-f]{16}\.part")
_LONGEST_SOCKET = 107
"""Maximum bytes of a socket's path (Linux, ``unix(7)``: 108 with the final zero)."""
_MOST = 10_000
"""Maximum number of entries that a sweep of one folder examines, so that sweeping stays fast."""

_VARIABLES, _USUAL = ("TMPDIR", "TEMP", "TMP"), ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108
"""Where ``tempfile.gettempdir`` looks. A sweep does not ask it: importing it takes four milliseconds, and it writes."""
_live: dict[Path, int] = {}
_lock = threading.Lock()
_over = False


@contextmanager
def open_folder(base: Path | None = None, *, name: str = "") -> Iterator[Path]:
    """Create a folder that only this user can enter, in ``base`` or the system's, and delete it on exit.

    ``name`` is for folders that other processes have to find; it begins with ``JOB``. Raises OSError.
    """
    folder = (base or find_system_folder()) / (name or f"{PREFIX}{os.urandom(6).hex()}")
    with _lock:
        if _over:
            raise InterruptedError("the process ends")
        folder.mkdir(mode=0o700)
        _live[folder] = _lock_folder(folder)
    try:
        yield folder
    finally:
        with _lock:
            _remove(folder)


def close() -> None:
    """Delete all folders of this process and refuse to create more, even if threads still use them."""
    global _over
    with _lock:
        _over = True
        for folder in list(_live):
            _remove(folder)


def sweep(base: Path) -> None:
    """Delete what killed processes of this user left in ``base``. Best effort: errors are ignored."""
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        for entry, _ in zip(entries, range(_MOST), strict=False):
            if not entry.name.startswith("kube-builder-"):
                continue
            with contextlib.suppress(OSError):
                if (patience := _find_patience(entry.name, _FOLDERS)) is not None:
                    _sweep(Path(entry.path), patience)
                if (patience := _find_patience(entry.name, _FILES)) is not None:
                    _remove_file(entry.path, patience)


def _find_patience(name: str, known: Mapping[str, tuple[re.Pattern[str], float]]) -> float | None:
    """Return after how many seconds an entry is deleted, None if the name is not one of ``known``."""
    for prefix, (rest, patience) in known.items():
        if name.startswith(prefix) and rest.fullmatch(name, len(prefix)):
            return patience
    return None


def sweep_all() -> None:
    """Sweep every folder for temporary files that kube-builder may have used."""
    named = map(os.environ.get, (*_VARIABLES, "XDG_RUNTIME_DIR", "RUNNER_TEMP"))
    for base in dict.fromkeys((*filter(None, named), *_USUAL)):
        sweep(Path(base))


def name_shared(prefix: str, base: str | None = None) -> Path:
    """Return an unused path in ``base`` or the system's folder, for files that outlive this process.

    ``prefix`` is ``DOCKER``, ``BAKE``, ``SOCKETS`` or ``KUBECONFIG``.
    """
    return Path(base or find_system_folder()) / f"{prefix}{os.urandom(8).hex()}"


def remove_shared(path: str, prefix: str) -> None:
    """Remove a folder that :func:`name_shared` named; does nothing for another path, or if it does not exist."""
    if path and Path(path).name.startswith(prefix):
        _remove_tree(Path(path))


def find_system_folder() -> Path:
    """Return the system's folder for temporary files."""
    import tempfile

    return Path(tempfile.gettempdir())


def list_socket_bases(name: str) -> list[str]:
    """Return where a folder of :func:`open_folder` or :func:`name_shared` can hold a socket ``name``.

    Long paths are left out.
    """
    named = (os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("TMPDIR"), "/tmp")  # noqa: S108
    room = _LONGEST_SOCKET - len(f"/{SOCKETS}{'0' * 16}/{name}")
    return [base for base in named if base and len(os.fsencode(base)) <= room]


@contextmanager
def open_socket_folder(name: str) -> Iterator[Path]:
    """Create a folder of :func:`open_folder` that can hold a socket ``name``. Raises OSError if there is none."""
    with contextlib.ExitStack() as undo:
        for base in list_socket_bases(name):
            with contextlib.suppress(OSError):
                folder = undo.enter_context(open_folder(Path(base)))
                break
        else:
            raise OSError("no folder for a socket: none of XDG_RUNTIME_DIR, TMPDIR and /tmp is writable")
        yield folder


def remove_partials(path: Path) -> None:
    """Delete partial copies of ``path`` that killed processes left, see :func:`name_partial`."""
    name = re.compile(re.escape(f".{path.name[:200]}.") + r"[0-9a-f]{8}\.part")
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry, _ in zip(entries, range(_MOST), strict=False):
            if name.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_file(entry.path, _YOUNG)


def name_partial(path: Path) -> Path:
    """Return a temporary path for writing ``path``; lock it with :func:`hold` after opening."""
    return path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}.part")


def open_report() -> TextIO:
    """Create a file for a crash report that only this user can read. Raises OSError."""
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix=CRASH, suffix=".txt")
    os.close(descriptor)
    return Path(path).open("w", encoding="utf-8")


def open_partial(path: Path, *, mode: int = 0o666) -> BinaryIO:
    """Create and lock a partial file; the caller renames it to ``path`` when it is complete. Raises OSError."""
    remove_partials(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    stream = open(name_partial(path), "xb", opener=lambda name, _: os.open(name, flags, mode))  # noqa: SIM115
    hold(stream.fileno())
    return stream


def replace(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write ``path`` atomically, so that readers never see partial content. Raises OSError."""
    stream = open_partial(path, mode=mode)
    try:
        with stream:
            stream.write(content)
            stream.flush()
            Path(stream.name).replace(path)
    except BaseException:
        Path(stream.name).unlink(missing_ok=True)
        raise


def name_draft() -> bytes:
    """Return a temporary name for an entry in a user's folder, see :func:`sweep_drafts`."""
    return b".kube-builder.%s.part" % os.urandom(8).hex().encode("ascii")


def sweep_drafts(folder: int) -> None:
    """Delete drafts of killed processes in the folder with descriptor ``folder``. Best effort: errors are ignored.

    A draft may already have the final file's mtime, so its age is measured by ctime, which cannot be set.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry, _ in zip(entries, range(_MOST), strict=False):
            if _DRAFT.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_draft(folder, entry.name)


def hold(descriptor: int) -> bool:
    """Lock an open file or folder until ``descriptor`` is closed; return False if another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_tree(folder: Path) -> None:
    """Delete a folder tree without following links (``shutil.rmtree.avoids_symlink_attacks``)."""
    with contextlib.suppress(OSError):
        folder.rmdir()  # importing shutil takes two milliseconds: not for an empty folder
        return
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _lock_folder(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    hold(descriptor)
    return descriptor


def _remove(folder: Path) -> None:
    """Delete a folder of this process. Idempotent."""
    descriptor = _live.pop(folder, None)
    if descriptor is not None:
        _remove_tree(folder)
        os.close(descriptor)


def _sweep(folder: Path, patience: float) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if _is_old(found, found.st_mtime, patience) and hold(descriptor):
            _remove_tree(folder)
    finally:
        os.close(descriptor)


def _remove_file(path: str, patience: float) -> None:
    # Non-blocking: the name may belong to a FIFO.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and _is_old(found, found.st_mtime, patience) and hold(descriptor):
            os.unlink(path)  # noqa: PTH108
    finally:
        os.close(descriptor)


def _remove_draft(folder: int, name: str) -> None:
    """Delete an abandoned draft; only files are locked, since links and devices are renamed at once."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not _is_old(found, found.st_ctime, _YOUNG):
        return
    if not stat.S_ISREG(found.st_mode):
        os.unlink(name, dir_fd=folder)
        return
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        if hold(descriptor):
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(descriptor)


def _is_old(found: os.stat_result, changed: float, patience: float) -> bool:
    """Return whether the entry belongs to this user and was last changed more than ``patience`` seconds ago."""
    return found.st_uid == os.geteuid() and time.time() - changed > patience
