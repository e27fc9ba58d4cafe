"""The attachables that serve content: blobs of OCI layouts, and archives from standard input.

``content.proto`` defines the messages of ``containerd.services.content.v1.Content``.

Source of ``moby.upload.v1.Upload``: BuildKit 0.34.2, ``session/upload`` (the service), ``source/http/transport.go``:
the daemon fetches ``http://buildkit-session/ID`` from the session and passes the path in the call's metadata.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, NamedTuple

from ci_buildx.model import debug
from ci_buildx.session.call import GrpcStatus, SessionCall, Workers, frame_message
from ci_buildx.session.oci_layout import BlobIngest, LayoutRefusal, OciLayout
from ci_buildx.wire import protobuf
from ci_buildx.wire.protobuf import BYTES, INTEGER, TEXT, TIME, MessageSchema, make_field


class Action(IntEnum):
    """The action of a write request."""

    STAT = 0
    WRITE = 1
    COMMIT = 2


class Info(NamedTuple):
    """Metadata of a blob: size in bytes, times in seconds since the epoch."""

    digest: str = ""
    size: int = 0
    created_at: float | None = None
    updated_at: float | None = None


class InfoRequest(NamedTuple):
    """A request for the metadata of a blob."""

    digest: str = ""


class InfoResponse(NamedTuple):
    """The metadata of an existing blob."""

    info: Info | None = None


class ReadRequest(NamedTuple):
    """A request for ``size`` bytes (0: all remaining) of a blob from ``offset`` on."""

    digest: str = ""
    offset: int = 0
    size: int = 0


class ReadResponse(NamedTuple):
    """A piece of a blob."""

    offset: int = 0
    data: bytes = b""


class WriteRequest(NamedTuple):
    """A step of writing a blob; ``total`` and ``expected`` (its digest) are zero and empty while unknown."""

    action: int = Action.STAT
    total: int = 0
    expected: str = ""
    offset: int = 0
    data: bytes = b""


class WriteResponse(NamedTuple):
    """The progress of writing; ``digest`` is that of the bytes written so far."""

    action: int = Action.STAT
    offset: int = 0
    total: int = 0
    digest: str = ""


# Tables of content.proto, written by dev/protos.py.
_INFO = MessageSchema(
    Info,
    make_field(1, "digest", TEXT),
    make_field(2, "size", INTEGER),
    make_field(3, "created_at", TIME),
    make_field(4, "updated_at", TIME),
)
INFO_REQUEST = MessageSchema(InfoRequest, make_field(1, "digest", TEXT))
INFO_RESPONSE = MessageSchema(InfoResponse, make_field(1, "info", _INFO))
READ_REQUEST = MessageSchema(
    ReadRequest, make_field(1, "digest", TEXT), make_field(2, "offset", INTEGER), make_field(3, "size", INTEGER)
)
READ_RESPONSE = MessageSchema(ReadResponse, make_field(1, "offset", INTEGER), make_field(2, "data", BYTES))
WRITE_REQUEST = MessageSchema(
    WriteRequest,
    make_field(1, "action", INTEGER),
    make_field(3, "total", INTEGER),
    make_field(4, "expected", TEXT),
    make_field(5, "offset", INTEGER),
    make_field(6, "data", BYTES),
)
WRITE_RESPONSE = MessageSchema(
    WriteResponse,
    make_field(1, "action", INTEGER),
    make_field(4, "offset", INTEGER),
    make_field(5, "total", INTEGER),
    make_field(6, "digest", TEXT),
)
# End of the tables.


_LOG = debug.get_log("session")
_SERVICE = "/containerd.services.content.v1.Content/"
_STORE = "buildkit-attachable-store-id"
_PREFIX = 5
_OVERHEAD = 32
_LARGEST_PIECE = 1 << 20
_WORKERS = Workers("content", limit=64, must_start=True)


class ContentService:
    """Serves ``layouts`` by the ids that buildkitd uses: ``local:FOLDER`` for caches, ``export``."""

    methods = tuple(_SERVICE + name for name in ("Info", "Read", "Write"))

    def __init__(self, layouts: Mapping[str, OciLayout]) -> None:
        self._layouts = dict(layouts)

    def accept(self, call: SessionCall) -> None:
        """Serve a call on one of the layouts."""
        name = call.metadata.get(_STORE, [""])[0]
        layout = self._layouts.get(name)
        _LOG.debug("blobs: store %s", name)
        if layout is None:
            call.finish(GrpcStatus.NOT_FOUND, f"unknown store {name!r}")
        elif call.path.endswith("/Info"):
            call.take_one(lambda message: _run_attempt(call, layout, lambda: _answer_info(call, layout, message)))
        elif call.path.endswith("/Read"):
            call.take_one(lambda message: _run_attempt(call, layout, lambda: _send_blob(call, layout, message)))
        else:
            _receive_blob(call, layout)


def _run_attempt(call: SessionCall, layout: OciLayout, work: Callable[[], None]) -> None:
    try:
        work()
    except LayoutRefusal as refused:
        call.finish(refused.status, str(refused))
    except OSError as error:
        call.finish(GrpcStatus.UNKNOWN, f"cannot use {layout.folder}: {error.strerror}")


def _answer_info(call: SessionCall, layout: OciLayout, message: bytes) -> None:
    digest = INFO_REQUEST.decode(message).digest
    with layout.open(digest) as blob:
        status = os.fstat(blob.fileno())
    info = Info(digest, status.st_size, status.st_mtime, status.st_mtime)
    call.reply(INFO_RESPONSE.encode(InfoResponse(info)))


def _send_blob(call: SessionCall, layout: OciLayout, message: bytes) -> None:
    request = READ_REQUEST.decode(message)
    blob = layout.open(request.digest)
    try:
        reading = _BlobReader(blob, request)
    except BaseException:
        blob.close()
        raise

    def produce(room: int) -> bytes:
        produced: list[bytes] = []
        _run_attempt(call, layout, lambda: produced.append(reading.produce(room)))
        if reading.finished:
            call.finish()
        if call.finished:
            blob.close()
        return b"".join(produced)

    call.on_lost = lambda _: blob.close()
    call.produce(produce)


class _BlobReader:
    """A blob being sent, in messages that fit the available room."""

    def __init__(self, blob: BinaryIO, request: ReadRequest) -> None:
        size = os.fstat(blob.fileno()).st_size
        self._blob = blob
        self._digest = request.digest
        self._offset = max(0, request.offset)
        if self._offset > size:
            raise LayoutRefusal(GrpcStatus.OUT_OF_RANGE, f"{request.digest} has {size} bytes")
        self._end = min(size, self._offset + request.size) if request.size > 0 else size
        blob.seek(self._offset)

    @property
    def finished(self) -> bool:
        return self._offset >= self._end

    def produce(self, room: int) -> bytes:
        if self.finished:
            return b""
        data = self._blob.read(min(self._end - self._offset, max(1, room - _OVERHEAD), _LARGEST_PIECE))
        if not data:
            raise LayoutRefusal(GrpcStatus.UNKNOWN, f"{self._digest} was truncated while it was read")
        message = READ_RESPONSE.encode(ReadResponse(self._offset, data))
        self._offset += len(data)
        return frame_message(message)


def _receive_blob(call: SessionCall, layout: OciLayout) -> None:
    """Write in a separate thread: hashing and a slow disk delay only this stream."""
    messages: SimpleQueue[bytes | None] = SimpleQueue()

    def work() -> None:
        call.run(_run_attempt, call, layout, lambda: _write_blob(call, layout, messages))
        call.finish()

    call.holds_credit = call.is_bulk = True
    call.on_message = messages.put
    call.on_end = lambda: messages.put(None)
    call.on_lost = lambda _: messages.put(None)
    _WORKERS.submit(call, work)


def _write_blob(call: SessionCall, layout: OciLayout, messages: SimpleQueue[bytes | None]) -> None:
    """Process the requests up to the commit; without a commit nothing is kept."""
    message = messages.get()
    if message is None:
        return
    request = WRITE_REQUEST.decode(message)
    with layout.ingest(request.expected) as ingest:
        while message is not None:
            request = WRITE_REQUEST.decode(message)
            call.return_credit(len(message) + _PREFIX)
            answer = WRITE_RESPONSE.encode(_apply_request(layout, ingest, request))
            if request.action == Action.COMMIT:
                break
            call.send(answer)
            message = messages.get()
        else:
            return
    call.send(answer)


def _apply_request(layout: OciLayout, ingest: BlobIngest, request: WriteRequest) -> WriteResponse:
    """Apply one request and return its response."""
    if request.expected and layout.has(request.expected):
        raise LayoutRefusal(GrpcStatus.ALREADY_EXISTS, f"{request.expected} already exists")
    if request.action != Action.STAT:
        _add_data(ingest, request)
    if request.action == Action.COMMIT:
        ingest.commit(total=request.total, expected=request.expected)
    return WriteResponse(request.action, ingest.offset, request.total, ingest.digest)


def _add_data(ingest: BlobIngest, request: WriteRequest) -> None:
    if request.offset == 0 and ingest.offset:
        ingest.restart()
    elif request.offset != ingest.offset:
        raise LayoutRefusal(GrpcStatus.OUT_OF_RANGE, f"offset {request.offset} of {ingest.offset} received bytes")
    ingest.write(request.data)


ADDRESS = "http://buildkit-session/"

_PATH = "urlpath"
_DATA_FIELD = 1
_UPLOAD_OVERHEAD = 16


class UploadService:
    """Serves ``archives`` by the last part of their URL below :data:`ADDRESS`."""

    methods = ("/moby.upload.v1.Upload/Pull",)

    def __init__(self, archives: Mapping[str, Path]) -> None:
        self._archives = dict(archives)

    def accept(self, call: SessionCall) -> None:
        """Send an archive."""
        name = call.metadata.get(_PATH, [""])[0].rpartition("/")[2]
        path = self._archives.get(name)
        _LOG.debug("upload: archive %s", name)
        if path is None:
            call.finish(GrpcStatus.NOT_FOUND, f"unknown upload {name!r}")
            return
        try:
            stream = path.open("rb", buffering=0)
        except OSError as error:
            call.finish(GrpcStatus.UNKNOWN, f"cannot read the context {path}: {error.strerror}")
            return
        call.on_lost = lambda _: stream.close()
        call.produce(lambda room: _read_piece(call, stream, room))


def _read_piece(call: SessionCall, stream: BinaryIO, room: int) -> bytes:
    if room <= 0:
        return b""
    piece = stream.read(min(max(room - _UPLOAD_OVERHEAD, 1), _LARGEST_PIECE))
    if piece:
        return frame_message(protobuf.encode_length_delimited(_DATA_FIELD, piece))
    stream.close()
    call.finish()
    return b""
