"""Clocks that replace the modification times of entries before they are sent."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ci_buildx.fsutil.entry import TreeEntry, resolve_path

Clock = Callable[[TreeEntry], int]
"""A function from an entry to its modification time in nanoseconds."""

_SECOND = 10**9
_LARGEST_FRACTION = 499_999_999
_BLOCK = 1 << 20
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def set_mtimes(entries: Iterable[TreeEntry], clock: Clock) -> Iterator[TreeEntry]:
    """Yield ``entries`` with the times that ``clock`` computes for them; modifies the entries."""
    for entry in entries:
        entry.mtime = clock(entry)
        yield entry


def make_path_clock(times: Mapping[bytes, int]) -> Clock:
    """Return a clock with the given times by path; other entries keep their own."""
    return lambda entry: times.get(entry.path, entry.mtime)


def make_fixed_clock(root: Path, seconds: int) -> Clock:
    """Return a clock that sets everything below ``root`` to ``seconds``.

    The fraction of a regular file's time is derived from its content, which is read for this purpose: buildkitd
    compares times and sizes only, and would otherwise miss a change to a file of the same length. The fraction is
    below half a second, so rounding to seconds yields ``seconds``.
    """
    top = os.fsencode(os.path.realpath(root))

    def compute_mtime(entry: TreeEntry) -> int:
        fraction = _compute_checksum(top, entry.path) % _LARGEST_FRACTION if entry.is_regular and entry.size else 0
        return seconds * _SECOND + fraction

    return compute_mtime


def _compute_checksum(root: bytes, path: bytes) -> int:
    """Return the CRC-32 of a file, 0 if it cannot be read; sending it then fails with an error that names it."""
    try:
        descriptor = os.open(resolve_path(root, path), _FLAGS)
    except OSError:
        return 0
    try:
        checksum = 0
        while block := os.read(descriptor, _BLOCK):
            checksum = zlib.crc32(block, checksum)
    except OSError:
        return 0
    else:
        return checksum
    finally:
        os.close(descriptor)
