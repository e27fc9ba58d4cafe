"""Connections whose peer must send and take at a pace: one that drips is never silent, and would never end.

Only waiting for the peer counts, not what we do between: a copy from one registry to another accuses the slow one.
What these connections are made of is imported with the first of them.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ci_buildx.errors import RegistryError
from ci_buildx.model.record import dataclass

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from socket import socket

    from _typeshed import WriteableBuffer
    from urllib3.connectionpool import HTTPConnectionPool


_PIECE = 1 << 16
"""Bytes that are sent at once: the time-out of a socket holds for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Waiting for a peer may last ``grace`` seconds, and one second more for every ``rate`` bytes that passed."""

    grace: float = 120.0
    rate: int = 4096


class _Progress:
    """What passed in one direction of one request (bytes), and how long that was waited for (s)."""

    def __init__(self, pace: Pace, host: str) -> None:
        self._pace = pace
        self._host = host
        self._waited = 0.0
        self.passed = 0

    @contextmanager
    def waiting(self, connected: socket | None) -> Iterator[None]:
        """Count what the block waits. RegistryError when that is too long for what has passed."""
        silence = connected.gettimeout() if connected else None
        left = self._pace.grace + self.passed / self._pace.rate - self._waited
        if left <= 0:
            raise self._too_slow()
        cut = connected if connected and (silence is None or left < silence) else None
        if cut:
            cut.settimeout(left)
        since = time.monotonic()
        try:
            yield
        except TimeoutError:
            if cut:
                raise self._too_slow() from None
            raise
        finally:
            self._waited += time.monotonic() - since
            if cut:
                cut.settimeout(silence)

    def _too_slow(self) -> RegistryError:
        return RegistryError(
            f"{self._host} is too slow: {self.passed} bytes passed in {self._waited:.0f} s",
            fix=f"see what stands between this machine and {self._host}, or try again later",
        )


class _Incoming(io.RawIOBase):
    """The socket of an answer; a read ends when the peer's time is over."""

    def __init__(self, raw: io.RawIOBase, connected: socket, progress: _Progress) -> None:
        self._raw = raw
        self._socket = connected
        self._progress = progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        with self._progress.waiting(self._socket):
            count = self._raw.readinto(buffer)
        self._progress.passed += count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def pools(pace: Pace) -> dict[str, type[HTTPConnectionPool]]:
    """Pools for each scheme, for ``urllib3.PoolManager.pool_classes_by_scheme``, whose connections keep the pace."""

    from http.client import HTTPConnection, HTTPResponse

    from urllib3 import connection, connectionpool

    class Paced(HTTPConnection):
        """The part that is the same with TLS and without it."""

        def putrequest(self, *request: Any, **options: Any) -> None:
            self._outgoing = _Progress(pace, _peer(self))
            super().putrequest(*request, **options)

        def send(self, data: Any) -> None:
            outgoing = getattr(self, "_outgoing", None) or _Progress(pace, _peer(self))  # none yet for a tunnel
            for start in range(0, len(data), _PIECE):
                piece = data[start : start + _PIECE]
                with outgoing.waiting(self.sock):
                    super().send(piece)
                outgoing.passed += len(piece)

        def response_class(self, connected: socket, **options: Any) -> HTTPResponse:  # type: ignore[override]
            return _bounded(HTTPResponse(connected, **options), connected, _Progress(pace, _peer(self)))

    class Plain(Paced, connection.HTTPConnection):
        """Without TLS."""

    class Secure(Paced, connection.HTTPSConnection):
        """With TLS."""

    return {
        "http": type("Pool", (connectionpool.HTTPConnectionPool,), {"ConnectionCls": Plain}),
        "https": type("Pool", (connectionpool.HTTPSConnectionPool,), {"ConnectionCls": Secure}),
    }


def _bounded(response: HTTPResponse, connected: socket, progress: _Progress) -> HTTPResponse:
    response.fp = io.BufferedReader(_Incoming(response.fp.detach(), connected, progress))
    return response


def _peer(connection: Any) -> str:
    """The registry's own name, where a proxy opens a tunnel to it."""
    host = connection._tunnel_host or connection.host
    port = connection._tunnel_port if connection._tunnel_host else connection.port
    return f"{host}:{port}" if port != connection.default_port else host
