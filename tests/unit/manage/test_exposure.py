"""What `dial-stdio` writes until one side ends."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ci_buildx.errors import KubeBuilderError
from ci_buildx.manage.exposure import write_received


def test_an_end_that_leaves_something_unread_is_an_end(tmp_path: Path) -> None:
    """The pod is gone while the client still sends."""
    near, far = socket.socketpair()
    near.sendall(b"unread")
    far.sendall(b"answer")
    far.close()
    with near, (tmp_path / "out").open("wb") as out:
        write_received(near, out.fileno())
    assert (tmp_path / "out").read_bytes() in (b"answer", b"")


def test_an_output_that_cannot_be_written() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(b"answer")
        target = os.open("/dev/full", os.O_WRONLY)
        with pytest.raises(KubeBuilderError, match="cannot write to standard output: No space left on device"):
            write_received(near, target)
        os.close(target)


def test_a_reader_that_is_gone() -> None:
    near, far = socket.socketpair()
    source, target = os.pipe()
    os.close(source)
    with near, far:
        far.sendall(b"answer")
        with pytest.raises(BrokenPipeError):
            write_received(near, target)
        os.close(target)
