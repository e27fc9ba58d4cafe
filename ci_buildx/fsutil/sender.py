"""The sending end of a transfer: announces entries and sends the content of requested files.

A file's content is checked against the size that was announced.
"""

from __future__ import annotations

import errno
import os
import stat as posix
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

from ci_buildx.fsutil import packets
from ci_buildx.fsutil.entry import ContentError, TreeEntry, format_path, resolve_path

# Maximum content of one DATA packet in bytes; BuildKit accepts messages of 16 MiB.
CHUNK = 256 * 1024
# Maximum size in bytes of gRPC's prefix and the packet's own fields, which precede the content in a message.
OVERHEAD = 24
# A folder may have been swapped for a symlink, or a file for a FIFO: do not follow the one or block on the other.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_VANISHED = (errno.ENOENT, errno.ENOTDIR)


class FileContent:
    """An open file that is sent in pieces.

    ``number`` is its index among the STATs, ``left`` the bytes that have not been read. Raises ContentError if the file
    no longer matches what was announced.
    """

    def __init__(self, root: bytes, path: bytes, *, number: int, size: int) -> None:
        self._path = path
        self._number = number
        self._size = self.left = size
        self._descriptor = _open(root, path, size)
        self.done = False

    def read(self, room: int) -> list[bytes]:
        """Return the next DATA messages, at most about ``room`` bytes; the last one ends the file and sets ``done``."""
        if self._descriptor < 0:
            self.done = True
            return [packets.frame_packet(packets.make_data_header(self._number, 0))]
        try:
            messages = self._read_messages(max(room - OVERHEAD, 1))
        except OSError as error:
            self.close()
            raise ContentError(self._path, f"cannot be read: {error.strerror}") from error
        if self.done:
            self.close()
        return messages

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read_messages(self, room: int) -> list[bytes]:
        # Read one byte more than expected to detect that the file has grown.
        piece = os.read(self._descriptor, min(self.left + 1, room, CHUNK))
        size = len(piece)
        if size > self.left:
            raise self._make_changed_error("grew")
        if not size and self.left:
            raise self._make_changed_error("shrank")
        self.left -= size
        messages: list[bytes] = []
        if size:
            header = packets.make_data_header(self._number, size)
            messages += (packets.make_grpc_prefix(len(header) + size), header, piece)
        if not self.left and (size < room or not os.read(self._descriptor, 1)):
            messages.append(packets.frame_packet(packets.make_data_header(self._number, 0)))
            self.done = True
        elif not self.left:
            raise self._make_changed_error("grew")
        return messages

    def _make_changed_error(self, verb: str) -> ContentError:
        self.close()
        return ContentError(self._path, f"{verb} while it was being sent; it had {self._size} bytes")


def _open(root: bytes, path: bytes, size: int) -> int:
    """Return a descriptor, or -1 for a socket, which arrives as an empty file, as with buildx."""
    try:
        descriptor = os.open(resolve_path(root, path), _FLAGS)
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
        raise ContentError(path, "is no longer a regular file")
    return descriptor


_TOP = -1
# Placeholder for a size: content cannot be requested (not a regular file, or requested already).
_CLOSED = -1


class EntryIndex:
    """Announced entries in the order of their STATs, numbered from 0, stored compactly."""

    def __init__(self) -> None:
        self._folders = array("q")
        self._ends = array("Q")
        self._names = bytearray()
        self._sizes = array("q")
        self._open_folders: list[tuple[bytes, int]] = []

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, path: bytes, *, folder: bool, size: int) -> None:
        """Append an entry; ``size`` is the announced one, or -1 if its content cannot be requested."""
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
        """Return path and announced size of a regular file; raise LookupError if unknown or requested before."""
        if not 0 <= number < len(self._sizes) or self._sizes[number] == _CLOSED:
            raise LookupError(f"no file has the number {number}, or it was already requested")
        size = self._sizes[number]
        self._sizes[number] = _CLOSED
        return self.make_path(number), size

    def make_path(self, number: int) -> bytes:
        """Return the path of the entry with this number."""
        parts = []
        while number != _TOP:
            start = self._ends[number - 1] if number else 0
            parts.append(bytes(self._names[start : self._ends[number]]))
            number = self._folders[number]
        return b"/".join(reversed(parts))


# Divisors for the room that STATs may take while files are pending. buildkitd's receiver makes one file after the other
# in the order of the STATs, but writes the content of several at once. With one or two STATs for each small file in a
# message, it does both at the same time; with more STATs, content waits behind them until the last file is made. A file
# that is larger than the message shares it with more STATs: buildkitd would otherwise have nothing to compare until the
# file has arrived.
_STATS_SHARE, _STATS_SHARE_OF_LARGE = 32, 4
# Minimum room in bytes for a piece of a file, except for the first one: each message costs both sides time.
_SMALLEST = 4096


