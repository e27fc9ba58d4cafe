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
from ci_buildx.buildkit.history import HISTORY_EVENT, BuildRecord, HistoryEvent, RecordBlob, RecordResult
from ci_buildx.buildkit.messages import (
    PRUNE_REQUEST,
    SOLVE_REQUEST,
    STATUS_RESPONSE,
    USAGE_RECORD,
    PruneRequest,
    SolveRequest,
    UsageRecord,
)
from ci_buildx.model.status import Vertex
from ci_buildx.session.content import READ_RESPONSE
from ci_buildx.wire.protobuf import MessageSchema, encode_length_delimited

VERSION = "v0.34.2"
_HESITATION = 0.2
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
    call. ``warnings`` are reported for the only step. ``records`` are in each pod's cache. ``provenance`` is the
    predicate in the record of each build, without which there is none.
    """

    answer: Callable[[SolveRequest], Mapping[str, str]] = lambda _: {"containerimage.digest": DIGEST}
    call: Callable[[FrontendRequest], Mapping[str, str]] = lambda _: {}
    warnings: tuple[str, ...] = ()
    records: tuple[UsageRecord, ...] = ()
    provenance: bytes = b""
    solved: list[SolveRequest] = field(default_factory=list)
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
        return STATUS_RESPONSE.encode(SimpleNamespace(vertexes=(STEP,), statuses=(), logs=(), warnings=warnings))


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
        }
        content = {"Read": grpc.unary_stream_rpc_method_handler(self._read_blob)}
        bridge = {
            "Solve": grpc.unary_unary_rpc_method_handler(self._ask_frontend),
            "Return": grpc.unary_unary_rpc_method_handler(self._end_call),
        }
        self._server = grpc.server(ThreadPoolExecutor(8))
        services = {"Control": control, "frontend.LLBBridge": bridge}
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(f"moby.buildkit.v1.{name}", one) for name, one in services.items()]
        )
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("containerd.services.content.v1.Content", content)]
        )
        keys = {name: base64.b64decode(text) for name, text in files.items()}
        credentials = grpc.ssl_server_credentials(
            [(keys[KEY_FILE], keys[CERTIFICATE_FILE])], keys[CA_FILE], require_client_auth=True
        )
        self._server.add_secure_port(f"{ip}:{PORT}", credentials)
        self._server.start()

    def _list_history(self, message: bytes, _: Any) -> Iterator[bytes]:
        if self._script.provenance:
            attestation = RecordBlob(
                media_type="application/vnd.in-toto+json",
                digest=_compute_digest(self._script.provenance),
                annotations={"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"},
            )
            record = BuildRecord(ref="r", result=RecordResult(attestations=(attestation,)))
            yield HISTORY_EVENT.encode(HistoryEvent(type=1, record=record))

    def _read_blob(self, message: bytes, _: Any) -> Iterator[bytes]:
        yield READ_RESPONSE.encode(SimpleNamespace(offset=0, data=self._script.provenance))

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
