"""Writes entries into a folder, and never outside of it.

Each folder on the way is opened by name relative to its parent, never through a symlink. New entries are created under
a temporary name and renamed into place, so incomplete files are never visible under their final names.
"""

from __future__ import annotations

import os
import stat as posix
from collections.abc import Container
from contextlib import suppress
from pathlib import Path

from ci_buildx.fsutil import entry as fsutil_entry
from ci_buildx.fsutil import scratch
from ci_buildx.fsutil.entry import TreeEntry

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE = 0o700


class TargetFolder:
    """The folder that is written to, created with its parents if missing. All methods raise OSError."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
        self._nearest = (b"", self._root)
        scratch.sweep_drafts(self._root)

    def close(self) -> None:
        """Close the folder. Idempotent."""
        self._forget_nearest()
        if self._root >= 0:
            os.close(self._root)
        self._root = -1
        self._nearest = (b"", -1)

    def make_folder(self, entry: TreeEntry) -> None:
        """Create a folder or keep the existing one; ``finish_folder`` sets its mode."""
        folder, name = self._open_parent(entry.path)
        if not _is_folder(folder, name):
            _remove_entry(folder, name)
            os.mkdir(name, _PRIVATE, dir_fd=folder)
            return
        # Writable while its content is written; without root, owning a folder does not imply write permission.
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if mode & _PRIVATE != _PRIVATE:
            os.chmod(name, posix.S_IMODE(mode) | _PRIVATE, dir_fd=folder)
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
        try:
            scratch.sweep_drafts(descriptor)
        finally:
            os.close(descriptor)

    def finish_folder(self, entry: TreeEntry) -> None:
        """Set a folder's attributes, mode and time; call it after writing the content, which changes the time."""
        folder, name = self._open_parent(entry.path)
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
        try:
            _set_attributes(descriptor, entry)
        finally:
            os.close(descriptor)

    def make_special(self, entry: TreeEntry) -> None:
        """Create a symlink, device or FIFO."""
        folder, name = self._open_parent(entry.path)
        draft = scratch.name_draft()
        if entry.is_symlink:
            os.symlink(entry.linkname, draft, dir_fd=folder)
        else:
            device = os.makedev(entry.major, entry.minor)
            os.mknod(draft, fsutil_entry.convert_to_posix(entry.mode), device, dir_fd=folder)
        try:
            if not entry.is_symlink:
                os.chmod(draft, fsutil_entry.read_permissions(entry.mode), dir_fd=folder)
            os.utime(draft, ns=(entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)
            _rename_draft(folder, draft, name)
        except OSError:
            _remove_entry(folder, draft)
            raise

    def make_link(self, entry: TreeEntry) -> None:
        """Create a hardlink to a file that was written before."""
        source_folder, source = self._open_parent(entry.linkname)
        source_folder = os.dup(source_folder)
        try:
            folder, name = self._open_parent(entry.path)
            draft = scratch.name_draft()
            os.link(source, draft, src_dir_fd=source_folder, dst_dir_fd=folder, follow_symlinks=False)
            _rename_draft(folder, draft, name)
        finally:
            os.close(source_folder)

    def open(self, entry: TreeEntry) -> FileDraft:
        """Return a draft of a regular file, to be written and finished."""
        folder, name = self._open_parent(entry.path)
        return FileDraft(os.dup(folder), name, entry)

    def prune(self, kept: Container[bytes]) -> None:
        """Delete everything whose path is not in ``kept``; folders are deleted with all their content."""
        folders: list[bytes] = [b""]
        emptied: list[bytes] = []
        while folders:
            folder = folders.pop()
            descriptor, _ = self._open_parent(folder + b"/." if folder else b".")
            with os.scandir(descriptor) as listed:
                names = [os.fsencode(entry.name) for entry in listed]
            for name in names:
                path = folder + b"/" + name if folder else name
                if _is_folder(descriptor, name):
                    folders.append(path)
                    emptied += [] if path in kept else [path]
                elif path not in kept:
                    os.unlink(name, dir_fd=descriptor)
        for path in reversed(emptied):
            descriptor, name = self._open_parent(path)
            os.rmdir(name, dir_fd=descriptor)

    def _open_parent(self, path: bytes) -> tuple[int, bytes]:
        """Return a descriptor of the parent folder of ``path``, valid until the next call, and the name in it."""
        parent, _, name = path.rpartition(b"/")
        if self._nearest[0] != parent:
            self._forget_nearest()
            descriptor = self._root
            for part in parent.split(b"/") if parent else ():
                below = os.open(part, _FOLDER, dir_fd=descriptor)
                if descriptor != self._root:
                    os.close(descriptor)
                descriptor = below
            self._nearest = (parent, descriptor)
        return self._nearest[1], name

    def _forget_nearest(self) -> None:
        if self._nearest[1] != self._root:
            os.close(self._nearest[1])
        self._nearest = (b"", self._root)


class FileDraft:
    """A regular file that is being written."""

    def __init__(self, folder: int, name: bytes, entry: TreeEntry) -> None:
        self._folder = folder
        self._name = name
        self._entry = entry
        self._draft = scratch.name_draft()
        self.size = 0
        try:
            self._descriptor = os.open(self._draft, _NEW_FILE, 0o600, dir_fd=folder)
        except OSError:
            os.close(folder)
            raise
        scratch.hold(self._descriptor)

    def write(self, content: bytes) -> None:
        """Append ``content``."""
        self.size += len(content)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> None:
        """Set the file's attributes and rename it into place."""
        try:
            _set_attributes(self._descriptor, self._entry)
            _rename_draft(self._folder, self._draft, self._name)
        except OSError:
            self.discard()
            raise
        self._close()

    def discard(self) -> None:
        """Delete the draft."""
        with suppress(FileNotFoundError):
            os.unlink(self._draft, dir_fd=self._folder)
        self._close()

    def _close(self) -> None:
        os.close(self._descriptor)
        os.close(self._folder)


def _set_attributes(descriptor: int, entry: TreeEntry) -> None:
    for name, value in (entry.xattrs or {}).items():
        # Best effort as in fsutil: file systems and unprivileged users may not support them.
        with suppress(OSError):
            os.setxattr(descriptor, name, value)
    os.fchmod(descriptor, fsutil_entry.read_permissions(entry.mode))
    os.utime(descriptor, ns=(entry.mtime, entry.mtime))


def _rename_draft(folder: int, draft: bytes, name: bytes) -> None:
    if _is_folder(folder, name):
        _remove_entry(folder, name)
    os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)


def _is_folder(folder: int, name: bytes) -> bool:
    try:
        return posix.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _remove_entry(folder: int, name: bytes) -> None:
    if _is_folder(folder, name):
        import shutil

        shutil.rmtree(name, dir_fd=folder)
        return
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
