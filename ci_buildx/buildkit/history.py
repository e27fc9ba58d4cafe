"""BuildKit's history of finished builds: its records, and the blobs that they name.

``history.proto`` defines the messages. Source: BuildKit 0.34.2, ``control/control.go`` (ListenBuildHistory,
UpdateBuildHistory), ``solver/llbsolver/history`` (the queue); containerd's content service serves the blobs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from itertools import islice
from typing import Any

from ci_buildx.buildkit import grpc as buildkit_grpc
from ci_buildx.buildkit.messages import ENTRY, RPC_STATUS, STATUS_RESPONSE, ExporterEntry, RpcStatus
from ci_buildx.errors import BuildkitError
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.status import StatusUpdate
from ci_buildx.session.content import INFO_REQUEST, READ_REQUEST, READ_RESPONSE, InfoRequest, ReadRequest
from ci_buildx.wire.protobuf import (
    BOOLEAN,
    INTEGER,
    TEXT,
    MessageSchema,
    encode_length_delimited,
    make_field,
    make_map_field,
    make_repeated_field,
)

LARGEST_BLOB = 64 << 20
"""Maximum size in bytes of a blob that is read into memory: traces of large builds have some MiB."""
MOST_EVENTS = 100_000
"""Maximum number of records of one answer: a busy pod has some thousands in two days."""
_CONTROL = "/moby.buildkit.v1.Control/"
_CONTENT = "/containerd.services.content.v1.Content/"
_CLOCK = "buildkit-current-timestamp"
"""Metadata of the answer with buildkitd's clock, which running builds are measured by."""


