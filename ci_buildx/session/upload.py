"""``moby.upload.v1.Upload``: sends an archive that was read from standard input to buildkitd as the context.

Source: BuildKit 0.34.2, ``session/upload`` (the service), ``source/http/transport.go``: the daemon fetches
``http://buildkit-session/ID`` from the session and passes the path in the call's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from ci_buildx.model import debug
from ci_buildx.session.call import GrpcStatus, SessionCall, frame_message
from ci_buildx.wire import protobuf

_LOG = debug.get_log("session")
ADDRESS = "http://buildkit-session/"

_PATH = "urlpath"
_DATA_FIELD = 1
_OVERHEAD = 16
_LARGEST_PIECE = 1 << 20


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
            call.finish(GrpcStatus.NOT_FOUND, f"there is no upload {name!r}")
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
    piece = stream.read(min(max(room - _OVERHEAD, 1), _LARGEST_PIECE))
    if piece:
        return frame_message(protobuf.encode_length_delimited(_DATA_FIELD, piece))
    stream.close()
    call.finish()
    return b""
