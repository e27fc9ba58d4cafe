"""``containerd.services.content.v1.Content``: blobs go to folders here and come from there.

Source: BuildKit 0.34.2, ``session/content`` (which store is meant comes as metadata), ``cache/remotecache/local`` and
``exporter/oci``; containerd 2.4, ``plugins/services/content/contentserver`` and ``core/content/proxy``. Only what
those call is served: buildkitd asks, reads and writes, one request and its answer after another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import BinaryIO

from ci_buildx.model import debug
from ci_buildx.session.call import Call, Workers, frame_message
from ci_buildx.session.content_layout import Ingest, Layout, Refused
from ci_buildx.session.content_messages import (
    INFO_REQUEST,
    INFO_RESPONSE,
    READ_REQUEST,
    READ_RESPONSE,
    WRITE_REQUEST,
    WRITE_RESPONSE,
    Action,
    Info,
    InfoResponse,
    ReadRequest,
    ReadResponse,
    WriteRequest,
    WriteResponse,
)
from ci_buildx.session.status import Status

_LOG = debug.get_log("session")
_SERVICE = "/containerd.services.content.v1.Content/"
_STORE = "buildkit-attachable-store-id"
_PREFIX = 5
_OVERHEAD = 32
_LARGEST_PIECE = 1 << 20
_WORKERS = Workers("content", limit=64, must_start=True)


class Content:
    """Serves ``layouts`` by the ids that buildkitd knows them by: ``local:FOLDER`` for caches, ``export``."""

    methods = tuple(_SERVICE + name for name in ("Info", "Read", "Write"))

    def __init__(self, layouts: Mapping[str, Layout]) -> None:
        self._layouts = dict(layouts)

    def accept(self, call: Call) -> None:
        """Take a call for one of the layouts."""
        name = call.metadata.get(_STORE, [""])[0]
        layout = self._layouts.get(name)
        _LOG.debug("blobs: store %s", name)
        if layout is None:
            call.finish(Status.NOT_FOUND, f"unknown store {name!r}")
        elif call.path.endswith("/Info"):
            call.take_one(lambda message: _attempt(call, layout, lambda: _tell(call, layout, message)))
        elif call.path.endswith("/Read"):
            call.take_one(lambda message: _attempt(call, layout, lambda: _send(call, layout, message)))
        else:
            _receive(call, layout)


def _attempt(call: Call, layout: Layout, work: Callable[[], None]) -> None:
    try:
        work()
    except Refused as refused:
        call.finish(refused.status, str(refused))
    except OSError as error:
        call.finish(Status.UNKNOWN, f"cannot use {layout.folder}: {error.strerror}")


def _tell(call: Call, layout: Layout, message: bytes) -> None:
    digest = INFO_REQUEST.decode(message).digest
    with layout.open(digest) as blob:
        status = os.fstat(blob.fileno())
    info = Info(digest, status.st_size, status.st_mtime, status.st_mtime)
    call.reply(INFO_RESPONSE.encode(InfoResponse(info)))


def _send(call: Call, layout: Layout, message: bytes) -> None:
    request = READ_REQUEST.decode(message)
    blob = layout.open(request.digest)
    try:
        reading = _Reading(blob, request)
    except BaseException:
        blob.close()
        raise

    def produce(room: int) -> bytes:
        produced: list[bytes] = []
        _attempt(call, layout, lambda: produced.append(reading.produce(room)))
        if reading.finished:
            call.finish()
        if call.finished:
            blob.close()
        return b"".join(produced)

    call.on_lost = lambda _: blob.close()
    call.produce(produce)


class _Reading:
    """A blob on its way out, in messages of the room that there is."""

    def __init__(self, blob: BinaryIO, request: ReadRequest) -> None:
        size = os.fstat(blob.fileno()).st_size
        self._blob = blob
        self._digest = request.digest
        self._offset = max(0, request.offset)
        if self._offset > size:
            raise Refused(Status.OUT_OF_RANGE, f"{request.digest} has {size} bytes")
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
            raise Refused(Status.UNKNOWN, f"{self._digest} has become shorter while it was read")
        message = READ_RESPONSE.encode(ReadResponse(self._offset, data))
        self._offset += len(data)
        return frame_message(message)


def _receive(call: Call, layout: Layout) -> None:
    """Write in a thread of its own: hashing and a slow disk stop this stream and no other."""
    messages: SimpleQueue[bytes | None] = SimpleQueue()

    def work() -> None:
        call.run(_attempt, call, layout, lambda: _write(call, layout, messages))
        call.finish()

    call.holds_credit = call.is_bulk = True
    call.on_message = messages.put
    call.on_end = lambda: messages.put(None)
    call.on_lost = lambda _: messages.put(None)
    _WORKERS.submit(call, work)


def _write(call: Call, layout: Layout, messages: SimpleQueue[bytes | None]) -> None:
    """Follow the requests up to the commit; without one nothing is kept."""
    message = messages.get()
    if message is None:
        return
    request = WRITE_REQUEST.decode(message)
    with layout.ingest(request.expected) as ingest:
        while message is not None:
            request = WRITE_REQUEST.decode(message)
            call.consumed(len(message) + _PREFIX)
            answer = WRITE_RESPONSE.encode(_step(layout, ingest, request))
            if request.action == Action.COMMIT:
                break
            call.send(answer)
            message = messages.get()
        else:
            return
    call.send(answer)


def _step(layout: Layout, ingest: Ingest, request: WriteRequest) -> WriteResponse:
    """Do what one request wants."""
    if request.expected and layout.has(request.expected):
        raise Refused(Status.ALREADY_EXISTS, f"{request.expected} is there already")
    if request.action != Action.STAT:
        _add(ingest, request)
    if request.action == Action.COMMIT:
        ingest.commit(total=request.total, expected=request.expected)
    return WriteResponse(request.action, ingest.offset, request.total, ingest.digest)


def _add(ingest: Ingest, request: WriteRequest) -> None:
    if request.offset == 0 and ingest.offset:
        ingest.restart()
    elif request.offset != ingest.offset:
        raise Refused(Status.OUT_OF_RANGE, f"offset {request.offset} where {ingest.offset} bytes have come")
    ingest.write(request.data)