class TreeSender:
    """Sends the tree at ``root``; a pull producer that works only when ``produce`` is called.

    ``entries`` are those of the tree, folders before their content, as ``walk_tree`` yields them. ``produce`` returns
    outgoing data, ``receive`` processes an incoming packet. Once ``finished`` is true, end the call: with OK, or, if
    ``failure`` is not empty, with that as its error.
    """

    def __init__(self, entries: Iterable[TreeEntry], *, root: Path) -> None:
        self._entries: Iterator[TreeEntry] | None = iter(entries)
        self._root = os.fsencode(os.path.realpath(root))
        self._index = EntryIndex()
        self._asked = array("Q")
        self._next = 0
        self._content: FileContent | None = None
        self._last_word = b""
        self.finished = False
        self.failure = ""

    def receive(self, packet: bytes) -> None:
        """Process a packet of the receiver; an invalid packet ends the transfer with a ``failure``."""
        if (number := packets.read_requested_id(packet)) >= 0:
            self._asked.append(number)
            return
        try:
            message = packets.decode_packet(packet)
        except ValueError as error:
            self._fail(f"BuildKit sent an invalid packet: {error}")
            return
        if message.kind is packets.PacketKind.REQUEST:
            self._asked.append(message.id)
        elif message.kind is packets.PacketKind.FIN:
            self._last_word = packets.frame_packet(packets.FIN)
        elif message.kind is packets.PacketKind.ERROR:
            self._fail(f"BuildKit could not receive the files: {message.content.decode(errors='backslashreplace')}")
        else:
            self._fail(f"BuildKit sent {message.kind.name} although it is the receiver")

    def produce(self, room: int) -> bytes:
        """Return gRPC messages of at most about ``room`` bytes; empty if the receiver has to send first."""
        if self.finished or room <= 0:
            return b""
        out: list[bytes] = []
        if not self._last_word:
            try:
                self._fill(out, room)
            except ContentError as error:
                self._fail(str(error))
            except OSError as error:
                self._fail(f"cannot read {format_path(os.fsencode(error.filename or '.'))}: {error.strerror}")
            except (ValueError, LookupError) as error:
                self._fail(str(error))
        if self._last_word:
            out.append(self._last_word)
            self.close()
            self.finished = True
        return b"".join(out)

    def close(self) -> None:
        """Close the open file and drop the walk. Idempotent."""
        if self._content is not None:
            self._content.close()
        self._content = self._entries = None

    def _fail(self, reason: str) -> None:
        self.failure = self.failure or reason
        self._last_word = packets.frame_packet(packets.encode_error(self.failure))

    @property
    def waiting(self) -> int:
        """Number of requested files that have not been started."""
        return len(self._asked) - self._next

    @property
    def _has_files(self) -> bool:
        return self._content is not None or self.waiting > 0

    def _fill(self, out: list[bytes], room: int) -> None:
        left = room - self._announce_entries(out, self._choose_stats_room(room))
        left -= self._deliver(out, left)
        if not self._has_files:
            self._announce_entries(out, left)

    def _choose_stats_room(self, room: int) -> int:
        if self._content is not None and self._content.left > room:
            return room // _STATS_SHARE_OF_LARGE
        return room // _STATS_SHARE if self._has_files else room

    def _announce_entries(self, out: list[bytes], room: int) -> int:
        size = 0
        while self._entries is not None and size < room:
            entry = next(self._entries, None)
            if entry is None:
                self._entries = None
                message = packets.frame_packet(packets.END_OF_STATS)
            else:
                message = packets.frame_packet(packets.encode_stat(entry))
                self._index.add(entry.path, folder=entry.is_folder, size=entry.size if entry.is_regular else -1)
            out.append(message)
            size += len(message)
        return size

    def _deliver(self, out: list[bytes], room: int) -> int:
        size = 0
        while self._has_files and (room - size >= _SMALLEST or not size):
            if self._content is None:
                self._content = self._open_next()
            messages = self._content.read(room - size)
            out += messages
            size += sum(map(len, messages))
            if self._content.done:
                self._content = None
        return size

    def _open_next(self) -> FileContent:
        number = self._asked[self._next]
        self._next += 1
        if self._next == len(self._asked):
            del self._asked[:]
            self._next = 0
        path, size = self._index.take(number)
        return FileContent(self._root, path, number=number, size=size)
