"""Walks a folder and yields the selected entries in the order and with the fields that buildx sends.

Follow-paths are paths that a build names; they and the targets of their symlinks become include patterns.
Source: fsutil (as BuildKit 0.34.2 pins it), ``followlinks.go``.

Source: fsutil (as BuildKit 0.34.2 pins it): ``fs.go`` (the walk), ``stat.go`` and ``stat_unix.go`` (the fields),
``hardlinks.go`` (the first path *sent* is the one that others link to), ``filter.go`` (see :class:`Selection`);
buildx 0.38.2, ``build/build.go`` (owners are zeroed).
"""

from __future__ import annotations

import errno
import os
import stat as posix
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ci_buildx.fsutil import entry as fsutil_entry
from ci_buildx.fsutil import filepath
from ci_buildx.fsutil.entry import PatternError, TreeEntry, resolve_path
from ci_buildx.fsutil.patterns import IgnorePattern, PatternMatcher

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


def resolve_follow_paths(top: bytes, follow: Sequence[str]) -> list[str] | None:
    """Return ``follow`` and all paths that their symlinks lead to, sorted; None if one of them is the root.

    Symlinks are resolved as if ``top`` were the root of the file system. A path's last element may contain wildcards.
    Raises OSError.
    """
    resolver = _SymlinkResolver(top)
    for path in follow:
        try:
            resolver.add(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, _encode_path(path)) from error
    return deduplicate(sorted(resolver.found, key=_encode_path))


def deduplicate(patterns: Iterable[str]) -> list[str] | None:
    """Return ``patterns`` without those below their predecessor; None if one is the root (``dedupePaths``)."""
    kept: list[str] = []
    last = ""
    for pattern in patterns:
        if pattern == ".":
            return None
        if not pattern.startswith(last + "/"):
            kept.append(pattern)
            last = pattern
    return kept


class _SymlinkResolver:
    def __init__(self, top: bytes) -> None:
        self._top = top
        self.found: set[str] = set()

    def add(self, path: str) -> None:
        waiting = [path]
        while waiting:
            waiting += reversed(self._follow_link(waiting.pop()))

    def _follow_link(self, path: str) -> list[str]:
        """Follow ``path`` to its first symlink and return the targets, each with the rest of the path appended."""
        current, rest = ".", filepath.join_paths(".", path)
        while True:
            part, _, rest = rest.partition("/")
            current = filepath.join_paths(current, part)
            targets = self._list_targets(current)
            if (not rest or targets is not None) and current in self.found:
                return []
            if targets is not None:
                self.found.add(current)
                return [filepath.join_paths(target, rest) for target in targets]
            if not rest:
                self.found.add(current)
                return []

    def _list_targets(self, path: str) -> list[str] | None:
        """Return the targets of the symlinks that match ``path``, None if there are none."""
        folder, _, name = path.rpartition("/")
        if not filepath.has_wildcards(name):
            target = self._read(path)
            return None if target is None else [target]
        try:
            expression = filepath.compile_pattern(name)
            names = sorted(os.listdir(self._place(folder)))  # noqa: PTH208 - bytes
        except PatternError:
            return None
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
        matching = [found for found in map(_decode_name, names) if expression.match(found)]
        targets = [
            target for found in matching if (target := self._read(filepath.join_paths(folder, found))) is not None
        ]
        return targets or None

    def _read(self, path: str) -> str | None:
        if path in (".", "/") or path == ".." or path.startswith("../"):
            return None
        place = self._place(path)
        try:
            if not posix.S_ISLNK(os.lstat(place).st_mode):
                return None
            link = filepath.clean_path(_decode_name(os.readlink(place)))  # noqa: PTH115 - bytes
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
        return (
            link
            if link.startswith("/")
            else filepath.join_paths("/", filepath.join_paths(filepath.read_parent(path), link))
        )

    def _place(self, path: str) -> bytes:
        return resolve_path(self._top, _encode_path(path.lstrip("/")))


def _decode_name(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _encode_path(path: str) -> bytes:
    return path.encode(errors="surrogateescape")


# The result for a folder, passed on when its children are judged: for include and for exclude patterns.
State = tuple[int | None, int | None] | None

_WILDCARDS = frozenset("*[]?^\\")


class Selection:
    """Include and exclude patterns of a tree; ``start`` is the state for the root's children."""

    start: State = (None, None)

    def __init__(self, top: bytes, include: PatternMatcher | None, exclude: PatternMatcher | None) -> None:
        self._top = top
        self._include = include
        self._exclude = exclude
        self._included_folders = _list_folders_above(p for p in include.patterns if not p.negated) if include else None
        self._excepted_folders = _list_folders_above(p for p in exclude.patterns if p.negated) if exclude else None

    @classmethod
    def make(cls, top: bytes, *, include: Sequence[str], exclude: Sequence[str], follow: Sequence[str]) -> Selection:
        """Return the selection for the tree at ``top``. Raises OSError and PatternError."""
        included: Sequence[str] | None = include
        if follow and (targets := resolve_follow_paths(top, follow)) is not None:
            included = deduplicate([*include, *targets])
        if not included and not exclude:
            return EVERYTHING
        return cls(top, PatternMatcher(included) if included else None, PatternMatcher(exclude) if exclude else None)

    def judge(self, path: bytes, state: State) -> tuple[bool, bool, State]:
        """Return whether ``path`` is selected, whether anything below it could be, and the state for its children."""
        included, excluded = state or (None, None)
        text = path.decode(errors="surrogateescape")
        chosen = True
        if self._include is not None:
            chosen, included = self._include.judge(text, included)
            if not chosen and self._included_folders is not None and text not in self._included_folders:
                self._try_exclude(path, excluded)
                return False, False, None
        if self._exclude is not None:
            refused, excluded = self._exclude.judge(text, excluded)
            if refused:
                chosen = False
                if self._excepted_folders is not None and text not in self._excepted_folders:
                    return False, False, None
        return chosen, True, (included, excluded)

    def _try_exclude(self, path: bytes, state: int | None) -> None:
        """Raise PatternError for a malformed pattern where fsutil does: it tries all patterns on non-folders."""
        if self._exclude is None or not self._exclude.is_broken:
            return
        if not posix.S_ISDIR(os.lstat(resolve_path(self._top, path)).st_mode):
            self._exclude.judge(path.decode(errors="surrogateescape"), state)


def _list_folders_above(patterns: Iterable[IgnorePattern]) -> frozenset[str] | None:
    """Return the folders that lead to the paths in ``patterns``, None if a wildcard makes them unknowable."""
    folders = set[str]()
    for pattern in patterns:
        text = pattern.text.removesuffix("/**").removesuffix("/*")
        if not _WILDCARDS.isdisjoint(text):
            return None
        text += "/"
        folders.update(text[:at] for at, char in enumerate(text) if char == "/")
    return frozenset(folders)


# Selects everything. Compare by identity to skip judging.
EVERYTHING = Selection(b"", None, None)


# Extended attributes that fsutil omits: those of macOS are meaningless elsewhere.
_APPLE = "com.apple."
_VANISHED = (errno.ENOENT, errno.ENOTDIR)


def walk_tree(
    root: Path, *, include: Sequence[str] = (), exclude: Sequence[str] = (), follow: Sequence[str] = ()
) -> Iterator[TreeEntry]:
    """Yield the entries below ``root``: depth first, each folder before its content, names in byte order.

    ``include`` and ``exclude`` are patterns as in :mod:`ci_buildx.fsutil.patterns`; ``follow`` are include patterns
    whose symlinks are resolved (see :mod:`ci_buildx.fsutil.walk`). A folder above a match is yielded before the
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
