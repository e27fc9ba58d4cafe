"""The tables of the gateway's messages against generated code."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.buildkit import gateway
from ci_buildx.buildkit.gateway import FrontendRequest, GatewayBridge
from ci_buildx.buildkit.grpc import open_channel
from ci_buildx.buildkit.messages import RpcStatus
from tests.unit.wire import compiled


@pytest.fixture(scope="module")
def generated() -> Any:
    """The module that protoc makes of gateway.proto, to compare our messages with."""
    return compiled.load("buildkit/gateway.proto")


@given(attrs=st.dictionaries(st.text(), st.text(), max_size=3))
def test_request(generated: Any, attrs: dict[str, str]) -> None:
    message = gateway.REQUEST.encode(FrontendRequest(frontend="dockerfile.v0", frontend_attrs=attrs))
    read = generated.SolveRequest.FromString(message)
    assert (read.frontend, dict(read.frontend_attrs)) == ("dockerfile.v0", attrs)
    assert (read.allow_result_return, read.allow_result_array_ref) == (True, True)


@given(metadata=st.dictionaries(st.text(), st.text(), max_size=3))
def test_response(generated: Any, metadata: dict[str, str]) -> None:
    message = generated.SolveResponse()
    for name, text in metadata.items():
        message.result.metadata[name] = text.encode()
    assert gateway.RESPONSE.decode(message.SerializeToString()) == metadata


def test_return(generated: Any) -> None:
    good = generated.ReturnRequest.FromString(
        gateway.RETURN.encode(gateway.GatewayReturn(result=gateway.GatewayResult()))
    )
    assert (good.HasField("result"), good.result.HasField("ref"), good.HasField("error")) == (True, True, False)
    bad = generated.ReturnRequest.FromString(gateway.RETURN.encode(gateway.GatewayReturn(error=RpcStatus(2, "no"))))
    assert (bad.HasField("result"), bad.error.code, bad.error.message) == (False, 2, "no")


def test_a_connection_that_closes_during_a_call_ends_it() -> None:
    """The build reports the reason; grpcio raises ValueError for calls over a closed channel."""
    channel = open_channel("127.0.0.1:1", credentials=None, server_name="")
    channel.close()
    kept: list[Mapping[str, str]] = []
    GatewayBridge(channel, "ref").ask(FrontendRequest(frontend="dockerfile.v0", frontend_attrs={}), kept.append)
    assert kept == []
