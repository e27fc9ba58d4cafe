"""A UNIX socket that other programs use as a buildkitd: each connection to it becomes one to the pod's endpoint.

The mTLS of the pod's port stays on this side. Only the user of this process can connect: the socket has mode 0600.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ci_buildx.kube.connection import open_tcp_connection
from ci_buildx.kube.tls import TlsKeyPair, TlsSettings, make_ssl_context, run_relay
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret
from ci_buildx.transport.accepting import accept_connections
from ci_buildx.transport.race import PodEndpoint

_LOG = debug.get_log("transport")
_PATIENCE = 10.0
"""Seconds for a connection and its TLS handshake."""
_UNIX = "unix:"
MOST_CONNECTIONS = 256
"""Maximum number of open connections; a further one is closed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointDialer:
    """Opens connections to an endpoint; the PEM of CA, certificate and key is for one that requires mTLS."""

    endpoint: PodEndpoint
    authority: bytes
    certificate: bytes
    key: Secret
    server_name: str

    def dial(self) -> socket.socket:
        """Return a connection that speaks gRPC without TLS to its user. Raises OSError."""
        plain = self._connect()
        if not self.endpoint.secure:
            return plain
        try:
            context = make_ssl_context(
                TlsSettings(authority=self.authority), TlsKeyPair(certificate=self.certificate, key=self.key)
            )
            context.set_alpn_protocols(["h2"])  # grpc-go refuses connections without it
            return context.wrap_socket(plain, server_hostname=self.server_name)
        except BaseException:
            plain.close()
            raise

    def _connect(self) -> socket.socket:
        target = self.endpoint.target
        if not target.startswith(_UNIX):
            host, _, port = target.rpartition(":")
            return open_tcp_connection((host.strip("[]"), int(port)), _PATIENCE)
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            found.settimeout(_PATIENCE)
            found.connect(target.removeprefix(_UNIX))
        except BaseException:
            found.close()
            raise
        return found


class LocalSocket:
    """A listening socket. ``failure`` is the last reason why a connection could not be opened, "" if there is none."""

    def __init__(self, listener: socket.socket, dialer: EndpointDialer) -> None:
        self.failure = ""
        self._listener = listener
        self._dialer = dialer
        self._wake, self._alarm = socket.socketpair()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="local-socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections and accept no more. Idempotent."""
        self._alarm.close()
        self._thread.join()
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        self._wake.close()

    def _accept(self) -> None:
        for local in accept_connections(self._listener, self._wake, self._fail):
            with self._lock:
                is_full = len(self._open) >= MOST_CONNECTIONS
                if not is_full:
                    self._open.add(local)
            if is_full:
                self.failure = f"more than {MOST_CONNECTIONS} connections at once"
                local.close()
            else:
                threading.Thread(target=self._carry, args=(local,), name="local-socket", daemon=True).start()

    def _fail(self, reason: str) -> None:
        self.failure = reason
        _LOG.debug("local socket: %s", reason)

    def _carry(self, local: socket.socket) -> None:
        """Serve one connection: the other program only sees that it ends, so store the reason in ``failure``."""
        try:
            with local:
                try:
                    remote = self._dialer.dial()
                except (OSError, ValueError) as error:
                    self.failure = str(error)
                    _LOG.debug("local socket: cannot connect: %s", error)
                    return
                run_relay(remote, local)
        finally:
            with self._lock:
                self._open.discard(local)


@contextmanager
def open_local_socket(path: Path, dialer: EndpointDialer) -> Iterator[LocalSocket]:
    """Serve a socket at ``path``, in a folder that only this user can enter, until the block ends. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        try:
            path.chmod(0o600)
            listener.listen()
            found = LocalSocket(listener, dialer)
            try:
                yield found
            finally:
                found.close()
        finally:
            path.unlink(missing_ok=True)
