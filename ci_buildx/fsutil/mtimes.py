"""Which modification time an entry is sent with, where it is not its own."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ci_buildx.fsutil.entry import TreeEntry, resolve_path

Clock = Callable[[TreeEntry], int]
"""From an entry to its time in nanoseconds."""

_SECOND = 10**9
_LARGEST_FRACTION = 499_999_999
_BLOCK = 1 << 20
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def set_mtimes(entries: Iterable[TreeEntry], clock: Clock) -> Iterator[TreeEntry]:
    """``entries`` with the times that ``clock`` gives them."""
    for entry in entries:
        entry.mtime = clock(entry)
        yield entry


def make_path_clock(times: Mapping[bytes, int]) -> Clock:
    """The times of known paths; others keep their own."""
    return lambda entry: times.get(entry.path, entry.mtime)


def make_fixed_clock(root: Path, seconds: int) -> Clock:
    """One time for everything below ``root``.

    A regular file's fraction of a second comes from its content, which is read for it: buildkitd compares times and
    sizes, and would else keep the old one of two files that are as long. It is below half a second, so that what
    rounds to seconds shows ``seconds``.
    """
    top = os.fsencode(os.path.realpath(root))

    def clock(entry: TreeEntry) -> int:
        fraction = _compute_checksum(top, entry.path) % _LARGEST_FRACTION if entry.is_regular and entry.size else 0
        return seconds * _SECOND + fraction

    return clock


def _compute_checksum(root: bytes, path: bytes) -> int:
    """Of a file that cannot be read 0: it fails, by name, when it is to be sent."""
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
