"""Folders for files of this process: gone at its end, and where it was killed, removed by a later one.

A folder is locked (flock, on the folder itself) for as long as its process lives: the kernel drops the lock at the
process's end, however that comes. So a folder that can be locked is nobody's any more, also if its process ran in
another container that shares the disk, where no process number would tell.
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

PREFIX = "kube-builder-tmp-"
_NAME = re.compile(rf"{PREFIX}[0-9a-f]{{12}}")
_YOUNG = 60.0
"""Seconds in which a folder may be made and not locked yet."""
_MOST = 10_000
"""Entries of a folder that are looked at: sweeping is no reason to be slow."""

_live: dict[Path, int] = {}
_lock = threading.Lock()
_over = False


@contextmanager
def open_folder(base: Path | None = None) -> Iterator[Path]:
    """A new folder that only this user may enter, in ``base`` or the system's; removed at the end. Raises OSError."""
    folder = (base or _system()) / f"{PREFIX}{os.urandom(6).hex()}"
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
            if _NAME.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _sweep(Path(entry.path))


def sweep_all() -> None:
    """Sweep every folder that this product may have used."""
    for base in dict.fromkeys((*list_socket_bases(), str(_system()))):
        sweep(Path(base))


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
                    _remove_partial(entry.path)


def name_partial(path: Path) -> Path:
    """Where ``path`` is written until it is whole. Who opens it locks it by :func:`hold`."""
    return path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}.part")


def hold(descriptor: int) -> bool:
    """Lock an open file or folder; False if somebody else has it. It is free when ``descriptor`` is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _system() -> Path:
    import tempfile

    return Path(tempfile.gettempdir())


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


def _sweep(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if _is_left(descriptor):
            _remove_tree(folder)
    finally:
        os.close(descriptor)


def _remove_partial(path: str) -> None:
    # Not blocking: what has the name may be a FIFO.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _is_left(descriptor):
            os.unlink(path)  # noqa: PTH108
    finally:
        os.close(descriptor)


def _is_left(descriptor: int) -> bool:
    """Whether it is ours, was not made just now, and nobody holds it."""
    found = os.fstat(descriptor)
    return found.st_uid == os.geteuid() and time.time() - found.st_mtime > _YOUNG and hold(descriptor)
