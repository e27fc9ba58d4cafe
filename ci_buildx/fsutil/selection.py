"""Which entries of a tree are sent, and which folders need not be looked into.

Source: fsutil (as BuildKit 0.34.2 pins it), ``filter.go``.
"""

from __future__ import annotations

import os
import stat as posix
from collections.abc import Iterable, Sequence

from ci_buildx.fsutil import followpaths
from ci_buildx.fsutil.entry import absolute
from ci_buildx.fsutil.patterns import Matcher, Pattern

#: What was found for a folder, to be passed when its content is judged: for include and for exclude patterns.
State = tuple[int | None, int | None] | None

_WILDCARDS = frozenset("*[]?^\\")


class Selection:
    """Include and exclude patterns. ``start`` is the state for what lies in the root."""

    start: State = (None, None)

    def __init__(self, top: bytes, include: Matcher | None, exclude: Matcher | None) -> None:
        self._top = top
        self._include = include
        self._exclude = exclude
        self._included_folders = _folders_above(p for p in include.patterns if not p.negated) if include else None
        self._excepted_folders = _folders_above(p for p in exclude.patterns if p.negated) if exclude else None

    @classmethod
    def make(cls, top: bytes, *, include: Sequence[str], exclude: Sequence[str], follow: Sequence[str]) -> Selection:
        """Return the selection for the tree at ``top``; OSError, PatternError."""
        included: Sequence[str] | None = include
        if follow and (targets := followpaths.resolve(top, follow)) is not None:
            included = followpaths.deduplicated([*include, *targets])
        if not included and not exclude:
            return EVERYTHING
        return cls(top, Matcher(included) if included else None, Matcher(exclude) if exclude else None)

    def judge(self, path: bytes, state: State) -> tuple[bool, bool, State]:
        """Return whether ``path`` is chosen, whether what lies below could be, and the state for that."""
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
        """Have a malformed pattern refused where fsutil does: it tries all patterns on what is no folder."""
        if self._exclude is None or not self._exclude.is_broken:
            return
        if not posix.S_ISDIR(os.lstat(absolute(self._top, path)).st_mode):
            self._exclude.judge(path.decode(errors="surrogateescape"), state)


def _folders_above(patterns: Iterable[Pattern]) -> frozenset[str] | None:
    """Return the folders that lead to what ``patterns`` name, or None where a wildcard leaves that open."""
    folders = set[str]()
    for pattern in patterns:
        text = pattern.text.removesuffix("/**").removesuffix("/*")
        if not _WILDCARDS.isdisjoint(text):
            return None
        text += "/"
        folders.update(text[:at] for at, char in enumerate(text) if char == "/")
    return frozenset(folders)


#: Nothing is left out. To be compared by identity: then nothing needs to be judged.
EVERYTHING = Selection(b"", None, None)
