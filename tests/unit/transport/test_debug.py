"""What the debug log says of the race of the transports."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ci_buildx.errors import Forbidden, TransportError
from ci_buildx.transport import race
from ci_buildx.transport.race import PodEndpoint, TransportCandidate
from tests.unit.conftest import DebugLog


def candidate(name: str, *failures: Exception) -> TransportCandidate:
    """A transport that fails so often before it opens."""
    left = list(failures)

    @contextmanager
    def open_it() -> Iterator[PodEndpoint]:
        if left:
            raise left.pop(0)
        yield PodEndpoint(name, secure=True)

    return TransportCandidate(name, open_it)


def lines(log: DebugLog) -> list[str]:
    return [re.sub(r"\d+\.\d{3} s", "T", line) for line in log.of("transport")]


def test_attempts_and_the_winner(debug_log: DebugLog) -> None:
    refused = TransportError("10.0.0.1:1234: Connection refused")
    late = TransportError("10.0.0.1:1234: no answer")
    direct, deadline = candidate("direct", refused, refused, refused, late), time.monotonic() + 60
    with race.race_transports([direct], answer=lambda *_: 1, deadline=deadline, subject="x"):
        pass
    assert lines(debug_log) == [
        "race to x: direct, attempt 1 failed after T; retrying: 10.0.0.1:1234: Connection refused",
        "race to x: direct, attempt 4 failed after T; retrying: 10.0.0.1:1234: no answer",
        "race to x: direct wins by attempt 5 after T",
    ]


def test_nobody_wins(debug_log: DebugLog) -> None:
    forbidden = Forbidden("you may not create pods/exec", status=403)
    with pytest.raises(TransportError):
        race.race_transports(
            [candidate("exec", forbidden)], answer=lambda *_: 1, deadline=time.monotonic() + 60, subject="x"
        )
    assert lines(debug_log) == [
        "race to x: exec, attempt 1 failed after T; giving up: you may not create pods/exec",
        "race to x: no transport has connected: buildkitd cannot be reached: exec: you may not create pods/exec",
    ]
