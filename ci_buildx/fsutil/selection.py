"""Which paths of a tree are sent: include, exclude and follow-paths patterns.

Follow-paths are paths that a build names; they and the targets of their symlinks become include patterns.
Source: fsutil (as BuildKit 0.34.2 pins it), ``followlinks.go``.
"""

from __future__ import annotations

import errno
import os
import stat as posix
from collections.abc import Iterable, Sequence

from ci_buildx.fsutil import filepath
from ci_buildx.fsutil.entry import PatternError, resolve_path
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
            waiting += reversed(self._step(waiting.pop()))

    def _step(self, path: str) -> list[str]:
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


# : The result for a folder, passed on when its children are judged: for include and for exclude patterns.
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


# : Selects everything. Compare by identity to skip judging.
EVERYTHING = Selection(b"", None, None)
