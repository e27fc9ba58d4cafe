"""A build whose frontend is this client, so that its result can be a context of other builds on the same buildkitd.

The client calls the real frontend, keeps references to its result, lets buildkitd compute them and returns them as the
build's own. Other builds get their definitions as inputs. Source: BuildKit 0.34.2, ``frontend/gateway/pb``
and ``frontend/dockerui/namedcontext.go`` (``input:``), buildx 0.38.2, ``build/build.go`` (``waitContextDeps``).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Protocol

from ci_buildx.buildkit.gateway import RETURN, GatewayBridge, GatewayReturn, read_failure
from ci_buildx.buildkit.messages import RpcStatus, SolveRequest
from ci_buildx.errors import KubeBuilderError
from ci_buildx.model.record import dataclass, field
from ci_buildx.wire.protobuf import (
    VARINT,
    encode_key,
    encode_length_delimited,
    encode_varint,
    read_fields,
)

_FRONTEND, _OPTIONS, _ALLOW_RETURN, _ALLOW_ARRAY, _INPUTS = 2, 3, 5, 6, 13
"""Fields of gateway.proto's SolveRequest."""
_ANSWER = 3
"""Field of its SolveResponse: the result, whose fields follow."""
_REF, _REFS, _METADATA = 3, 4, 10
_CONFIG = "containerimage.config"
_ABORTED = 10
"""gRPC's code ABORTED."""


@dataclass(frozen=True, slots=True)
class FrontendRef:
    """A reference to a file system: its id, "" for an empty one, and how it is made."""

    id: str = ""
    definition: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendResult:
    """A frontend's result: ``ref`` of a single platform, or ``refs`` by platform; ``encoded`` is the whole message."""

    encoded: bytes
    ref: FrontendRef | None = None
    refs: Mapping[str, FrontendRef] = field(default_factory=dict)
    metadata: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all references that are not empty."""
        found = ([] if self.ref is None else [self.ref]) + list(self.refs.values())
        return tuple(one.id for one in found if one.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendInputs:
    """Results of other builds as a frontend takes them: attributes that name them, and their definitions.

    ``replaced`` are attributes that the request must not have any longer.
    """

    attrs: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, bytes] = field(default_factory=dict)
    replaced: tuple[str, ...] = ()


def make_inputs(contexts: Mapping[str, FrontendResult]) -> FrontendInputs:
    """Return the inputs for named contexts that are results of other builds."""
    attrs: dict[str, str] = {}
    definitions: dict[str, bytes] = {}
    replaced = []
    for name, result in contexts.items():
        context = f"context:{name}"
        if result.refs:
            replaced.append(context)
        refs = {f"::{platform}": (f"/{platform}", ref) for platform, ref in result.refs.items()}
        if result.ref is not None:
            refs[""] = ("", result.ref)
        for suffix, (key, ref) in refs.items():
            definitions[name + suffix] = ref.definition
            attrs[context + suffix] = f"input:{name}{suffix}"
            if (config := result.metadata.get(_CONFIG + key)) is not None:
                text = json.dumps({_CONFIG: base64.b64encode(config).decode()})
                attrs[f"input-metadata:{name}{suffix}"] = text
    return FrontendInputs(attrs=attrs, definitions=definitions, replaced=tuple(replaced))


class SolveRelay(Protocol):
    """What happens between the frontend's answer and the build's end."""

    def add_inputs(self, request: SolveRequest) -> tuple[SolveRequest, FrontendInputs]:
        """Wait for the results that the request needs; return the request with them. Raises KubeBuilderError."""
        ...

    def hold(self, result: FrontendResult, evaluate: Callable[[], None]) -> None:
        """Publish a result, call ``evaluate`` in time, and wait for the builds that need it.

        Raises KubeBuilderError.
        """
        ...


def run_frontend(
    bridge: GatewayBridge,
    request: SolveRequest,
    inputs: FrontendInputs,
    relay: SolveRelay,
    keep: Callable[[Mapping[str, str]], object],
) -> None:
    """Call the frontend of ``request``, and end the build with its result or with its error.

    ``keep`` is called with the answer to a call (see :mod:`ci_buildx.buildkit.gateway`).
    """
    import grpc

    try:
        (answer,) = bridge.invoke("Solve", _encode_request(request, inputs))
        result = read_response(answer)
        if request.is_call:
            keep({name: text.decode(errors="replace") for name, text in result.metadata.items()})

        def evaluate() -> None:
            bridge.invoke("Evaluate", *(encode_length_delimited(1, one.encode()) for one in result.ids))

        relay.hold(result, evaluate)
    except grpc.FutureCancelledError:
        return
    except (grpc.RpcError, ValueError) as error:
        bridge.end(RETURN.encode(read_failure(error)))
        return
    except KubeBuilderError as error:
        bridge.end(RETURN.encode(GatewayReturn(error=RpcStatus(_ABORTED, str(error)))))
        return
    bridge.end(encode_length_delimited(1, result.encoded))


def _encode_request(request: SolveRequest, inputs: FrontendInputs) -> bytes:
    options = [_encode_entry(_OPTIONS, key, value.encode()) for key, value in request.frontend_attrs.items()]
    definitions = [_encode_entry(_INPUTS, key, value) for key, value in inputs.definitions.items()]
    allowed = b"".join(encode_key(number, VARINT) + encode_varint(1) for number in (_ALLOW_RETURN, _ALLOW_ARRAY))
    return b"".join((encode_length_delimited(_FRONTEND, request.frontend.encode()), *options, allowed, *definitions))


def _encode_entry(number: int, key: str, value: bytes) -> bytes:
    entry = encode_length_delimited(1, key.encode()) + encode_length_delimited(2, value)
    return encode_length_delimited(number, entry)


def read_response(message: bytes) -> FrontendResult:
    """Read the frontend's answer. Raises ValueError."""
    encoded = b"".join(value for value in _read_messages(message, _ANSWER))
    refs: dict[str, FrontendRef] = {}
    for platforms in _read_messages(encoded, _REFS):
        for entry in _read_messages(platforms, 1):
            key, value = _read_entry(entry)
            refs[key] = _read_ref(value)
    single = list(_read_messages(encoded, _REF))
    return FrontendResult(
        encoded=encoded,
        ref=_read_ref(single[-1]) if single else None,
        refs=refs,
        metadata=dict(map(_read_entry, _read_messages(encoded, _METADATA))),
    )


def _read_messages(message: bytes, wanted: int) -> list[bytes]:
    return [value for number, _, value in read_fields(message) if number == wanted and not isinstance(value, int)]


def _read_entry(message: bytes) -> tuple[str, bytes]:
    key, value = _read_messages(message, 1), _read_messages(message, 2)
    return (key[-1].decode() if key else ""), (value[-1] if value else b"")


def _read_ref(message: bytes) -> FrontendRef:
    name, definition = _read_messages(message, 1), _read_messages(message, 2)
    return FrontendRef(name[-1].decode() if name else "", b"".join(definition))