class RecordState(IntEnum):
    """The type of an event."""

    STARTED = 0
    COMPLETE = 1
    DELETED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRequest:
    """Which records to list: those of ``ref`` ("" for all) that match ``filter``, at most ``limit`` (0: no limit)."""

    ref: str = ""
    filter: tuple[str, ...] = ()
    limit: int = 0
    early_exit: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryChange:
    """What to do with the record of ``ref``: delete it, or complete its trace now."""

    ref: str
    delete: bool = False
    finalize: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A time since the epoch, to the nanosecond."""

    seconds: int = 0
    nanos: int = 0

    @property
    def nanoseconds(self) -> int:
        """The time in nanoseconds since the epoch."""
        return self.seconds * 1_000_000_000 + self.nanos


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordBlob:
    """The descriptor of a blob that belongs to a record."""

    media_type: str = ""
    digest: str = ""
    size: int = 0
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedBlob:
    """A result, by the place of its exporter."""

    key: int = 0
    value: RecordBlob | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordResult:
    """What a build made: attestations, and what its exporters returned."""

    result_deprecated: RecordBlob | None = None
    attestations: tuple[RecordBlob, ...] = ()
    results: tuple[NumberedBlob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """One build in the history. ``results`` are those of several platforms, by platform."""

    ref: str = ""
    frontend: str = ""
    frontend_attrs: Mapping[str, str] = field(default_factory=dict)
    exporters: tuple[ExporterEntry, ...] = ()
    error: RpcStatus | None = None
    created_at: Moment | None = None
    completed_at: Moment | None = None
    logs: RecordBlob | None = None
    exporter_response: Mapping[str, str] = field(default_factory=dict)
    result: RecordResult | None = None
    results: Mapping[str, RecordResult] = field(default_factory=dict)
    generation: int = 0
    trace: RecordBlob | None = None
    pinned: bool = False
    cached_steps: int = 0
    total_steps: int = 0
    completed_steps: int = 0
    external_error: RecordBlob | None = None
    warnings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent:
    """A record with its state."""

    type: int = RecordState.STARTED
    record: BuildRecord | None = None


# Tables of history.proto, written by dev/protos.py.
HISTORY_REQUEST = MessageSchema(
    HistoryRequest,
    make_field(2, "ref", TEXT),
    make_field(3, "early_exit", BOOLEAN),
    make_repeated_field(4, "filter", TEXT),
    make_field(5, "limit", INTEGER),
)
MOMENT = MessageSchema(Moment, make_field(1, "seconds", INTEGER), make_field(2, "nanos", INTEGER))
RECORD_BLOB = MessageSchema(
    RecordBlob,
    make_field(1, "media_type", TEXT),
    make_field(2, "digest", TEXT),
    make_field(3, "size", INTEGER),
    make_map_field(5, "annotations"),
)
NUMBERED_BLOB = MessageSchema(NumberedBlob, make_field(1, "key", INTEGER), make_field(2, "value", RECORD_BLOB))
RECORD_RESULT = MessageSchema(
    RecordResult,
    make_field(1, "result_deprecated", RECORD_BLOB),
    make_repeated_field(2, "attestations", RECORD_BLOB),
    make_repeated_field(3, "results", NUMBERED_BLOB),
)
BUILD_RECORD = MessageSchema(
    BuildRecord,
    make_field(1, "ref", TEXT),
    make_field(2, "frontend", TEXT),
    make_map_field(3, "frontend_attrs"),
    make_repeated_field(4, "exporters", ENTRY),
    make_field(5, "error", RPC_STATUS),
    make_field(6, "created_at", MOMENT),
    make_field(7, "completed_at", MOMENT),
    make_field(8, "logs", RECORD_BLOB),
    make_map_field(9, "exporter_response"),
    make_field(10, "result", RECORD_RESULT),
    make_map_field(11, "results", RECORD_RESULT),
    make_field(12, "generation", INTEGER),
    make_field(13, "trace", RECORD_BLOB),
    make_field(14, "pinned", BOOLEAN),
    make_field(15, "cached_steps", INTEGER),
    make_field(16, "total_steps", INTEGER),
    make_field(17, "completed_steps", INTEGER),
    make_field(18, "external_error", RECORD_BLOB),
    make_field(19, "warnings", INTEGER),
)
HISTORY_EVENT = MessageSchema(HistoryEvent, make_field(1, "type", INTEGER), make_field(2, "record", BUILD_RECORD))
HISTORY_CHANGE = MessageSchema(
    HistoryChange, make_field(1, "ref", TEXT), make_field(3, "delete", BOOLEAN), make_field(4, "finalize", BOOLEAN)
)
# End of the tables.


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryListing:
    """The records of one buildkitd, and its clock as RFC 3339 ("" before 0.20)."""

    events: tuple[HistoryEvent, ...]
    clock: str


class BuildHistory:
    """The history of the buildkitd behind ``channel``. Every method raises BuildkitError if its call fails."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def list_records(self, request: HistoryRequest, timeout: float) -> HistoryListing:
        """Return the running and the finished builds; ``timeout`` is in seconds."""
        with _translate_errors("buildkitd did not list its build history"):
            call = self._open(_CONTROL + "ListenBuildHistory")(HISTORY_REQUEST.encode(request), timeout=timeout)
            clock = next((str(value) for name, value in call.initial_metadata() if name == _CLOCK), "")
            events = tuple(map(HISTORY_EVENT.decode, islice(call, MOST_EVENTS + 1)))
        if len(events) > MOST_EVENTS:
            raise BuildkitError(f"buildkitd listed more than {MOST_EVENTS} builds")
        return HistoryListing(events=events, clock=clock)

    def change_record(self, change: HistoryChange, timeout: float) -> None:
        """Delete a record, or complete its trace; ``timeout`` is in seconds."""
        with _translate_errors(f"buildkitd did not change the record {change.ref}"):
            ask = self._channel.unary_unary(_CONTROL + "UpdateBuildHistory")
            ask(HISTORY_CHANGE.encode(change), timeout=timeout)

    def read_status(self, ref: str) -> Iterator[StatusUpdate]:
        """Yield the steps and logs of a build; of a running one, until it ends."""
        with _translate_errors(f"buildkitd did not send the log of {ref}"):
            request = encode_length_delimited(1, ref.encode())
            for message in self._open(_CONTROL + "Status")(request):
                yield STATUS_RESPONSE.decode(message)

    def has_blob(self, digest: str, timeout: float) -> bool:
        """Return whether a blob exists; ``timeout`` is in seconds."""
        import grpc

        try:
            self._channel.unary_unary(_CONTENT + "Info")(
                INFO_REQUEST.encode(InfoRequest(digest=digest)), timeout=timeout
            )
        except grpc.RpcError as error:
            if buildkit_grpc.read_code_name(error) == "NOT_FOUND":
                return False
            raise buildkit_grpc.translate_error(error, f"buildkitd did not look for {digest}") from error
        return True

    def read_pieces(self, digest: str) -> Iterator[bytes]:
        """Yield a blob in pieces; what arrived is verified after the last one.

        Raises BuildkitError if it is missing or does not match its digest.
        """
        algorithm, _, expected = digest.partition(":")
        if algorithm not in ("sha256", "sha512"):
            raise BuildkitError(f"buildkitd named a blob with the invalid digest {digest[:80]!r}")
        found = hashlib.new(algorithm)
        with _translate_errors(f"buildkitd did not send the blob {digest}"):
            for message in self._open(_CONTENT + "Read")(READ_REQUEST.encode(ReadRequest(digest=digest))):
                data = READ_RESPONSE.decode(message).data
                found.update(data)
                yield data
        if found.hexdigest() != expected:
            raise BuildkitError(f"buildkitd sent other content than {digest}")

    def read_blob(self, digest: str) -> bytes:
        """Return a blob. Raises BuildkitError if it has more than ``LARGEST_BLOB`` bytes."""
        content = bytearray()
        for piece in self.read_pieces(digest):
            content += piece
            if len(content) > LARGEST_BLOB:
                raise BuildkitError(f"the blob {digest} has more than {LARGEST_BLOB} bytes")
        return bytes(content)

    def _open(self, method: str) -> Any:
        return self._channel.unary_stream(method)


@contextmanager
def _translate_errors(what: str) -> Iterator[None]:
    import grpc

    try:
        yield
    except grpc.RpcError as error:
        raise buildkit_grpc.translate_error(error, what) from error
    except ValueError as error:
        raise BuildkitError(f"{what}: invalid response: {error}") from error
