"""Walks a folder and yields its entries in the order and with the fields that buildx sends.

Source: fsutil (as BuildKit 0.34.2 pins it): ``fs.go`` (the walk), ``stat.go`` and ``stat_unix.go`` (the fields),
``hardlinks.go`` (the first path *sent* is the one that others link to), ``filter.go`` (see ``selection``);
buildx 0.38.2, ``build/build.go`` (owners are zeroed).
"""

from __future__ import annotations

import errno
import os
import stat as posix
from collections.abc import Iterator, Sequence
from pathlib import Path

from ci_buildx.fsutil import entry as fsutil_entry
from ci_buildx.fsutil.entry import TreeEntry, resolve_path
from ci_buildx.fsutil.selection import EVERYTHING, Selection, State

# : Extended attributes that fsutil leaves out: those of macOS are meaningless elsewhere.
_APPLE = "com.apple."
_VANISHED = (errno.ENOENT, errno.ENOTDIR)


def walk_tree(
    root: Path, *, include: Sequence[str] = (), exclude: Sequence[str] = (), follow: Sequence[str] = ()
) -> Iterator[TreeEntry]:
    """Yield the entries below ``root``: depth first, each folder before its content, names in byte order.

    ``include`` and ``exclude`` are patterns as in :mod:`ci_buildx.fsutil.patterns`; ``follow`` are include patterns
    whose symlinks are resolved (see :mod:`ci_buildx.fsutil.selection`). A folder above a match is yielded before the
    first match in it.

    Raises while iterating: OSError whose ``filename`` is relative to ``root``, as bytes; PatternError.
    """
    top = os.fsencode(os.path.realpath(root))
    selection = Selection.make(top, include=include, exclude=exclude, follow=follow)
    yield from _TreeWalk(top, selection).walk_entries()


class _WalkedFolder:
    """A folder being walked; ``waiting`` is its own entry until a selected child requires sending it."""

    __slots__ = ("names", "prefix", "state", "waiting")

    def __init__(self, prefix: bytes, names: list[bytes], state: State, waiting: TreeEntry | None) -> None:
        self.prefix = prefix
        self.names = names
        self.state = state
        self.waiting = waiting


class _TreeWalk:
    def __init__(self, top: bytes, selection: Selection) -> None:
        self._top = top
        self._selection = selection
        self._first_paths: dict[tuple[int, int], bytes] = {}

    def walk_entries(self) -> Iterator[TreeEntry]:
        selection = self._selection
        judged = selection is not EVERYTHING
        stack = [_WalkedFolder(b"", self._list_names(b"", chosen=True), selection.start, None)]
        while stack:
            folder = stack[-1]
            if not folder.names:
                stack.pop()
                continue
            path = folder.prefix + folder.names.pop()
            chosen, deeper, state = selection.judge(path, folder.state) if judged else _ALL
            if not (chosen or deeper):
                continue
            try:
                status = os.lstat(resolve_path(self._top, path))
                is_folder = posix.S_ISDIR(status.st_mode)
                if not (chosen or is_folder):
                    continue
                entry = self._make_entry(path, status)
            except OSError as error:
                if error.errno in _VANISHED:
                    continue
                raise _make_relative(error, path) from error
            if chosen:
                yield from _take_waiting(stack)
                yield entry
            if is_folder and deeper:
                names = self._list_names(path, chosen=chosen)
                stack.append(_WalkedFolder(path + b"/", names, state, None if chosen else entry))

    def _list_names(self, path: bytes, *, chosen: bool) -> list[bytes]:
        # os.listdir, not os.scandir: os.DirEntry objects take four times the memory, and folders can be large.
        try:
            names = os.listdir(resolve_path(self._top, path) if path else self._top)  # noqa: PTH208 - bytes
        except OSError as error:
            if path and (error.errno in _VANISHED or (not chosen and error.errno == errno.EACCES)):
                return []
            raise _make_relative(error, path) from error
        names.sort(reverse=True)
        return names

    def _make_entry(self, path: bytes, status: os.stat_result) -> TreeEntry:
        mode = status.st_mode
        entry = TreeEntry(path, fsutil_entry.convert_from_posix(mode), 0, status.st_mtime_ns)
        where = resolve_path(self._top, path)
        if not posix.S_ISDIR(mode):
            entry.size = status.st_size
            if status.st_rdev:
                entry.major, entry.minor = split_device(status.st_rdev)
            if posix.S_ISLNK(mode):
                entry.linkname = os.readlink(where)  # noqa: PTH115 - bytes
            elif status.st_nlink > 1:
                entry.linkname = self._find_first_path(status, path)
        entry.xattrs = _read_attributes(where)
        return entry

    def _find_first_path(self, status: os.stat_result, path: bytes) -> bytes:
        first = self._first_paths.setdefault((status.st_dev, status.st_ino), path)
        return b"" if first is path else first


_ALL: tuple[bool, bool, State] = (True, True, None)


def _take_waiting(stack: list[_WalkedFolder]) -> Iterator[TreeEntry]:
    for folder in stack:
        if folder.waiting is not None:
            yield folder.waiting
            folder.waiting = None


def _read_attributes(where: bytes) -> dict[bytes, bytes] | None:
    """Return all readable extended attributes, None if there are none (fsutil ``stat_unix.go``)."""
    try:
        names = os.listxattr(where, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return None
        raise
    if not names:
        return None
    found = {}
    for name in names:
        if not name.startswith(_APPLE):
            try:
                found[os.fsencode(name)] = os.getxattr(where, name, follow_symlinks=False)
            except OSError:
                continue
    return found or None


def split_device(number: int) -> tuple[int, int]:
    """Return major and minor device number as fsutil computes them (``stat_unix.go``)."""
    return number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00


def _make_relative(error: OSError, path: bytes) -> OSError:
    return OSError(error.errno, error.strerror, path or b".")
