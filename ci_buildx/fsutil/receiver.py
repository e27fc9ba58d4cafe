"""The receiving end of a transfer: checks the order of entries and writes them to disk.

Source: fsutil (as BuildKit 0.34.2 pins it), ``validator.go`` and ``hardlinks.go``: depth first, each folder before
its content, names in byte order, a hardlink after the file it refers to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from ci_buildx.fsutil import packets
from ci_buildx.fsutil.entry import TreeEntry, format_path
from ci_buildx.fsutil.packets import PacketKind
from ci_buildx.fsutil.target import FileDraft, TargetFolder


class EntryOrder:
    """Validates the order of a stream of entries."""

    def __init__(self) -> None:
        # The last entry's folder and its parents, each with the last name seen in it.
        self._folders: list[tuple[bytes, bytes]] = [(b"", b"")]
        self._files: set[bytes] = set()

    def check(self, entry: TreeEntry) -> None:
        """Accept the next entry; raise ValueError if it is out of order or escapes the tree."""
        path = entry.path
        if not path or b"\0" in path or any(part in (b"", b".", b"..") for part in path.split(b"/")):
            raise ValueError(f'"{format_path(path)}" is not a clean relative path')
        parent, _, name = path.rpartition(b"/")
        folders = self._folders
        while folders and folders[-1][0] != parent:
            folders.pop()
        if not folders or folders[-1][1] >= name:
            raise ValueError(f'"{format_path(path)}" comes out of order or without its folder')
        folders[-1] = (parent, name)
        if entry.is_folder:
            folders.append((path, b""))
        elif not entry.is_symlink:
            self._check_link(entry)

    def _check_link(self, entry: TreeEntry) -> None:
        if not entry.linkname:
            self._files.add(entry.path)
        elif entry.linkname not in self._files:
            raise ValueError(
                f'"{format_path(entry.path)}" is a link to "{format_path(entry.linkname)}", which was not received'
            )


# Maximum number of requested, incomplete files; the sender works on four at a time.
_ASKED_AT_ONCE = 128
MOST_ENTRIES = 4 << 20
"""Maximum number of files, folders and links that a session receives, in however many trees."""
MOST_NAMED = 512 << 20
"""Maximum total size in bytes of their names, link targets and extended attributes."""
MOST_OPEN = 16
"""Maximum number of partly received files."""


class EntryAllowance:
    """What all trees of a session may still announce; entries of trees that are complete count, too."""

    def __init__(self, *, entries: int = MOST_ENTRIES, named: int = MOST_NAMED) -> None:
        self._entries = entries
        self._named = named
        self._reason = f"it has more than {entries} files, or names of more than {named} bytes"

    def take(self, entry: TreeEntry) -> None:
        """Count an entry. Raises ValueError if it is one too many."""
        self._entries -= 1
        self._named -= len(entry.path) + len(entry.linkname)
        if entry.xattrs:
            self._named -= sum(len(name) + len(value) for name, value in entry.xattrs.items())
        if self._entries < 0 or self._named < 0:
            raise ValueError(self._reason)


class TreeReceiver:
    """Writes a received tree below ``target``, which is created if missing (raises OSError).

    ``receive`` takes a packet and returns the replies. Once ``finished`` is true, end the call: with OK, or, if
    ``failure`` is not empty, with that as its error. Always call ``close``. ``announced`` is called with the path of
    every entry. ``allowance`` is shared by the trees of one session.
    """

    def __init__(
        self,
        target: Path,
        announced: Callable[[bytes], None] = lambda _: None,
        *,
        allowance: EntryAllowance | None = None,
    ) -> None:
        self._target = TargetFolder(target)
        self._hear = announced
        self._allowance = allowance or EntryAllowance()
        self._order = EntryOrder()
        self._count = 0
        self._all_announced = False
        self._waiting: deque[tuple[int, TreeEntry]] = deque()
        self._asked: dict[int, TreeEntry] = {}
        self._drafts: dict[int, FileDraft] = {}
        self._links: list[TreeEntry] = []
        self._folders: list[TreeEntry] = []
        self._said_fin = False
        self.finished = False
        self.failure = ""

    def receive(self, packet: bytes) -> list[bytes]:
        """Process a packet of the sender and return the replies; packets after the end or a failure are ignored."""
        if self.finished:
            return []
        try:
            return self._take(packets.decode_packet(packet))
        except (ValueError, OverflowError) as error:  # OverflowError: a device number or time beyond the system's
            return self._fail(f"BuildKit sent an invalid tree: {error}")
        except RecursionError:
            return self._fail("cannot replace a folder of an earlier result: it is nested too deeply")
        except OSError as error:
            return self._fail(f"cannot write the files of the build: {error}")

    def close(self) -> None:
        """Delete incomplete files and close the folder. Idempotent."""
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
        if kind is PacketKind.STAT:
            self._find_announced(packet.entry)
        elif kind is PacketKind.DATA:
            self._write(packet.id, packet.content)
        elif kind is PacketKind.FIN:
            if not self._said_fin:
                raise ValueError("it ended before all files were sent")
            self.finished = True
            self.close()
            return []
        elif kind is PacketKind.ERROR:
            self.failure = f"BuildKit could not send the files: {packet.content.decode(errors='backslashreplace')}"
            self.finished = True
            self.close()
            return []
        elif kind is PacketKind.REQUEST:
            raise ValueError("it requests a file although it is the sender")
        else:
            assert_never(kind)
        return self._answer()

    def _find_announced(self, entry: TreeEntry | None) -> None:
        if entry is None:
            self._all_announced = True
            return
        if self._all_announced:
            raise ValueError(f'"{format_path(entry.path)}" comes after the end')
        self._order.check(entry)
        number = self._count
        self._count += 1
        self._allowance.take(entry)
        self._hear(entry.path)
        if entry.is_folder:
            self._target.make_folder(entry)
            self._folders.append(entry)
        elif not entry.is_regular:
            self._target.make_special(entry)
        elif entry.linkname:
            # Created at the end: the file it refers to may still be incomplete.
            self._links.append(entry)
        else:
            self._waiting.append((number, entry))

    def _write(self, number: int, content: bytes) -> None:
        entry = self._asked.get(number)
        if entry is None:
            raise ValueError(f"content of file number {number} was not requested")
        draft = self._drafts.get(number)
        if draft is None:
            if len(self._drafts) >= MOST_OPEN:
                raise ValueError(f"more than {MOST_OPEN} files arrive at once")
            draft = self._drafts[number] = self._target.open(entry)
        if content:
            if draft.size + len(content) > entry.size:
                raise ValueError(
                    f'"{format_path(entry.path)}" has more bytes than the {entry.size} that were announced'
                )
            draft.write(content)
            return
        if draft.size != entry.size:
            raise ValueError(f'"{format_path(entry.path)}" has {draft.size} bytes, but {entry.size} were announced')
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
