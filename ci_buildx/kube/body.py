"""A response that is text and goes on for as long as somebody writes: the log of a container."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from ci_buildx.kube.exchange import CALL_TIMEOUT, Call, Exchange
from ci_buildx.kube.http1 import MalformedResponse
from ci_buildx.kube.unreachable import explain

_TICK = 0.1
"""Seconds between two looks at the stop event."""


def chunks(exchange: Exchange, call: Call, stop: threading.Event) -> Iterator[bytes]:
    """What comes, as it comes, until its end or ``stop``. Raises the KubeError tree."""
    connection, response, kept = exchange.stream(call, time.monotonic() + CALL_TIMEOUT)
    try:
        if kept:
            yield kept
        while not response.finished and not stop.is_set():
            try:
                received = connection.receive(response, time.monotonic() + _TICK)
            except TimeoutError:
                continue
            if received:
                yield received
    except (OSError, MalformedResponse) as cause:
        raise explain(cause, exchange.cluster) from cause
    finally:
        exchange.end(connection)
