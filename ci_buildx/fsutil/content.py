"""The content of one file on its way out, held against the size that was announced."""

from __future__ import annotations

import errno
import os
import stat as posix

from ci_buildx.fsutil import packets
from ci_buildx.fsutil.entry import absolute
from ci_buildx.fsutil.errors import ContentError

#: Content of one DATA packet at most; BuildKit takes messages of 16 MiB.
CHUNK = 256 * 1024
#: What may stand before the content in a message: gRPC's prefix and the packet's own fields.
OVERHEAD = 24
# A folder could have been swapped for a symlink, a file for a FIFO: neither is to be followed or waited for.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_VANISHED = (errno.ENOENT, errno.ENOTDIR)


class Content:
    """An open file that is sent piece by piece.

    ``number`` is its index among the STATs. Raises ContentError where it isn't any more what was announced.
    """

    def __init__(self, root: bytes, path: bytes, *, number: int, size: int) -> None:
        self._path = path
        self._number = number
        self._size = self._left = size
        self._descriptor = _open(root, path, size)
        self.done = False

    def read(self, room: int) -> list[bytes]:
        """Return the next DATA messages, about ``room`` bytes at most; the last one ends the file."""
        if self._descriptor < 0:
            self.done = True
            return [packets.framed(packets.data_header(self._number, 0))]
        try:
            messages = self._messages(max(room - OVERHEAD, 1))
        except OSError as error:
            self.close()
            raise ContentError(self._path, f"cannot be read: {error.strerror}") from error
        if self.done:
            self.close()
        return messages

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _messages(self, room: int) -> list[bytes]:
        # One byte more than there should be: it tells whether the file has grown.
        piece = os.read(self._descriptor, min(self._left + 1, room, CHUNK))
        size = len(piece)
        if size > self._left:
            raise self._changed("grew")
        if not size and self._left:
            raise self._changed("shrank")
        self._left -= size
        messages: list[bytes] = []
        if size:
            header = packets.data_header(self._number, size)
            messages += (packets.prefix(len(header) + size), header, piece)
        if not self._left and (size < room or not os.read(self._descriptor, 1)):
            messages.append(packets.framed(packets.data_header(self._number, 0)))
            self.done = True
        elif not self._left:
            raise self._changed("grew")
        return messages

    def _changed(self, verb: str) -> ContentError:
        self.close()
        return ContentError(self._path, f"{verb} while it was being sent; it had {self._size} bytes")


def _open(root: bytes, path: bytes, size: int) -> int:
    """Return a descriptor, or -1 for a socket, which arrives as an empty file as with buildx."""
    try:
        descriptor = os.open(absolute(root, path), _FLAGS)
    except OSError as error:
        if error.errno == errno.ENXIO and not size:
            return -1
        reason = (
            "vanished while it was waiting to be sent"
            if error.errno in _VANISHED
            else f"cannot be read: {error.strerror}"
        )
        raise ContentError(path, reason) from error
    if not posix.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ContentError(path, "is no regular file any more")
    return descriptor
