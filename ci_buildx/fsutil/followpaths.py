"""Followpaths: the paths that a build names, and what their symlinks lead to, as include patterns.

Source: fsutil (as BuildKit 0.34.2 pins it), ``followlinks.go``.
"""

from __future__ import annotations

import errno
import os
import stat as posix
from collections.abc import Iterable, Sequence

from ci_buildx.fsutil import globs, paths
from ci_buildx.fsutil.entry import absolute
from ci_buildx.fsutil.errors import PatternError

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


def resolve(top: bytes, follow: Sequence[str]) -> list[str] | None:
    """Return ``follow`` and every path that their symlinks lead to, sorted; None where that is the root itself.

    Symlinks are read as if ``top`` were the root of the file system. The last part of a path may hold wildcards.
    """
    resolver = _Resolver(top)
    for path in follow:
        try:
            resolver.add(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, _as_bytes(path)) from error
    return deduplicated(sorted(resolver.found, key=_as_bytes))


def deduplicated(patterns: Iterable[str]) -> list[str] | None:
    """Return ``patterns`` without those below the one before them; None where one is the root (``dedupePaths``)."""
    kept: list[str] = []
    last = ""
    for pattern in patterns:
        if pattern == ".":
            return None
        if not pattern.startswith(last + "/"):
            kept.append(pattern)
            last = pattern
    return kept


class _Resolver:
    def __init__(self, top: bytes) -> None:
        self._top = top
        self.found: set[str] = set()

    def add(self, path: str) -> None:
        waiting = [path]
        while waiting:
            waiting += reversed(self._step(waiting.pop()))

    def _step(self, path: str) -> list[str]:
        """Go along ``path`` to its first symlink and return where that leads, the rest of the path included."""
        current, rest = ".", paths.join(".", path)
        while True:
            part, _, rest = rest.partition("/")
            current = paths.join(current, part)
            targets = self._targets(current)
            if (not rest or targets is not None) and current in self.found:
                return []
            if targets is not None:
                self.found.add(current)
                return [paths.join(target, rest) for target in targets]
            if not rest:
                self.found.add(current)
                return []

    def _targets(self, path: str) -> list[str] | None:
        """Return where the symlinks that ``path`` stands for lead, None where there are none."""
        folder, _, name = path.rpartition("/")
        if not globs.has_wildcards(name):
            target = self._read(path)
            return None if target is None else [target]
        try:
            expression = globs.compile(name)
            names = sorted(os.listdir(self._place(folder)))  # noqa: PTH208 - bytes
        except PatternError:
            return None
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
        matching = [found for found in map(_as_text, names) if expression.match(found)]
        targets = [target for found in matching if (target := self._read(paths.join(folder, found))) is not None]
        return targets or None

    def _read(self, path: str) -> str | None:
        if path in (".", "/") or path == ".." or path.startswith("../"):
            return None
        place = self._place(path)
        try:
            if not posix.S_ISLNK(os.lstat(place).st_mode):
                return None
            link = paths.clean(_as_text(os.readlink(place)))  # noqa: PTH115 - bytes
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
        return link if link.startswith("/") else paths.join("/", paths.join(paths.folder(path), link))

    def _place(self, path: str) -> bytes:
        return absolute(self._top, _as_bytes(path.lstrip("/")))


def _as_text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _as_bytes(path: str) -> bytes:
    return path.encode(errors="surrogateescape")
