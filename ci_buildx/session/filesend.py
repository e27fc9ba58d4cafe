"""``moby.filesync.v1.FileSend``: receives results from buildkitd as a file, a stream or a folder.

Source: BuildKit 0.34.2, ``session/filesync/filesync.go``: metadata hold the exporter's index; ``oci``, ``docker`` and
``tar`` send raw ``BytesMessage``s until they half-close, ``local`` sends fsutil packets with us as the receiver.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

from ci_buildx.errors import KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.fsutil import target as fsutil_target
from ci_buildx.fsutil.receiver import TreeReceiver
from ci_buildx.model import debug
from ci_buildx.session.call import GrpcStatus, SessionCall, Workers
from ci_buildx.session.file_targets import ByteWriter, FolderTarget, StreamTarget, Target
from ci_buildx.wire import protobuf

_LOG = debug.get_log("session")
EXPORTER = "buildkit-attachable-exporter-id"
"""Metadata key of the index of the output that a result is for."""
_DATA_FIELD = 1
_PREFIX = 5
THREADS = 64
"""Maximum number of files and streams that are written at once."""
MOST_FOLDERS = 32
"""Maximum number of folders that are written at once."""

_WORKERS = Workers("output", limit=THREADS, must_start=True)


class FileSendService:
    """Writes results to ``targets``, which maps an exporter's index in the SolveRequest to its destination."""

    methods = ("/moby.filesync.v1.FileSend/DiffCopy",)

    def __init__(
        self, targets: Mapping[int, Target], *, stdout: Callable[[], BinaryIO] = lambda: sys.stdout.buffer
    ) -> None:
        self._targets = dict(targets)
        self._stdout = stdout
        self._folders: list[SessionCall] = []

    def accept(self, call: SessionCall) -> None:
        """Receive the result of one exporter."""
        index = call.metadata.get(EXPORTER, ["0"])[0]
        target = self._targets.get(int(index)) if index.isdecimal() else None
        if _LOG.is_on:
            place = getattr(target, "path", None) or getattr(target, "name", None) or (target and "standard output")
            _LOG.debug("result of exporter %s goes to %s", index, place or "nowhere")
        if target is None:
            call.finish(GrpcStatus.NOT_FOUND, f"exporter {index[:20]} has no destination here")
        elif isinstance(target, FolderTarget):
            self._folders = [one for one in self._folders if not one.finished]
            if len(self._folders) >= MOST_FOLDERS:
                call.finish(GrpcStatus.RESOURCE_EXHAUSTED, f"more than {MOST_FOLDERS} folders are written at once")
                return
            self._folders.append(call)
            _receive_folder(call, target)
        elif isinstance(target, StreamTarget):
            _receive_stream(call, target.opened(), target.name)
        else:
            output = _OutputFile(target.path, self._stdout)
            _receive_stream(call, output, str(output))


def remove_rest(target: Target) -> None:
    """Delete entries that the build did not write from a folder with ``mode=delete``.

    With several nodes, each writes its own folders, so call this only when all have finished. Symlinks are deleted,
    never followed. Raises KubeBuilderError.
    """
    if not isinstance(target, FolderTarget) or not target.built:
        return
    try:
        folder = fsutil_target.TargetFolder(target.path)
        try:
            folder.prune(target.built)
        finally:
            folder.close()
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else str(target.path)
        raise KubeBuilderError(f"cannot remove {name}, which was not built: {error.strerror}") from error


def _receive_folder(call: SessionCall, target: FolderTarget) -> None:
    try:
        receiver = (
            TreeReceiver(target.path, target.built.add) if target.built is not None else TreeReceiver(target.path)
        )
    except OSError as error:
        call.finish(GrpcStatus.UNKNOWN, f"cannot write to {target.path}: {error.strerror}")
        return

    def take(packet: bytes) -> None:
        for answer in receiver.receive(packet):
            call.send(answer)
        if receiver.finished:
            if target.built is not None and not receiver.failure:
                target.built.add(b"")  # the folder itself: an empty result is complete too
            call.finish(GrpcStatus.UNKNOWN if receiver.failure else GrpcStatus.OK, receiver.failure)

    def end() -> None:
        receiver.close()
        call.finish(GrpcStatus.UNKNOWN, "the folder's transfer ended before all of it had come")

    call.is_bulk = True
    call.on_message = take
    call.on_end = end
    call.on_lost = lambda _: receiver.close()


def _receive_stream(call: SessionCall, output: AbstractContextManager[ByteWriter], name: str) -> None:
    """Write in a separate thread, so that a slow reader of our output delays only this stream."""
    pieces: SimpleQueue[bytes | None] = SimpleQueue()
    lost = threading.Event()

    def write() -> None:
        try:
            with output as stream:
                while (message := pieces.get()) is not None:
                    stream.write(_read_content(message))
                    call.return_credit(len(message) + _PREFIX)
                if lost.is_set():
                    raise OSError("the build ended before its result was whole")
        except Exception as error:  # any error must end the call, or the build would hang
            call.finish(GrpcStatus.UNKNOWN, f"cannot write {name}: {getattr(error, 'strerror', None) or error}")
        else:
            call.finish()

    def lose(_: str) -> None:
        lost.set()
        pieces.put(None)

    call.holds_credit = call.is_bulk = True
    call.on_message = pieces.put
    call.on_end = lambda: pieces.put(None)
    call.on_lost = lose
    _WORKERS.submit(call, write)


def _read_content(message: bytes) -> bytes:
    content = b""
    for number, _, value in protobuf.read_fields(message):
        if number == _DATA_FIELD and isinstance(value, bytes):
            content = value
    return content


class _OutputFile(AbstractContextManager[BinaryIO]):
    """A context manager around the output stream: success renames the file into place, failure deletes it."""

    def __init__(self, path: Path | None, stdout: Callable[[], BinaryIO]) -> None:
        self._path = path
        self._open_stdout = stdout
        self._partial: Path | None = None
        self._stream: BinaryIO | None = None

    def __str__(self) -> str:
        return str(self._path) if self._path else "to standard output"

    def __enter__(self) -> BinaryIO:
        if self._path is None:
            self._stream = self._open_stdout()
        elif self._path.exists() and not self._path.is_file():  # write to a device or FIFO instead of replacing it
            self._stream = self._path.open("wb")
        else:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = scratch.open_partial(self._path)
            self._partial = Path(self._stream.name)
        return self._stream

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._stream is not None
        try:
            if self._path is None:
                self._stream.flush()
            else:
                self._stream.close()
            if kind is None and self._partial and self._path:
                self._partial.replace(self._path)
                self._partial = None
        finally:
            if self._partial:
                self._partial.unlink(missing_ok=True)
