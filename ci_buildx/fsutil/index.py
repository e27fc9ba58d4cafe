"""What the sender remembers of the entries it has announced: about 24 bytes and the name, for each.

A path is kept as the index of its folder and its own name; folders are announced before what is in them,
so the whole path is found by going up.
"""

from __future__ import annotations

from array import array

_TOP = -1
#: In place of a size: nothing may be asked for (no regular file, or asked for already).
_CLOSED = -1


class Index:
    """Entries in the order of their STATs, by number from 0."""

    def __init__(self) -> None:
        self._folders = array("q")
        self._ends = array("Q")
        self._names = bytearray()
        self._sizes = array("q")
        self._open_folders: list[tuple[bytes, int]] = []

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, path: bytes, *, folder: bool, size: int) -> None:
        """Append an entry; ``size`` is what was announced, or -1 where no content may be asked for."""
        parent, _, name = path.rpartition(b"/")
        stack = self._open_folders
        while stack and stack[-1][0] != parent:
            stack.pop()
        if folder:
            stack.append((path, len(self._sizes)))
            self._folders.append(stack[-2][1] if len(stack) > 1 else _TOP)
        else:
            self._folders.append(stack[-1][1] if stack else _TOP)
        self._names += name
        self._ends.append(len(self._names))
        self._sizes.append(size)

    def take(self, number: int) -> tuple[bytes, int]:
        """Return path and announced size of a regular file, once; LookupError where there is nothing to ask for."""
        if not 0 <= number < len(self._sizes) or self._sizes[number] == _CLOSED:
            raise LookupError(f"no file has the number {number}, or it was asked for already")
        size = self._sizes[number]
        self._sizes[number] = _CLOSED
        return self.path(number), size

    def path(self, number: int) -> bytes:
        """Return the path of an entry."""
        parts = []
        while number != _TOP:
            start = self._ends[number - 1] if number else 0
            parts.append(bytes(self._names[start : self._ends[number]]))
            number = self._folders[number]
        return b"/".join(reversed(parts))
