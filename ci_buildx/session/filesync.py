"""``moby.filesync.v1.FileSync``: sends the build context and the Dockerfile's folder to buildkitd.

Source: BuildKit 0.34.2, ``session/filesync/filesync.go``: metadata name the folder and filter its content; a list with
a non-ASCII value is query-escaped as a whole and marked with ``<key>-encoded: 1``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from ci_buildx.fsutil.sender import TreeSender
from ci_buildx.fsutil.walk import walk_tree
from ci_buildx.model import debug
from ci_buildx.session.call import GrpcStatus, SessionCall
from ci_buildx.settings.syntax import GO_TRUE

if TYPE_CHECKING:
    from ci_buildx.fsutil.mtimes import Clock


_LOG = debug.get_log("session")
MOST_CALLS = 64
"""Maximum number of folders that are sent at once."""
MOST_PATTERNS, MOST_PATTERN_BYTES = 16_384, 1 << 20
"""Maximum number and bytes of patterns of all these calls together: each becomes an automaton a hundred times its
size."""

_ENOUGH = 200
"""Requested files to hold, 5 ms of work, while the next requests arrive.

If buildkitd is far away, the whole window serves this purpose: 800 files per round trip are more than buildkitd can
write."""


class FileSyncService:
    """Serves only ``folders``, by name (:data:`file_targets.CONTEXT`, :data:`file_targets.DOCKERFILE`).

    If ``clocks`` has an entry for a folder, it sets the modification times that are sent for the folder's entries. The
    limits are those of ``builds`` that use the service.
    """

    methods = ("/moby.filesync.v1.FileSync/DiffCopy",)

    def __init__(
        self, folders: Mapping[str, Path], clocks: Mapping[str, Clock] | None = None, *, builds: int = 1
    ) -> None:
        self._folders = dict(folders)
        self._builds = builds
        self._clocks = clocks or {}
        self._open: list[tuple[SessionCall, int, int]] = []
        self.sent: dict[str, int] = {}
        """Bytes that have been sent of each folder, with the entries' metadata."""

    def accept(self, call: SessionCall) -> None:
        """Send a folder, filtered according to the call's metadata."""
        name = next(iter(read_list(call.metadata, "dir-name")), "")
        folder = self._folders.get(name)
        if folder is None:
            known = ", ".join(self._folders)
            call.finish(GrpcStatus.NOT_FOUND, f"no access to folder {name[:200]!r}: this build has {known}")
            return
        lists = [read_list(call.metadata, key) for key in ("include-patterns", "exclude-patterns", "followpaths")]
        if reason := self._count(call, lists):
            call.finish(GrpcStatus.RESOURCE_EXHAUSTED, reason)
            return
        include, exclude, follow = lists
        _LOG.debug(
            "files: folder %r (%s); patterns to include %s, to exclude %s, paths to follow %s",
            name,
            folder,
            len(include),
            len(exclude),
            len(follow),
        )
        entries = walk_tree(folder, include=include, exclude=exclude, follow=follow)
        if clock := self._clocks.get(name):
            from ci_buildx.fsutil.mtimes import set_mtimes

            entries = set_mtimes(entries, clock)
        _send_files(call, TreeSender(entries, root=folder), lambda size: self._count_sent(name, size))

    def _count_sent(self, name: str, size: int) -> None:
        self.sent[name] = self.sent.get(name, 0) + size

    def _count(self, call: SessionCall, lists: list[list[str]]) -> str:
        """Count the call against the limits; return the reason if it exceeds one, else ""."""
        self._open = [one for one in self._open if not one[0].finished]
        self._open.append((call, sum(map(len, lists)), sum(len(pattern) for each in lists for pattern in each)))
        if len(self._open) > MOST_CALLS * self._builds:
            return f"more than {MOST_CALLS} folders are requested at once"
        if sum(count for _, count, _ in self._open) > MOST_PATTERNS * self._builds:
            return f"folders are requested with more than {MOST_PATTERNS} patterns"
        if sum(size for _, _, size in self._open) > MOST_PATTERN_BYTES * self._builds:
            return f"folders are requested with patterns of more than {MOST_PATTERN_BYTES} bytes"
        return ""


def read_list(metadata: Mapping[str, list[str]], key: str) -> list[str]:
    """Return the decoded values of a metadata key."""
    values = metadata.get(key, [])
    if metadata.get(f"{key}-encoded", [""])[0] in GO_TRUE:
        return [unquote_plus(value) for value in values]
    return list(values)


def _send_files(call: SessionCall, sender: TreeSender, report: Callable[[int], None]) -> None:
    """Connect ``sender`` to the call; ``report`` is called with the sizes of what is sent.

    buildkitd requests each file in a separate message, which costs both sides more than a small file's content. While
    enough requested files are pending, the peer may not send more requests, so that the next requests arrive in
    batches.
    """

    def receive(packet: bytes) -> None:
        sender.receive(packet)
        call.pause(paused=sender.waiting > _ENOUGH)
        if sender.waiting <= 1:  # with more, it is already awake and still has files to send
            call.wake()

    def produce(room: int) -> bytes:
        packets = sender.produce(room)
        report(len(packets))
        call.pause(paused=sender.waiting > _ENOUGH)
        if sender.finished:
            call.finish(GrpcStatus.UNKNOWN if sender.failure else GrpcStatus.OK, sender.failure)
        return packets

    call.narrow = True
    call.on_message = receive
    call.on_lost = lambda _: sender.close()
    call.produce(produce)
