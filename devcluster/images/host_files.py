"""Host files for images: programs with their libraries, and folders."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from devcluster.images.layer import Entry, File, Link

_LOADED = re.compile(r"^\s+(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)
_MISSING = re.compile(r"^\s+(\S+) => not found", re.MULTILINE)


def program(path: Path, *, at: str = "", capability: int | None = None) -> Iterator[Entry]:
    """Yield a program, at its own path or another, and all files that the dynamic loader opens to run it."""
    yield File(path=at or str(path), source=path, mode=0o755, capability=capability)
    yield from libraries(path)


def libraries(*programs: Path) -> Iterator[Entry]:
    """Yield the dynamic loader and the libraries that programs load, at the paths where the loader searches.

    Raises RuntimeError if one of them is missing on the host.
    """
    listing = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, timeout=60, check=False)
    missing = sorted(set(_MISSING.findall(listing.stdout)))
    if missing:
        raise RuntimeError(f"{', '.join(missing)} cannot be found on this host, so not be put into an image either")
    for found in sorted(set(_LOADED.findall(listing.stdout))):
        yield File(path=found, source=Path(found), mode=0o755)


def folder(source: Path, at: str = "", *, without: Iterable[str] = (), dated: bool = False) -> Iterator[Entry]:
    """Yield a folder of the host with its contents, except names in `without`, at its own path or another.

    `dated` keeps the files' times, which Python compares with those in its compiled modules.
    """
    skipped = frozenset(without)
    for path in sorted(source.iterdir()):
        target = f"{at or source}/{path.name}"
        if path.name in skipped:
            continue
        if path.is_symlink():
            yield Link(path=target, target=str(path.readlink()))
        elif path.is_dir():
            yield from folder(path, target, without=skipped, dated=dated)
        elif path.is_file():
            found = path.stat()
            modified = int(found.st_mtime) if dated else 0
            yield File(path=target, source=path, mode=found.st_mode & 0o755, modified=modified)
