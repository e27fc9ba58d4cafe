"""A call of the frontend: what it knows of a Dockerfile (checks, outline, targets), instead of a build.

Its answer is no result that an exporter could see. So the client takes the frontend's place, asks the frontend itself,
and hands what it was told back as the build's (empty) result. Source: BuildKit 0.34.2, ``client/build.go``,
``control/gateway/gateway.go`` (the build waits for a client that names its ref), ``frontend/gateway/grpcclient``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from ci_buildx.buildkit import rpc
from ci_buildx.buildkit.messages import RPC_STATUS, RpcStatus
from ci_buildx.model.record import dataclass
from ci_buildx.protobuf.schema import BOOLEAN, BYTES, TEXT, Schema, mapping, one

_SERVICE = "/moby.buildkit.v1.frontend.LLBBridge/"
_BUILD = "buildkit-controlapi-buildid"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendRequest:
    """What the frontend is asked: ``frontend_attrs`` have the call's name as ``requestid``."""

    frontend: str
    frontend_attrs: dict[str, str]
    allow_result_return: bool = True
    allow_result_array_ref: bool = True


class _Ref(NamedTuple):
    """No files."""


class Result(NamedTuple):
    """What the build comes to: nothing."""

    ref: _Ref = _Ref()


class Return(NamedTuple):
    """How the build ends: with one of the two."""

    result: Result | None = None
    error: RpcStatus | None = None


def _metadata(*, result: dict[str, bytes] | None) -> dict[str, str]:
    return {name: text.decode(errors="replace") for name, text in (result or {}).items()}


def _only(*, metadata: dict[str, bytes]) -> dict[str, bytes]:
    return metadata


# Tables of gateway.proto, written by dev/protos.py.
REQUEST = Schema(
    FrontendRequest,
    one(2, "frontend", TEXT),
    mapping(3, "frontend_attrs"),
    one(5, "allow_result_return", BOOLEAN),
    one(6, "allow_result_array_ref", BOOLEAN),
)
_ANSWER: Schema[dict[str, bytes]] = Schema(_only, mapping(10, "metadata", BYTES))
RESPONSE: Schema[dict[str, str]] = Schema(_metadata, one(3, "result", _ANSWER))
_REF = Schema(_Ref)
_RESULT = Schema(Result, one(3, "ref", _REF))
RETURN = Schema(Return, one(1, "result", _RESULT), one(2, "error", RPC_STATUS))
# End of the tables.


class Bridge:
    """The way to the frontend of the build ``ref``, over the connection of its Control service."""

    def __init__(self, channel: Any, ref: str) -> None:
        self._channel = channel
        self._metadata = ((_BUILD, ref),)
        self._current: Any = None

    def ask(self, request: FrontendRequest) -> dict[str, str]:
        """The frontend's answer by its parts, such as ``result.json``; the build then ends.

        Where there is none, nothing is returned, and the build ends with the reason.
        """
        import grpc

        try:
            answer = RESPONSE.decode(self._invoke("Solve", REQUEST.encode(request)))
            ended = Return(result=Result())
        except grpc.FutureCancelledError:
            return {}
        except grpc.RpcError as error:
            answer, ended = {}, Return(error=_reason(error))
        except ValueError as error:
            unknown = 2
            answer, ended = {}, Return(error=RpcStatus(unknown, f"the frontend's answer cannot be read: {error}"))
        with suppress(grpc.RpcError, grpc.FutureCancelledError):  # a build that has ended says itself why
            self._invoke("Return", RETURN.encode(ended))
        return answer

    def cancel(self) -> None:
        """Wait for nothing any more."""
        if self._current is not None:
            self._current.cancel()

    def _invoke(self, method: str, message: bytes) -> bytes:
        self._current = self._channel.unary_unary(_SERVICE + method).future(message, metadata=self._metadata)
        answer: bytes = self._current.result()
        return answer


def _reason(error: Any) -> RpcStatus:
    """The status as buildkitd gave it, with the place in the Dockerfile that it is about."""
    if details := rpc.read_details(error):
        with suppress(ValueError):
            return RPC_STATUS.decode(details)
    return RpcStatus(rpc.code_number(error), rpc.text(error))
