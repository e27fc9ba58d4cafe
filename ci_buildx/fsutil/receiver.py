"""The receiving side: what a build exports comes in and is written below a folder.

Source: fsutil (as BuildKit 0.34.2 pins it), ``receive.go`` and ``rootdiskwriter.go``; BuildKit 0.34.2,
``session/filesync/diffcopy.go`` (all files are asked for, nothing that is there is deleted, owners are ours).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from ci_buildx.fsutil import packets
from ci_buildx.fsutil.entry import Entry, shown
from ci_buildx.fsutil.order import Order
from ci_buildx.fsutil.packets import Kind
from ci_buildx.fsutil.target import Draft, Target

#: Files that are asked for and not whole yet, at most; the sender works on four at a time.
_ASKED_AT_ONCE = 128
MOST_ENTRIES = 4 << 20
"""Files, folders and links of a tree."""
MOST_NAMED = 512 << 20
"""Bytes of their names, targets and attributes, together."""
MOST_OPEN = 16
"""Files that have begun to come and are not whole."""


class Receiver:
    """Writes a tree below ``target``, which is made where it isn't there (OSError).

    ``receive`` takes a packet and returns those to answer with. ``finished`` says that the call is to be ended: with
    OK, or where ``failure`` is not empty, with that as its error. ``close`` it in any case. ``announced`` hears
    the path of everything that comes, of which there may be ``most`` entries.
    """

    def __init__(
        self, target: Path, announced: Callable[[bytes], None] = lambda _: None, *, most: int = MOST_ENTRIES
    ) -> None:
        self._target = Target(target)
        self._hear = announced
        self._most = most
        self._named = 0
        self._order = Order()
        self._count = 0
        self._all_announced = False
        self._waiting: deque[tuple[int, Entry]] = deque()
        self._asked: dict[int, Entry] = {}
        self._drafts: dict[int, Draft] = {}
        self._links: list[Entry] = []
        self._folders: list[Entry] = []
        self._said_fin = False
        self.finished = False
        self.failure = ""

    def receive(self, packet: bytes) -> list[bytes]:
        """Take a packet of the sender and return what to answer. After a failure, everything is passed over."""
        if self.finished:
            return []
        try:
            return self._take(packets.decode(packet))
        except ValueError as error:
            return self._fail(f"BuildKit sent a tree that is wrong: {error}")
        except OSError as error:
            return self._fail(f"cannot write the files of the build: {error}")

    def close(self) -> None:
        """Remove what is unfinished and let go of the folder. Idempotent."""
        for draft in self._drafts.values():
            draft.discard()
        self._drafts.clear()
        self._target.close()

    def _fail(self, reason: str) -> list[bytes]:
        self.failure = reason
        self.finished = True
        self.close()
        return [packets.encode_error(reason)]

    def _take(self, packet: packets.Packet) -> list[bytes]:
        kind = packet.kind
        if kind is Kind.STAT:
            self._announced(packet.entry)
        elif kind is Kind.DATA:
            self._write(packet.id, packet.content)
        elif kind is Kind.FIN:
            if not self._said_fin:
                raise ValueError("it ended before all files were sent")
            self.finished = True
            self.close()
            return []
        elif kind is Kind.ERROR:
            self.failure = f"BuildKit could not send the files: {packet.content.decode(errors='backslashreplace')}"
            self.finished = True
            self.close()
            return []
        elif kind is Kind.REQUEST:
            raise ValueError("it asks for a file where it is to send")
        else:
            assert_never(kind)
        return self._answer()

    def _announced(self, entry: Entry | None) -> None:
        if entry is None:
            self._all_announced = True
            return
        if self._all_announced:
            raise ValueError(f'"{shown(entry.path)}" comes after the end')
        self._order.check(entry)
        number = self._count
        self._count += 1
        self._named += len(entry.path) + len(entry.linkname)
        if entry.xattrs:
            self._named += sum(len(name) + len(value) for name, value in entry.xattrs.items())
        if self._count > self._most or self._named > MOST_NAMED:
            raise ValueError(f"it has more than {self._most} files, or names of more than {MOST_NAMED} bytes")
        self._hear(entry.path)
        if entry.is_folder:
            self._target.make_folder(entry)
            self._folders.append(entry)
        elif not entry.is_regular:
            self._target.make_special(entry)
        elif entry.linkname:
            # Later: the file that it names may still be on its way.
            self._links.append(entry)
        else:
            self._waiting.append((number, entry))

    def _write(self, number: int, content: bytes) -> None:
        entry = self._asked.get(number)
        if entry is None:
            raise ValueError(f"content of number {number} was not asked for")
        draft = self._drafts.get(number)
        if draft is None:
            if len(self._drafts) >= MOST_OPEN:
                raise ValueError(f"more than {MOST_OPEN} files come at once")
            draft = self._drafts[number] = self._target.open(entry)
        if content:
            if draft.size + len(content) > entry.size:
                raise ValueError(f'"{shown(entry.path)}" has more bytes than the {entry.size} that were announced')
            draft.write(content)
            return
        if draft.size != entry.size:
            raise ValueError(f'"{shown(entry.path)}" has {draft.size} bytes and was announced with {entry.size}')
        del self._drafts[number], self._asked[number]
        draft.finish()

    def _answer(self) -> list[bytes]:
        answers = []
        while self._waiting and len(self._asked) < _ASKED_AT_ONCE:
            number, entry = self._waiting.popleft()
            self._asked[number] = entry
            answers.append(packets.encode_request(number))
        if self._all_announced and not self._asked and not self._said_fin:
            self._complete()
            self._said_fin = True
            answers.append(packets.FIN)
        return answers

    def _complete(self) -> None:
        for link in self._links:
            self._target.make_link(link)
        for folder in reversed(self._folders):
            self._target.finish_folder(folder)
