"""Go's ``FileMode`` bits, which travel in a ``Stat``, and the mode bits of POSIX.

Source: Go 1.26, ``io/fs/fs.go`` (the bits) and ``os/stat_linux.go`` (what each POSIX type becomes);
fsutil (as BuildKit 0.34.2 pins it), ``stat.go``: the socket bit is cleared, so that a socket arrives
as an empty regular file.
"""

from __future__ import annotations

import stat as posix

DIRECTORY = 1 << 31
SYMLINK = 1 << 27
DEVICE = 1 << 26
FIFO = 1 << 25
SOCKET = 1 << 24
SETUID = 1 << 23
SETGID = 1 << 22
CHARACTER_DEVICE = 1 << 21
STICKY = 1 << 20
IRREGULAR = 1 << 19

#: Any of these says "no regular file"; only regular files are asked for.
TYPE = DIRECTORY | SYMLINK | FIFO | SOCKET | DEVICE | CHARACTER_DEVICE | IRREGULAR

_TYPES = {
    posix.S_IFREG: 0,
    posix.S_IFDIR: DIRECTORY,
    posix.S_IFLNK: SYMLINK,
    posix.S_IFBLK: DEVICE,
    posix.S_IFCHR: DEVICE | CHARACTER_DEVICE,
    posix.S_IFIFO: FIFO,
    posix.S_IFSOCK: 0,
}


def from_posix(mode: int) -> int:
    """Return what fsutil sends for ``st_mode``."""
    bits = (mode & 0o777) | _TYPES[posix.S_IFMT(mode)]
    if mode & 0o7000:
        bits |= SETUID if mode & posix.S_ISUID else 0
        bits |= SETGID if mode & posix.S_ISGID else 0
        bits |= STICKY if mode & posix.S_ISVTX else 0
    return bits


def permissions(mode: int) -> int:
    """Return the twelve permission bits of POSIX (``0o7777``) in Go's ``mode``."""
    bits = mode & 0o777
    bits |= posix.S_ISUID if mode & SETUID else 0
    bits |= posix.S_ISGID if mode & SETGID else 0
    bits |= posix.S_ISVTX if mode & STICKY else 0
    return bits


def to_posix(mode: int) -> int:
    """Return ``st_mode`` for Go's ``mode``; ValueError where it names no single type."""
    kind = mode & TYPE
    for posix_type, bits in _TYPES.items():
        if bits == kind:
            return posix_type | permissions(mode)
    raise ValueError(f"mode {mode:#x} names no type of file")
