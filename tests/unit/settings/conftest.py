"""What tests of settings share."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """The path of a socket at which an SSH agent could listen."""
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(tmp_path / "agent"))
        yield tmp_path / "agent"
