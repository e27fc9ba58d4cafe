"""The names of all temporary files and folders; what a killed process left of them is removed by a later one.

What one process uses is locked (flock) for as long as it lives: the kernel drops the lock at the process's end,
however that comes. So what can be locked is nobody's any more, also if its process ran in another container that
shares the disk, where no process number would tell. What later steps of a job use goes by its age.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from ci_buildx.model import private_file
from ci_buildx.model.lazy import compile_lazily

PREFIX = "kube-builder-tmp-"
JOB, DOCKER, BAKE = "kube-builder-job-", "kube-builder-docker-", "kube-builder-bake-"
KUBECONFIG, CRASH = "kube-builder-kubeconfig-", "kube-builder-crash-"
_YOUNG = 60.0
"""Seconds in which something may be made and not locked yet."""
_LONGEST_JOB = 6 * 86400.0
"""Seconds after which no step of a job needs what an earlier step left: a job of GitHub's takes five days at most."""
_REPORTED = 30 * 86400.0
"""Seconds in which a report of a crash may still be wanted."""
_FOLDERS = {
    compile_lazily(rf"{PREFIX}[0-9a-f]{{12}}|{JOB}[0-9a-z-]+"): _YOUNG,
    compile_lazily(rf"(?:{DOCKER}|{BAKE})[0-9a-f]{{16}}"): _LONGEST_JOB,
}
_FILES = {
    compile_lazily(rf"{KUBECONFIG}[0-9a-f]{{16}}"): _LONGEST_JOB,
    compile_lazily(rf"{CRASH}[0-9a-z_]+\.txt"): _REPORTED,
    compile_lazily(rf"{private_file.PREFIX}[0-9a-z_]+"): _YOUNG,
}
"""What is in folders for temporary files, and after how many seconds it is left if nobody has locked it."""
_DRAFT = compile_lazily(r"\.kube-builder\.[0-9a-f]{16}\.part")
_MOST = 10_000
"""Entries of a folder that are looked at: sweeping is no reason to be slow."""

_live: dict[Path, int] = {}
_lock = threading.Lock()
_over = False


@contextmanager
def open_folder(base: Path | None = None, *, name: str = "") -> Iterator[Path]:
    """A new folder that only this user may enter, in ``base`` or the system's; removed at the end. Raises OSError.

    ``name`` is for what other processes have to find; it begins with ``JOB``.
    """
    folder = (base or system()) / (name or f"{PREFIX}{os.urandom(6).hex()}")
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
    """Remove all folders of this process; no more are made. Threads that still work in them are about to end."""
    global _over
    with _lock:
        _over = True
        for folder in list(_live):
            _remove(folder)


def sweep(base: Path) -> None:
    """Remove what killed processes of this user left in ``base``. Best effort: raises nothing."""
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        for entry, _ in zip(entries, range(_MOST), strict=False):
            if not entry.name.startswith("kube-builder-"):
                continue
            with contextlib.suppress(OSError):
                for name, patience in _FOLDERS.items():
                    if name.fullmatch(entry.name):
                        _sweep(Path(entry.path), patience)
                for name, patience in _FILES.items():
                    if name.fullmatch(entry.name):
                        _remove_file(entry.path, patience)


def sweep_all() -> None:
    """Sweep every folder for temporary files that this product may have used."""
    runners = os.environ.get("RUNNER_TEMP")
    for base in dict.fromkeys((*list_socket_bases(), str(system()), *([runners] if runners else ()))):
        sweep(Path(base))


def name_shared(prefix: str, base: str | None = None) -> Path:
    """A path that is not taken yet, in ``base`` or the system's folder, for what outlives this process.

    ``prefix`` is ``DOCKER``, ``BAKE`` or ``KUBECONFIG``.
    """
    return Path(base or system()) / f"{prefix}{os.urandom(8).hex()}"


def system() -> Path:
    """The system's folder for temporary files."""
    import tempfile

    return Path(tempfile.gettempdir())


def list_socket_bases() -> list[str]:
    """Where sockets may be: their paths are limited to 108 bytes."""
    named = (os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("TMPDIR"), "/tmp")  # noqa: S108
    return [base for base in named if base and len(base) < 80]


def remove_partials(path: Path) -> None:
    """Remove what killed processes left of writing ``path``, see :func:`name_partial`."""
    name = re.compile(re.escape(f".{path.name[:200]}.") + r"[0-9a-f]{8}\.part")
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry, _ in zip(entries, range(_MOST), strict=False):
            if name.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_file(entry.path, _YOUNG)


def name_partial(path: Path) -> Path:
    """Where ``path`` is written until it is whole. Who opens it locks it by :func:`hold`."""
    return path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}.part")


def open_report() -> TextIO:
    """A new file, which only this user can read, for the report of a crash. Raises OSError."""
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix=CRASH, suffix=".txt")
    os.close(descriptor)
    return Path(path).open("w", encoding="utf-8")


def open_partial(path: Path, *, mode: int = 0o666) -> BinaryIO:
    """A new, locked file, to be put in the place of ``path`` by who called when it is whole. Raises OSError."""
    remove_partials(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    stream = open(name_partial(path), "xb", opener=lambda name, _: os.open(name, flags, mode))  # noqa: SIM115
    hold(stream.fileno())
    return stream


def replace(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write ``path`` whole or not at all: nobody reads half of it. Raises OSError."""
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
    """The name of something in a folder of the user's until it has its own, see :func:`sweep_drafts`."""
    return b".kube-builder.%s.part" % os.urandom(8).hex().encode("ascii")


def sweep_drafts(folder: int) -> None:
    """Remove the drafts of killed processes from an open folder. Best effort: raises nothing.

    A draft may bear times of the file that it is to be, so the time of its last change counts, which nobody sets.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry, _ in zip(entries, range(_MOST), strict=False):
            if _DRAFT.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_draft(folder, entry.name)


def hold(descriptor: int) -> bool:
    """Lock an open file or folder; False if somebody else has it. It is free when ``descriptor`` is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_tree(folder: Path) -> None:
    """Follows no link (``shutil.rmtree.avoids_symlink_attacks``)."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _lock_folder(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    hold(descriptor)
    return descriptor


def _remove(folder: Path) -> None:
    """Remove a folder of this process, once."""
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
    # Not blocking: what has the name may be a FIFO.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and _is_old(found, found.st_mtime, patience) and hold(descriptor):
            os.unlink(path)  # noqa: PTH108
    finally:
        os.close(descriptor)


def _remove_draft(folder: int, name: str) -> None:
    """Only files are locked: links and devices are drafts for no longer than it takes to name them."""
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
    """Whether it is ours and was not changed in the last ``patience`` seconds."""
    return found.st_uid == os.geteuid() and time.time() - changed > patience
