"""A buildkitd that answers as the test says, on a loopback address, with the certificates of its builder's Secret."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from ci_buildx.builder.builder import CA_FILE, PORT
from ci_buildx.builder.manifests.buildkitd import CERTIFICATE_FILE, KEY_FILE
from ci_buildx.buildkit.gateway import REQUEST, FrontendRequest
from ci_buildx.buildkit.grpc import load_grpc
from ci_buildx.buildkit.history import (
    HISTORY_CHANGE,
    HISTORY_EVENT,
    HISTORY_REQUEST,
    BuildRecord,
    HistoryChange,
    HistoryEvent,
    HistoryRequest,
    RecordBlob,
    RecordResult,
    RecordState,
)
from ci_buildx.buildkit.messages import (
    PRUNE_REQUEST,
    SOLVE_REQUEST,
    STATUS_RESPONSE,
    USAGE_RECORD,
    PruneRequest,
    SolveRequest,
    UsageRecord,
)
from ci_buildx.model.status import Vertex, VertexLog
from ci_buildx.session.content import INFO_REQUEST, READ_REQUEST, READ_RESPONSE, ReadResponse
from ci_buildx.wire.protobuf import MessageSchema, encode_length_delimited

VERSION = "v0.34.2"
_HESITATION = 0.2
_PIECE = 100
DIGEST = f"sha256:{'a' * 64}"


def _compute_digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _make_request(**fields: Any) -> SolveRequest:
    return SolveRequest(**{name: value for name, value in fields.items() if not name.endswith("_deprecated")})


_REQUEST = MessageSchema(_make_request, *SOLVE_REQUEST._fields)


class SolveFault(Exception):
    """Ends a Solve with a gRPC status."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


STEP = Vertex(digest="sha256:1", name="[1/1] FROM base", started=1.0, completed=2.0)


@dataclass
class Script:
    """What the buildkitds of all pods answer, and what they were asked.

    ``answer`` returns the exporters' response to a Solve, or raises SolveFault. ``call`` is the frontend's answer to a
    call. ``warnings`` are reported for the only step, which prints ``output``. ``records`` are in each pod's cache,
    ``history`` and ``blobs`` (by digest) in its history, whose clock is ``clock``. ``provenance`` is the predicate in
    the record of each build, without which there is none. ``traces`` are the spans that the Solves were below.
    """

    answer: Callable[[SolveRequest], Mapping[str, str]] = lambda _: {"containerimage.digest": DIGEST}
    call: Callable[[FrontendRequest], Mapping[str, str]] = lambda _: {}
    warnings: tuple[str, ...] = ()
    output: bytes = b""
    records: tuple[UsageRecord, ...] = ()
    provenance: bytes = b""
    history: list[BuildRecord] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    clock: str = "2026-11-30T10:00:00Z"
    listed: list[HistoryRequest] = field(default_factory=list)
    changed: list[HistoryChange] = field(default_factory=list)
    solved: list[SolveRequest] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    called: list[FrontendRequest] = field(default_factory=list)
    pruned: list[PruneRequest] = field(default_factory=list)

    @property
    def status(self) -> bytes:
        """The only message of Status."""
        place = SimpleNamespace(filename="Dockerfile", data=b"FROM scratch\n", language="Dockerfile")
        warnings = [
            SimpleNamespace(vertex=STEP.digest, level=1, short=text, detail=(), url="", info=place, ranges=())
            for text in self.warnings
        ]
        logs = (VertexLog(vertex=STEP.digest, timestamp=1.5, data=self.output),) if self.output else ()
        return STATUS_RESPONSE.encode(SimpleNamespace(vertexes=(STEP,), statuses=(), logs=logs, warnings=warnings))


