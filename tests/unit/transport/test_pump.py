"""The channels of port-forward and exec, with messages as a kubelet sends them."""

from __future__ import annotations

import pytest

from ci_buildx.transport.tunnel import ExecChannels, PortForwardChannels, StreamChannels

PORT = (1234).to_bytes(2, "little")
EXIT = b'{"metadata":{},"status":"Failure","message":"command terminated with exit code 1","reason":"NonZeroExitCode"}'


def received(channels: StreamChannels, *messages: bytes) -> list[bytes]:
    return [bytes(channels.receive(memoryview(message))) for message in messages]


def test_port_forward_skips_the_port_number_of_each_channel() -> None:
    channels = PortForwardChannels()
    assert received(channels, b"\0" + PORT, b"\1" + PORT, b"\0data", b"\0") == [b"", b"", b"data", b""]
    assert channels.failure == ""


def test_port_forward_takes_data_that_comes_with_the_port_number() -> None:
    assert received(PortForwardChannels(), b"\0" + PORT + b"data") == [b"data"]


def test_port_forward_keeps_the_error() -> None:
    channels = PortForwardChannels()
    received(channels, b"\1" + PORT, b"\1error forwarding port 1234: ", b"\1connection refused\n")
    assert channels.failure == "error forwarding port 1234: connection refused"


def test_the_end_of_a_long_error_is_kept() -> None:
    channels = PortForwardChannels()
    received(channels, b"\1" + PORT, b"\1" + b"x" * 5000 + b"the reason")
    assert len(channels.failure) == 2048
    assert channels.failure.endswith("the reason")


def test_exec_gives_standard_output() -> None:
    assert received(ExecChannels(), b"\1", b"\1out", b"\2err") == [b"", b"out", b""]


@pytest.mark.parametrize(
    ("messages", "failure"),
    [
        ([b'\3{"status":"Success"}'], ""),
        ([b"\2warning\nno socket\n", b"\3" + EXIT], "command terminated with exit code 1: no socket"),
        ([b"\3" + EXIT[:20], b"\3" + EXIT[20:]], "command terminated with exit code 1"),
        ([b'\3{"status":"Failure","reason":"InternalError"}'], "InternalError"),
        ([b"\3gone"], "gone"),
        ([b"\3[]"], "[]"),
        ([b"\2only words"], "only words"),
    ],
)
def test_exec_tells_how_the_command_ended(messages: list[bytes], failure: str) -> None:
    channels = ExecChannels()
    received(channels, *messages)
    assert channels.failure == failure
