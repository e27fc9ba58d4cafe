"""What tests of the session share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.wire import compiled


@pytest.fixture(scope="module")
def session_proto() -> Any:
    """The module that protoc makes of session.proto, to compare our messages with."""
    return compiled.load("session/session.proto")
