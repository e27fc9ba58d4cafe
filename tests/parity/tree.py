"""Folders as data: what is in them, with modes and times that are the same wherever they are planted."""

import io
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

EPOCH = 1_700_000_000
"""SOURCE_DATE_EPOCH of the builds: everything that is planted is older."""
Compression = Literal["", "gz", "bz2"]
_MODES: Mapping[Compression, Literal["w:", "w:gz", "w:bz2"]] = {"": "w:", "gz": "w:gz", "bz2": "w:bz2"}
_OLDEST = 1_500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """``hole`` is a number of zeros, which take no room, behind the content."""

    content: bytes = b""
    mode: int = 0o644
    hole: int = 0
    mtime: int | None = None
    """In nanoseconds; None for a time of its own."""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that has a mode, or nothing in it."""

    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Symlink:
    """Leads to ``target``, which need not be there."""

    target: str


@dataclass(frozen=True, slots=True)
class Hardlink:
    """Another name of ``first``, which is planted already."""

    first: str


@dataclass(frozen=True, slots=True)
class Fifo:
    """A named pipe."""


Node = str | bytes | File | Folder | Symlink | Hardlink | Fifo
Tree = Mapping[str, Node]


def plant(root: Path, tree: Tree) -> None:
    """Make the files. Texts are contents; names that are no UTF-8 hold surrogates, as Python has them."""
    root.mkdir()
    for name, node in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _make(root, path, File(content=_encoded(node)) if isinstance(node, str | bytes) else node)
    given = {root / name: node.mtime for name, node in tree.items() if isinstance(node, File) and node.mtime}
    paths = sorted(root.rglob("*"), reverse=True)  # a folder's time comes after what is in it
    for number, path in enumerate([*paths, root]):
        moment = given.get(path, (_OLDEST + 1000 * number) * 10**9 + 123_456_789)
        os.utime(path, ns=(moment, moment), follow_symlinks=False)


def tarball(tree: Mapping[str, str], *, compression: Compression = "") -> bytes:
    """A tar of files with these contents, older than the build too."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=_MODES[compression]) as archive:
        for number, (name, text) in enumerate(tree.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(text), _OLDEST - number, 0o640
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


def _make(root: Path, path: Path, node: File | Folder | Symlink | Hardlink | Fifo) -> None:
    match node:
        case File():
            with path.open("wb") as file:
                file.write(node.content)
                file.truncate(len(node.content) + node.hole)
            path.chmod(node.mode)
            for name, value in node.xattrs.items():
                os.setxattr(path, name, value)
        case Folder():
            path.mkdir(exist_ok=True)
            path.chmod(node.mode)
        case Symlink():
            path.symlink_to(node.target)
        case Hardlink():
            path.hardlink_to(root / node.first)
        case Fifo():
            os.mkfifo(path)


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