class ScriptedBuildkitd:
    """The daemon of one pod, which runs ``platforms``; ``files`` are its Secret's."""

    def __init__(self, script: Script, ip: str, platforms: tuple[str, ...], files: Mapping[str, str]) -> None:
        self._script = script
        self._platforms = platforms
        self._ended = threading.Event()
        self._told = threading.Event()
        self._returned = threading.Event()
        grpc = load_grpc()
        control = {
            "Info": grpc.unary_unary_rpc_method_handler(self._tell_version),
            "ListWorkers": grpc.unary_unary_rpc_method_handler(self._list_workers),
            "Solve": grpc.unary_unary_rpc_method_handler(self._solve),
            "Status": grpc.unary_stream_rpc_method_handler(self._report),
            "Session": grpc.stream_stream_rpc_method_handler(self._serve),
            "DiskUsage": grpc.unary_unary_rpc_method_handler(self._read_usage),
            "Prune": grpc.unary_stream_rpc_method_handler(self._prune),
            "ListenBuildHistory": grpc.unary_stream_rpc_method_handler(self._list_history),
            "UpdateBuildHistory": grpc.unary_unary_rpc_method_handler(self._change_history),
        }
        content = {
            "Info": grpc.unary_unary_rpc_method_handler(self._find_blob),
            "Read": grpc.unary_stream_rpc_method_handler(self._read_blob),
        }
        bridge = {
            "Solve": grpc.unary_unary_rpc_method_handler(self._ask_frontend),
            "Return": grpc.unary_unary_rpc_method_handler(self._end_call),
        }
        self._server = grpc.server(ThreadPoolExecutor(8))
        services = {
            "moby.buildkit.v1.Control": control,
            "moby.buildkit.v1.frontend.LLBBridge": bridge,
            "containerd.services.content.v1.Content": content,
        }
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, one) for name, one in services.items()]
        )
        keys = {name: base64.b64decode(text) for name, text in files.items()}
        credentials = grpc.ssl_server_credentials(
            [(keys[KEY_FILE], keys[CERTIFICATE_FILE])], keys[CA_FILE], require_client_auth=True
        )
        self._server.add_secure_port(f"{ip}:{PORT}", credentials)
        self._server.start()

    def stop(self) -> None:
        """End all calls and free the port."""
        self._ended.set()
        self._told.set()
        self._returned.set()
        self._server.stop(None).wait()

    def _tell_version(self, _: bytes, __: Any) -> bytes:
        return encode_length_delimited(1, encode_length_delimited(2, VERSION.encode()))

    def _list_workers(self, _: bytes, __: Any) -> bytes:
        worker = encode_length_delimited(1, b"worker")
        for platform in self._platforms:
            system, architecture = platform.split("/")
            parts = encode_length_delimited(1, architecture.encode()) + encode_length_delimited(2, system.encode())
            worker += encode_length_delimited(3, parts)
        worker += encode_length_delimited(5, encode_length_delimited(2, VERSION.encode()))
        return encode_length_delimited(1, worker)

    def _solve(self, message: bytes, context: Any) -> bytes:
        request = _REQUEST.decode(message)
        self._script.solved.append(request)
        self._script.traces.append(dict(context.invocation_metadata()).get("traceparent", ""))
        self._told.wait(20)
        if not request.frontend:
            self._returned.wait(20)
            return b""
        try:
            return _encode_pairs(1, self._script.answer(request))
        except SolveFault as fault:
            context.abort(getattr(load_grpc().StatusCode, fault.code), str(fault))
            raise AssertionError from fault

    def _ask_frontend(self, message: bytes, _: Any) -> bytes:
        request = REQUEST.decode(message)
        self._script.called.append(request)
        return encode_length_delimited(3, _encode_pairs(10, self._script.call(request)))

    def _end_call(self, _: bytes, __: Any) -> bytes:
        """End the build; its Solve may return before this call does."""
        self._returned.set()
        self._ended.wait(_HESITATION)
        return b""

    def _report(self, _: bytes, __: Any) -> Iterator[bytes]:
        yield self._script.status
        self._told.set()

    def _serve(self, incoming: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Ask nothing: what a session answers is tested in ``tests/unit/session``."""
        gone = threading.Event()
        context.add_callback(gone.set)
        while not (self._ended.is_set() or gone.wait(0.05)):
            pass
        return iter(())

    def _read_usage(self, _: bytes, __: Any) -> bytes:
        return b"".join(encode_length_delimited(1, USAGE_RECORD.encode(record)) for record in self._script.records)

    def _list_history(self, message: bytes, context: Any) -> Iterator[bytes]:
        """Apply no filters, as buildkitd applies none to running builds."""
        request = HISTORY_REQUEST.decode(message)
        self._script.listed.append(request)
        context.send_initial_metadata((("buildkit-current-timestamp", self._script.clock),))
        for record in self._script.history:
            if request.ref in ("", record.ref):
                state = RecordState.STARTED if record.completed_at is None else RecordState.COMPLETE
                yield HISTORY_EVENT.encode(HistoryEvent(type=state, record=record))
        if self._script.provenance:
            attestation = RecordBlob(
                media_type="application/vnd.in-toto+json",
                digest=_compute_digest(self._script.provenance),
                annotations={"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"},
            )
            record = BuildRecord(ref=request.ref, result=RecordResult(attestations=(attestation,)))
            yield HISTORY_EVENT.encode(HistoryEvent(type=RecordState.COMPLETE, record=record))

    def _change_history(self, message: bytes, context: Any) -> bytes:
        change = HISTORY_CHANGE.decode(message)
        self._script.changed.append(change)
        if change.ref not in [record.ref for record in self._script.history]:
            context.abort(load_grpc().StatusCode.NOT_FOUND, f"{change.ref}: not found")
        return b""

    def _find_blob(self, message: bytes, context: Any) -> bytes:
        digest = INFO_REQUEST.decode(message).digest
        if digest not in self._script.blobs:
            context.abort(load_grpc().StatusCode.NOT_FOUND, f"{digest}: not found")
        return b""

    def _read_blob(self, message: bytes, context: Any) -> Iterator[bytes]:
        digest = READ_REQUEST.decode(message).digest
        blobs = {**self._script.blobs, _compute_digest(self._script.provenance): self._script.provenance}
        if digest not in blobs:
            context.abort(load_grpc().StatusCode.NOT_FOUND, f"{digest}: not found")
        content = blobs[digest]
        for start in range(0, len(content), _PIECE):
            yield READ_RESPONSE.encode(ReadResponse(offset=start, data=content[start : start + _PIECE]))

    def _prune(self, message: bytes, _: Any) -> Iterator[bytes]:
        self._script.pruned.append(PRUNE_REQUEST.decode(message))
        yield from map(USAGE_RECORD.encode, self._script.records)


def _encode_pairs(number: int, pairs: Mapping[str, str]) -> bytes:
    """Encode a map field."""
    encoded = (
        encode_length_delimited(1, name.encode()) + encode_length_delimited(2, text.encode())
        for name, text in pairs.items()
    )
    return b"".join(encode_length_delimited(number, pair) for pair in encoded)
