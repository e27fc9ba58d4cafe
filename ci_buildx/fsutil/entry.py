"""Tree entries, and the conversion between POSIX mode bits and the Go ``FileMode`` bits that a ``Stat`` carries.

Source: Go 1.26, ``io/fs/fs.go`` (the bits) and ``os/stat_linux.go`` (how POSIX types are mapped); fsutil (as
BuildKit 0.34.2 pins it), ``stat.go``: the socket bit is cleared, so a socket arrives as an empty regular file.
"""

from __future__ import annotations

import stat as posix

from ci_buildx.model.record import dataclass

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

# Any of these bits marks a non-regular file; content is requested for regular files only.
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


def convert_from_posix(mode: int) -> int:
    """Return the Go mode that fsutil sends for ``st_mode``."""
    bits = (mode & 0o777) | _TYPES[posix.S_IFMT(mode)]
    if mode & 0o7000:
        bits |= SETUID if mode & posix.S_ISUID else 0
        bits |= SETGID if mode & posix.S_ISGID else 0
        bits |= STICKY if mode & posix.S_ISVTX else 0
    return bits


def read_permissions(mode: int) -> int:
    """Return the twelve POSIX permission bits (``0o7777``) of Go's ``mode``."""
    bits = mode & 0o777
    bits |= posix.S_ISUID if mode & SETUID else 0
    bits |= posix.S_ISGID if mode & SETGID else 0
    bits |= posix.S_ISVTX if mode & STICKY else 0
    return bits


def convert_to_posix(mode: int) -> int:
    """Return ``st_mode`` for Go's ``mode``; raise ValueError if it does not name exactly one file type."""
    kind = mode & TYPE
    for posix_type, bits in _TYPES.items():
        if bits == kind:
            return posix_type | read_permissions(mode)
    raise ValueError(f"mode {mode:#x} has an unknown file type")


@dataclass(slots=True)
class TreeEntry:
    """The fields of fsutil's ``Stat`` (``types/stat.proto``).

    ``path`` is relative to the tree's root, ``/``-separated, clean, and bytes, because names need not be UTF-8.
    ``mode`` holds Go's bits (see the constants above), ``mtime`` is in nanoseconds since the epoch. ``linkname`` is the
    target of a symlink, or the path that a hardlink refers to. Deliberately not frozen, and built from positional
    arguments: a context has up to 100,000 entries, and a frozen dataclass takes four times as long to create.
    """

    path: bytes
    mode: int
    size: int = 0
    mtime: int = 0
    linkname: bytes = b""
    uid: int = 0
    gid: int = 0
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] | None = None

    @property
    def is_folder(self) -> bool:
        """Whether this is a directory."""
        return bool(self.mode & DIRECTORY)

    @property
    def is_symlink(self) -> bool:
        """Whether this is a symbolic link."""
        return bool(self.mode & SYMLINK)

    @property
    def is_regular(self) -> bool:
        """Whether the receiver may request its content: no type bit is set (fsutil ``send.go``)."""
        return not self.mode & TYPE


def format_path(path: bytes) -> str:
    """Return ``path`` as one printable line; invalid UTF-8 and unprintable characters are escaped."""
    text = path.decode(errors="backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def resolve_path(root: bytes, path: bytes) -> bytes:
    """Return the local path of ``path`` in the tree at ``root``."""
    return b"%b/%b" % (root, path)


class PatternError(ValueError):
    """A malformed pattern; ``pattern`` is the pattern as typed, without its ``!``."""

    def __init__(self, pattern: str, reason: str) -> None:
        super().__init__(f"malformed pattern {pattern!r}: {reason}")
        self.pattern = pattern
        self.reason = reason


class ContentError(Exception):
    """A file that changed since its folder was listed, or that cannot be read; ``path`` is relative to the root."""

    def __init__(self, path: bytes, reason: str) -> None:
        super().__init__(f"{format_path(path)} {reason}")
        self.path = path
        self.reason = reason
