"""The order in which entries must come.

Source: fsutil (as BuildKit 0.34.2 pins it), ``validator.go`` and ``hardlinks.go``: depth first, each folder before
its content, names in order of their bytes; a hardlink after the file that it names.
"""

from __future__ import annotations

from ci_buildx.fsutil.entry import Entry, shown


class Order:
    """What has been seen of a stream of entries."""

    def __init__(self) -> None:
        #: The folder that the last entry is in and those above it, each with the last name seen in it.
        self._folders: list[tuple[bytes, bytes]] = [(b"", b"")]
        self._files: set[bytes] = set()

    def check(self, entry: Entry) -> None:
        """Take the next entry; ValueError where it may not come now, or leads out of the tree."""
        path = entry.path
        if not path or b"\0" in path or any(part in (b"", b".", b"..") for part in path.split(b"/")):
            raise ValueError(f'"{shown(path)}" is no clean relative path')
        parent, _, name = path.rpartition(b"/")
        folders = self._folders
        while folders and folders[-1][0] != parent:
            folders.pop()
        if not folders or folders[-1][1] >= name:
            raise ValueError(f'"{shown(path)}" comes out of order or without its folder')
        folders[-1] = (parent, name)
        if entry.is_folder:
            folders.append((path, b""))
        elif not entry.is_symlink:
            self._check_link(entry)

    def _check_link(self, entry: Entry) -> None:
        if not entry.linkname:
            self._files.add(entry.path)
        elif entry.linkname not in self._files:
            raise ValueError(f'"{shown(entry.path)}" is a link to "{shown(entry.linkname)}", which has not come')
