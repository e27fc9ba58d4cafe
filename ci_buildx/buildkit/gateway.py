"""Calls of the frontend, which return facts about a Dockerfile (checks, outline, targets) instead of building it.

Exporters never see the answer of such a call. Therefore the client acts as the build's frontend: it calls the real
frontend itself, keeps the answer, and returns an empty result for the build. Source: BuildKit 0.34.2,
``client/build.go``, ``control/gateway/gateway.go`` (the build waits for a client that names its ref),
``frontend/gateway/grpcclient``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ci_buildx.buildkit import grpc as buildkit_grpc
from ci_buildx.buildkit.messages import RPC_STATUS, RpcStatus
from ci_buildx.model.record import dataclass
from ci_buildx.wire.protobuf import BOOLEAN, BYTES, TEXT, MessageSchema, make_field, make_map_field

_SERVICE = "/moby.buildkit.v1.frontend.LLBBridge/"
_BUILD = "buildkit-controlapi-buildid"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendRequest:
    """A request to the frontend; ``frontend_attrs`` contain the call's name as ``requestid``."""

    frontend: str
    frontend_attrs: dict[str, str]
    allow_result_return: bool = True
    allow_result_array_ref: bool = True


class _GatewayRef(NamedTuple):
    """A reference without files."""


class GatewayResult(NamedTuple):
    """The build's empty result."""

    ref: _GatewayRef = _GatewayRef()


class GatewayReturn(NamedTuple):
    """The end of the build: a result or an error."""

    result: GatewayResult | None = None
    error: RpcStatus | None = None


def _encode_metadata(*, result: dict[str, bytes] | None) -> dict[str, str]:
    return {name: text.decode(errors="replace") for name, text in (result or {}).items()}


def _require_single(*, metadata: dict[str, bytes]) -> dict[str, bytes]:
    return metadata


# Tables of gateway.proto, written by dev/protos.py.
REQUEST = MessageSchema(
    FrontendRequest,
    make_field(2, "frontend", TEXT),
    make_map_field(3, "frontend_attrs"),
    make_field(5, "allow_result_return", BOOLEAN),
    make_field(6, "allow_result_array_ref", BOOLEAN),
)
_ANSWER: MessageSchema[dict[str, bytes]] = MessageSchema(_require_single, make_map_field(10, "metadata", BYTES))
RESPONSE: MessageSchema[dict[str, str]] = MessageSchema(_encode_metadata, make_field(3, "result", _ANSWER))
_REF = MessageSchema(_GatewayRef)
_RESULT = MessageSchema(GatewayResult, make_field(3, "ref", _REF))
RETURN = MessageSchema(GatewayReturn, make_field(1, "result", _RESULT), make_field(2, "error", RPC_STATUS))
# End of the tables.


class GatewayBridge:
    """A connection to the frontend of the build ``ref``, over the channel of its Control service."""

    def __init__(self, channel: Any, ref: str) -> None:
        self._channel = channel
        self._metadata = ((_BUILD, ref),)
        self._pending: list[Any] = []

    def ask(self, request: FrontendRequest, keep: Callable[[Mapping[str, str]], object]) -> None:
        """Call ``keep`` with the parts of the frontend's answer, such as ``result.json``, and end the build.

        The answer must be kept before the build ends: Solve can return before the call that ends it. If the frontend's
        call fails, the build ends with the error, and ``keep`` is not called.
        """
        import grpc

        try:
            (answer,) = self.invoke("Solve", REQUEST.encode(request))
            keep(RESPONSE.decode(answer))
            ended = GatewayReturn(result=GatewayResult())
        except grpc.FutureCancelledError:
            return
        except (grpc.RpcError, ValueError) as error:
            ended = read_failure(error)
        self.end(RETURN.encode(ended))

    def end(self, message: bytes) -> None:
        """End the build with an encoded :class:`GatewayReturn`."""
        import grpc

        # An ended build reports the reason itself; grpcio raises ValueError once the connection is closed.
        with suppress(grpc.RpcError, grpc.FutureCancelledError, ValueError):
            self.invoke("Return", message)

    def cancel(self) -> None:
        """Cancel the pending calls."""
        for call in self._pending:
            call.cancel()

    def invoke(self, method: str, *messages: bytes) -> list[bytes]:
        """Call a method with each message, at the same time, and return the answers. Raises grpc's errors."""
        call = self._channel.unary_unary(_SERVICE + method)
        self._pending = [call.future(message, metadata=self._metadata) for message in messages]
        return [one.result() for one in self._pending]


def read_failure(error: Exception) -> GatewayReturn:
    """Return the end of a build whose frontend failed with an error of grpc's, or sent what cannot be read."""
    import grpc

    if isinstance(error, grpc.RpcError):
        return GatewayReturn(error=_read_status(error))
    unknown = 2
    return GatewayReturn(error=RpcStatus(unknown, f"the frontend's response is invalid: {error}"))


def _read_status(error: Any) -> RpcStatus:
    """Return buildkitd's status, including the details that point to the Dockerfile."""
    if details := buildkit_grpc.read_details(error):
        with suppress(ValueError):
            return RPC_STATUS.decode(details)
    return RpcStatus(buildkit_grpc.read_code_number(error), buildkit_grpc.read_text(error))
