"""Receives results from buildkitd as a file, a stream or a folder, or loads them into a docker daemon.

Source: BuildKit 0.34.2, ``session/filesync/filesync.go``: metadata hold the exporter's index; ``oci``, ``docker`` and
``tar`` send raw ``BytesMessage``s until they half-close, ``local`` sends fsutil packets with us as the receiver.

Source for docker: moby/moby v28, ``api/swagger.yaml`` (``ImageLoad``): a tar file, answered by JSON messages, one of
which may hold ``error`` after a status of 200.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO

from ci_buildx.errors import KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.fsutil import target as fsutil_target
from ci_buildx.fsutil.receiver import EntryAllowance, TreeReceiver
from ci_buildx.model import debug
from ci_buildx.model.documents import parse_json
from ci_buildx.session.call import GrpcStatus, SessionCall, Workers
from ci_buildx.session.file_targets import ByteWriter, FolderTarget, StreamTarget, Target
from ci_buildx.settings.values import DockerDaemon
from ci_buildx.wire import http1, protobuf

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
        self._allowance = EntryAllowance()

    def accept(self, call: SessionCall) -> None:
        """Receive the result of one exporter."""
        index = call.metadata.get(EXPORTER, ["0"])[0]
        target = self._targets.get(int(index)) if index.isdecimal() else None
        if _LOG.is_on:
            place = getattr(target, "path", None) or getattr(target, "name", None) or (target and "standard output")
            _LOG.debug("result of exporter %s goes to %s", index, place or "nowhere")
        if target is None:
            call.finish(GrpcStatus.NOT_FOUND, f"exporter {index[:20]} has no destination")
        elif isinstance(target, FolderTarget):
            self._folders = [one for one in self._folders if not one.finished]
            if len(self._folders) >= MOST_FOLDERS:
                call.finish(GrpcStatus.RESOURCE_EXHAUSTED, f"more than {MOST_FOLDERS} folders are written at once")
                return
            self._folders.append(call)
            _receive_folder(call, target, self._allowance)
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


def _receive_folder(call: SessionCall, target: FolderTarget, allowance: EntryAllowance) -> None:
    announced = target.built.add if target.built is not None else lambda _: None
    try:
        receiver = TreeReceiver(target.path, announced, allowance=allowance)
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
        call.finish(GrpcStatus.UNKNOWN, "the folder's transfer ended before it was complete")

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
                    raise OSError("the build ended before its result was complete")
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


_PATH = "/images/load?quiet=1"
_LARGEST_ANSWER = 1 << 20
_PIECE = 1 << 16
_CONNECT = 10.0
"""Timeout in seconds for connecting to a daemon. Loading an image has no timeout."""


@contextmanager
def open_image_load(daemon: DockerDaemon) -> Iterator[ImageLoader]:
    """Yield a loader for the image's tar file; after a successful exit the daemon has the image.

    Raises KubeBuilderError with the daemon's reason.
    """
    try:
        with _connect(daemon) as connection:
            connection.sendall(http1.encode_request("POST", _PATH, _make_headers(daemon), chunked=True))
            loader = ImageLoader(connection)
            yield loader
            connection.sendall(http1.LAST_CHUNK)
            _check_response(*_answer(connection))
    except (OSError, http1.MalformedResponse) as error:
        raise KubeBuilderError(f"the docker daemon closed the connection: {error}") from error


class ImageLoader:
    """Sends the pieces of an image to a docker daemon."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes, /) -> None:
        """Send a piece; empty pieces are skipped, because an empty chunk would end the body."""
        if data:
            self._connection.sendall(http1.encode_chunk(data))


def _connect(daemon: DockerDaemon) -> socket.socket:
    if daemon.socket is None:
        connection = socket.create_connection((daemon.host, daemon.port), timeout=_CONNECT)
    else:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_CONNECT)
            connection.connect(str(daemon.socket))
        except OSError:
            connection.close()
            raise
    connection.settimeout(None)
    return connection


def _make_headers(daemon: DockerDaemon) -> dict[str, str]:
    host = f"[{daemon.host}]" if ":" in daemon.host else daemon.host
    return {"Host": f"{host}:{daemon.port}" if daemon.socket is None else "docker", "Content-Type": "application/x-tar"}


def _answer(connection: socket.socket) -> tuple[http1.ResponseHead, bytes]:
    """Read the daemon's response, at most :data:`_LARGEST_ANSWER` bytes of its body."""
    response = http1.ResponseReader()
    body = b""
    while not response.finished and len(body) < _LARGEST_ANSWER:
        received = connection.recv(_PIECE)
        if received:
            body += response.feed(received)
        else:
            response.end()
    if response.head is None:
        raise http1.MalformedResponse("no response")
    return response.head, body[:_LARGEST_ANSWER]


def _check_response(head: http1.ResponseHead, body: bytes) -> None:
    reasons = list(_list_reasons(body))
    if head.status != 200:
        raise KubeBuilderError(
            f"the docker daemon refused the image: {' '.join(reasons) or head.reason or head.status}"
        )
    if reasons:
        raise KubeBuilderError(f"the docker daemon could not load the image: {' '.join(reasons)}")


def _list_reasons(answer: bytes) -> Iterator[str]:
    """Yield the error messages: ``error`` of a message in the stream, ``message`` of a refusal."""
    for line in answer.splitlines():
        try:
            message = parse_json(line)
        except ValueError:
            continue
        if isinstance(message, dict):
            for key in ("error", "message"):
                if isinstance(message.get(key), str):
                    yield message[key]
