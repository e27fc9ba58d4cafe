"""A layer's content and its reproducible tar archive."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, assert_never

# linux/capability.h: VFS_CAP_REVISION_2 with the effective bit, then two pairs of permitted and inheritable.
_CAPABILITY_REVISION = 0x02000001
# Part of each fingerprint; increase it when `write` changes the bytes of the same entries.
_FORMAT = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file with the content of `source`. `capability` is a bit of capability(7) that running it grants.

    `modified` is its time in seconds since the epoch: 0 unless another file depends on it.
    """

    path: str
    source: Path | bytes
    mode: int = 0o644
    owner: int = 0
    modified: int = 0
    capability: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder. Parents need no entry: they are created with mode 0755 and belong to root."""

    path: str
    mode: int = 0o755
    owner: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link."""

    path: str
    target: str


Entry = File | Folder | Link


def arrange(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries and all their parents, sorted by path; the last entry of a path wins.

    Raises ValueError for a path that is not absolute and normalized.
    """
    by_path: dict[str, Entry] = {}
    for entry in entries:
        path = PurePosixPath(entry.path)
        if not path.is_absolute() or str(path) != entry.path or ".." in path.parts:
            raise ValueError(f"path in an image: want an absolute, clean one, not {entry.path!r}")
        by_path[entry.path] = entry
    for path in [PurePosixPath(path) for path in by_path]:
        for parent in path.parents[:-1]:
            by_path.setdefault(str(parent), Folder(path=str(parent)))
    return [by_path[path] for path in sorted(by_path)]


def write(entries: Iterable[Entry], stream: IO[bytes]) -> None:
    """Write the entries as a tar archive; equal entries, in any order, produce equal bytes."""
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in arrange(entries):
            _add(archive, entry)


def _add(archive: tarfile.TarFile, entry: Entry) -> None:
    member = tarfile.TarInfo(entry.path.lstrip("/"))
    match entry:
        case File():
            member.mode = entry.mode
            member.uid = member.gid = entry.owner
            member.mtime = entry.modified
            if entry.capability is not None:
                member.pax_headers = {"SCHILY.xattr.security.capability": _capability(entry.capability)}
            with io.BytesIO(entry.source) if isinstance(entry.source, bytes) else entry.source.open("rb") as content:
                member.size = content.seek(0, os.SEEK_END)
                content.seek(0)
                archive.addfile(member, content)
        case Folder():
            member.type = tarfile.DIRTYPE
            member.mode = entry.mode
            member.uid = member.gid = entry.owner
            archive.addfile(member)
        case Link():
            member.type = tarfile.SYMTYPE
            member.mode = 0o777
            member.linkname = entry.target
            archive.addfile(member)
        case _:
            assert_never(entry)


def _capability(bit: int) -> str:
    """Return the extended attribute's value; tarfile needs non-text bytes in this form."""
    value = struct.pack("<IIIII", _CAPABILITY_REVISION, 1 << bit, 0, 0, 0)
    return value.decode("utf-8", "surrogateescape")


def fingerprint(entries: Iterable[Entry]) -> str:
    """Return a key that is equal only if the archive is; it is cheap because it does not read the files.

    Raises OSError if a file is missing.
    """
    key = hashlib.sha256(_FORMAT.encode())
    for entry in arrange(entries):
        if isinstance(entry, File) and isinstance(entry.source, Path):
            stat = entry.source.stat()
            source: object = (os.path.realpath(entry.source), stat.st_size, stat.st_mtime_ns)
            placed = (entry.path, entry.mode, entry.owner, entry.modified, entry.capability)
            key.update(repr((placed, source)).encode())
        else:
            key.update(repr(entry).encode())
    return key.hexdigest()
