"""One file, folder or link of a tree, as it travels between us and BuildKit."""

from __future__ import annotations

from ci_buildx.fsutil import modes
from ci_buildx.model.record import dataclass


@dataclass(slots=True)
class Entry:
    """The fields of fsutil's ``Stat`` (``types/stat.proto``).

    ``path`` is relative to the tree's root, ``/``-separated, clean, and bytes: a name need not be UTF-8.
    ``mode`` holds Go's bits (see ``modes``), ``mtime`` is in nanoseconds since the epoch. ``linkname`` is the
    target of a symlink, or the path that this entry is a hardlink of. Not frozen, and built without
    keywords: a context has 100,000 of them and a frozen dataclass costs four times as much to make.
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
        return bool(self.mode & modes.DIRECTORY)

    @property
    def is_symlink(self) -> bool:
        """Whether this is a symbolic link."""
        return bool(self.mode & modes.SYMLINK)

    @property
    def is_regular(self) -> bool:
        """Whether the receiver may ask for content (fsutil ``send.go``: no bit of the type is set)."""
        return not self.mode & modes.TYPE


def shown(path: bytes) -> str:
    """Return ``path`` as one printable line: what is no UTF-8 or would end the line is escaped."""
    text = path.decode(errors="backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def absolute(root: bytes, path: bytes) -> bytes:
    """Return where ``path`` of the tree at ``root`` lies on this machine."""
    return b"%b/%b" % (root, path)
