"""Contexts with random content, the same in each run, which neither compresses nor repeats."""

from __future__ import annotations

import os
import random
from pathlib import Path

BIG = 200_000_000
SMALL = 2_000
COUNT = 5_000
DOCKERFILE = "FROM busybox\nRUN --mount=type=bind,target=/context test -e /context/big\n"
"""Uses the whole context but copies nothing, so that only the transfer is measured."""

_PER_FOLDER = 100
_CHUNK = 1 << 20


def make(folder: Path, *, big: int = BIG, count: int = COUNT, small: int = SMALL, seed: int = 3) -> None:
    """Write one file of ``big`` bytes and ``count`` files of ``small`` bytes (2 kB), in folders of a hundred."""
    source = random.Random(seed)
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    with (folder / "big").open("wb") as file:
        for start in range(0, big, _CHUNK):
            file.write(source.randbytes(min(_CHUNK, big - start)))
    for path in small_files(folder, count):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source.randbytes(small))


def small_files(folder: Path, count: int = COUNT) -> list[Path]:
    """Return the paths of the small files."""
    return [folder / f"part{number // _PER_FOLDER:03}" / f"file{number:05}" for number in range(count)]


def touch(folder: Path, moment: float, count: int = COUNT) -> None:
    """Set the same new time on all small files, so that buildkitd requests them again."""
    for path in small_files(folder, count):
        os.utime(path, (moment, moment))
