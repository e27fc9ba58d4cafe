"""The sending side: a context goes out as BuildKit asks for it.

Source: fsutil (as BuildKit 0.34.2 pins it), ``send.go`` and the comment of ``receive.go``. STATs stream while the
tree is still being walked, and what is asked for meanwhile is sent between them.

Where fsutil sends a file that vanished as an empty one and one that shrank as a short one, the sender fails with
ERR, and so does the build: an image with half a file in it is worse than none.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

from ci_buildx.fsutil import packets
from ci_buildx.fsutil.content import Content
from ci_buildx.fsutil.entry import Entry, shown
from ci_buildx.fsutil.errors import ContentError
from ci_buildx.fsutil.index import Index

#: The part of the room that STATs may take while files are waiting: so both sides always have work.
_STATS_SHARE = 4
#: Pieces of a file that are smaller than this are left for the next time: each costs both sides a message.
_CRUMB = 4096


class Sender:
    """Sends the tree at ``root``: a pull producer, which works only while it is asked to.

    ``entries`` are the tree's, folders before their content, as ``walk`` yields them. ``produce`` gives what goes
    out next, ``receive`` takes what came in. When ``finished``, the call is to be ended: with OK, or where
    ``failure`` is not empty, with that as its error.
    """

    def __init__(self, entries: Iterable[Entry], *, root: Path) -> None:
        self._entries: Iterator[Entry] | None = iter(entries)
        self._root = os.fsencode(os.path.realpath(root))
        self._index = Index()
        self._asked = array("Q")
        self._next = 0
        self._content: Content | None = None
        self._last_word = b""
        self.finished = False
        self.failure = ""

    def receive(self, packet: bytes) -> None:
        """Take a packet of the receiver. What is no packet ends the transfer with a ``failure``."""
        if (number := packets.requested(packet)) >= 0:
            self._asked.append(number)
            return
        try:
            message = packets.decode(packet)
        except ValueError as error:
            self._fail(f"BuildKit sent what is no packet: {error}")
            return
        if message.kind is packets.Kind.REQUEST:
            self._asked.append(message.id)
        elif message.kind is packets.Kind.FIN:
            self._last_word = packets.framed(packets.FIN)
        elif message.kind is packets.Kind.ERROR:
            self._fail(f"BuildKit could not take the files: {message.content.decode(errors='backslashreplace')}")
        else:
            self._fail(f"BuildKit sent {message.kind.name} where it is to receive")

    def produce(self, room: int) -> bytes:
        """Return gRPC messages of about ``room`` bytes at most; nothing where the receiver has to speak first."""
        if self.finished or room <= 0:
            return b""
        out: list[bytes] = []
        if not self._last_word:
            try:
                self._fill(out, room)
            except ContentError as error:
                self._fail(str(error))
            except OSError as error:
                self._fail(f"cannot read {shown(os.fsencode(error.filename or '.'))}: {error.strerror}")
            except (ValueError, LookupError) as error:
                self._fail(str(error))
        if self._last_word:
            out.append(self._last_word)
            self.close()
            self.finished = True
        return b"".join(out)

    def close(self) -> None:
        """Let go of the file that is open and of the walk. Idempotent."""
        if self._content is not None:
            self._content.close()
        self._content = self._entries = None

    def _fail(self, reason: str) -> None:
        self.failure = self.failure or reason
        self._last_word = packets.framed(packets.encode_error(self.failure))

    @property
    def waiting(self) -> int:
        """How many files were asked for that have not been begun."""
        return len(self._asked) - self._next

    @property
    def _has_files(self) -> bool:
        return self._content is not None or self.waiting > 0

    def _fill(self, out: list[bytes], room: int) -> None:
        left = room - self._announce(out, room // _STATS_SHARE if self._has_files else room)
        left -= self._deliver(out, left)
        self._announce(out, left)

    def _announce(self, out: list[bytes], room: int) -> int:
        size = 0
        while self._entries is not None and size < room:
            entry = next(self._entries, None)
            if entry is None:
                self._entries = None
                message = packets.framed(packets.END_OF_STATS)
            else:
                message = packets.framed(packets.encode_stat(entry))
                self._index.add(entry.path, folder=entry.is_folder, size=entry.size if entry.is_regular else -1)
            out.append(message)
            size += len(message)
        return size

    def _deliver(self, out: list[bytes], room: int) -> int:
        size = 0
        while self._has_files and (room - size >= _CRUMB or not size):
            if self._content is None:
                self._content = self._open_next()
            messages = self._content.read(room - size)
            out += messages
            size += sum(map(len, messages))
            if self._content.done:
                self._content = None
        return size

    def _open_next(self) -> Content:
        number = self._asked[self._next]
        self._next += 1
        if self._next == len(self._asked):
            del self._asked[:]
            self._next = 0
        path, size = self._index.take(number)
        return Content(self._root, path, number=number, size=size)
