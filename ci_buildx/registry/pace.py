"""Connections that enforce a minimum transfer rate: a peer that drips bytes never times out, and would never finish.

Only the time spent waiting for the peer counts, not our own processing: in a copy between registries the slow one is
blamed. Bytes are counted at the socket, because status lines, headers and chunk lengths can drip as well as bodies.
Time does not bound a peer that sends interim responses, chunk extensions or trailers fast and without end. So the bytes
of a response, framing included, are limited as well.

Only the libraries' extension points are used: ``PoolManager``'s ``pool_classes_by_scheme``, a pool's
``ConnectionCls``, a connection's ``sock`` and ``set_tunnel``. Base classes are imported with the first connection.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ci_buildx.errors import RegistryError
from ci_buildx.model.record import dataclass

if TYPE_CHECKING:
    from socket import socket

    from _typeshed import WriteableBuffer
    from urllib3.connection import HTTPConnection


_PIECE = 1 << 16
"""Bytes per send, since a socket's timeout applies to the whole call."""
FRAMING = 1 << 20
"""Bytes of head and framing that a response may have beyond twice its content."""
_MOST: ContextVar[float] = ContextVar("most", default=float("inf"))


@contextmanager
def limit_responses(content: int) -> Iterator[None]:
    """Limit each response to a request sent in the block: ``content`` bytes, as many for chunks, and FRAMING.

    A response may be read after the block. A read beyond the limit raises RegistryError.
    """
    token = _MOST.set(2 * content + FRAMING)
    try:
        yield
    finally:
        _MOST.reset(token)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferPace:
    """The wait for a peer is limited to ``grace`` seconds plus one second per ``rate`` bytes transferred."""

    grace: float = 120.0
    rate: int = 4096


class _TransferProgress:
    """Bytes transferred in one direction of a request, and the seconds spent waiting for them."""

    def __init__(self, pace: TransferPace, host: str) -> None:
        self._pace = pace
        self._host = host
        self._waited = 0.0
        self._most = _MOST.get()
        self.passed = 0

    def add(self, count: int) -> None:
        """Count received bytes. Raises RegistryError if the response is larger than its limit."""
        self.passed += count
        if self.passed > self._most:
            raise RegistryError(
                f"{self._host} sent more than {self._most} bytes",
                fix=f"check the network between this machine and {self._host}",
            )

    @contextmanager
    def count_waiting(self, connected: socket | None) -> Iterator[None]:
        """Count the time that the block waits; raise RegistryError if that is too long for the bytes transferred."""
        silence = connected.gettimeout() if connected else None
        left = self._pace.grace + self.passed / self._pace.rate - self._waited
        if left <= 0:
            raise self._make_pace_error()
        cut = connected if connected and (silence is None or left < silence) else None
        if cut:
            cut.settimeout(left)
        since = time.monotonic()
        try:
            yield
        except TimeoutError:
            if cut:
                raise self._make_pace_error() from None
            raise
        finally:
            self._waited += time.monotonic() - since
            if cut:
                cut.settimeout(silence)

    def _make_pace_error(self) -> RegistryError:
        return RegistryError(
            f"{self._host} is too slow: {self.passed} bytes passed in {self._waited:.0f} s",
            fix=f"check the network between this machine and {self._host}, or try again later",
        )


class _PacedStream(io.RawIOBase):
    """A response read from the socket; reads fail once the peer has used up its time."""

    def __init__(self, connected: socket, progress: _TransferProgress) -> None:
        # Closing this also closes the socket: urllib3 closes a connection before the response has been read.
        self._raw = connected.makefile("rb", buffering=0)
        self._socket = connected
        self._progress = progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        with self._progress.count_waiting(self._socket):
            count = self._raw.readinto(buffer)
        self._progress.add(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PacedSocket:
    """A connected socket that enforces the pace, with the methods that an HTTP client uses."""

    def __init__(self, connected: socket, pace: TransferPace, peer: str) -> None:
        self._socket = connected
        self._pace = pace
        self._peer = peer
        self._outgoing: _TransferProgress | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def sendall(self, data: Any) -> None:
        """Send part of a request."""
        if self._outgoing is None:
            self._outgoing = _TransferProgress(self._pace, self._peer)
        with memoryview(data).cast("B") as view:
            for start in range(0, len(view), _PIECE):
                piece = view[start : start + _PIECE]
                with self._outgoing.count_waiting(self._socket):
                    self._socket.sendall(piece)
                self._outgoing.passed += len(piece)

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        """Return a reader for the response; data sent afterwards belongs to the next request."""
        self._outgoing = None
        return io.BufferedReader(_PacedStream(self._socket, _TransferProgress(self._pace, self._peer)))


def make_paced_connection(pace: TransferPace) -> type[HTTPConnection]:
    """Return a class of connections that enforce the pace, for :func:`~ci_buildx.model.http_calls.make_adapter`."""
    from urllib3.connection import HTTPConnection

    class Paced(HTTPConnection):
        """Connection that counts what passes its socket."""

        _registry = ""
        """The registry's own name, if a proxy opens a tunnel to it."""

        @property
        def sock(self) -> Any:
            return self._paced

        @sock.setter
        def sock(self, connected: Any) -> None:
            self._paced: _PacedSocket | None = None
            if connected is not None:  # None until the host is set
                peer = self._registry or _join(self.host, self.port, self.default_port)
                self._paced = _PacedSocket(connected, pace, peer)

        def set_tunnel(self, host: str, port: int | None = None, *more: Any, **options: Any) -> None:
            self._registry = _join(host, port, self.default_port)
            super().set_tunnel(host, port, *more, **options)

    return Paced


def _join(host: str, port: int | None, default: int) -> str:
    return host if port in (None, default) else f"{host}:{port}"
