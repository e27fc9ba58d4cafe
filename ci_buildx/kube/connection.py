"""Connections to the API server (TCP, proxy, TLS), shared by REST calls and WebSockets, and why they fail."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from typing import Any

from ci_buildx.errors import KubeError, Unreachable
from ci_buildx.kube import tls
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.kube.proxy import Proxy
from ci_buildx.kube.tls import TlsKeyPair, read_expiry
from ci_buildx.model import debug
from ci_buildx.wire import http1
from ci_buildx.wire.http1 import MalformedResponse, ResponseHead, ResponseReader

_LOG = debug.get_log("kube")
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""TCP keepalive settings that detect a silently vanished peer (a NAT, a dead cluster node) within 30 seconds."""


class Dialer:
    """Opens connections to one cluster; thread-safe. Makes one SSL context per client certificate."""

    def __init__(self, cluster: ClusterAccess) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._shown: TlsKeyPair | None = None

    def open(self, timeout: float) -> socket.socket:
        """Return a connected socket whose operations block for at most ``timeout`` seconds.

        Raises Unreachable with the step that failed and how to fix it.
        """
        began = time.monotonic()
        cluster, deadline = self._cluster, began + timeout
        host, port = cluster.address
        context = self.make_context() if cluster.secure else None
        connection: socket.socket | None = None
        try:
            connection = _open_stream(cluster.proxy, (host, port), deadline)
            connection.settimeout(_compute_time_left(deadline))
            if context is not None:
                name = _encode_name(cluster.tls.server_name or host)
                connection = context.wrap_socket(connection, server_hostname=name)
            connection.settimeout(timeout)
        except (OSError, ValueError) as cause:
            if connection is not None:
                connection.close()
            _LOG.debug("no connection to %s:%s after %.3f s: %r", host, port, time.monotonic() - began, cause)
            raise explain_connection_failure(cause, cluster) from cause
        if _LOG.is_on:
            way = f" through proxy {cluster.proxy.host}:{cluster.proxy.port}" if cluster.proxy else ""
            version = connection.version() if isinstance(connection, ssl.SSLSocket) else "no TLS"
            _LOG.debug("connected to %s:%s%s (%s) in %.3f s", host, port, way, version, time.monotonic() - began)
        return connection

    def make_context(self) -> ssl.SSLContext:
        """Return the SSL context for the current client certificate."""
        pair = self._cluster.credentials.read_key_pair()
        with self._lock:
            if self._context is None or pair != self._shown:
                self._context, self._shown = tls.make_ssl_context(self._cluster.tls, pair), pair
            return self._context


def open_tcp_connection(address: tuple[str, int], timeout: float) -> socket.socket:
    """Open a TCP connection; ``timeout`` is in seconds. Raises OSError."""
    host, port = address
    return socket.create_connection((_encode_name(host), port), timeout=timeout)


def _encode_name(name: str) -> Any:
    """Encode an ASCII name as bytes: for str, Python imports its IDNA codec, whose tables take 3 ms to load."""
    return name.encode() if name.isascii() else name


def _open_stream(proxy: Proxy | None, target: tuple[str, int], deadline: float) -> socket.socket:
    """Open a byte stream to ``target``, through the proxy if there is one."""
    if proxy is None:
        return _open_tcp(target, deadline)
    try:
        connection = _open_tcp((proxy.host, proxy.port), deadline)
        if proxy.secure:
            connection = _secure_proxy(connection, proxy)
    except OSError as cause:
        reason = cause.strerror or cause
        raise Unreachable(f"proxy {proxy.host}:{proxy.port} ({proxy.source}) did not respond: {reason}") from cause
    try:
        _ask_proxy(connection, proxy, target, deadline)
    except BaseException:
        connection.close()
        raise
    if not proxy.secure:
        return connection
    from ci_buildx.kube.tls import open_relay

    return open_relay(connection)


def _secure_proxy(connection: socket.socket, proxy: Proxy) -> socket.socket:
    try:
        return tls.make_ssl_context(tls.TlsSettings(), None).wrap_socket(connection, server_hostname=proxy.host)
    except BaseException:
        connection.close()
        raise


def _open_tcp(address: tuple[str, int], deadline: float) -> socket.socket:
    connection = open_tcp_connection(address, _compute_time_left(deadline))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return connection


def _ask_proxy(connection: socket.socket, proxy: Proxy, target: tuple[str, int], deadline: float) -> None:
    """Send CONNECT and return when the bytes that follow are the target's."""
    host, port = target
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = {"Host": authority}
    if proxy.authorization is not None:
        headers["Proxy-Authorization"] = proxy.authorization.reveal_text()
    connection.sendall(http1.encode_request("CONNECT", authority, headers))
    head = _read_connect_head(connection, deadline)
    if 200 <= head.status < 300:
        return
    fix = "check the user and password in its URL" if head.status == 407 else ""
    said = f"{head.status} {head.reason}".strip()
    name = f"proxy {proxy.host}:{proxy.port} ({proxy.source})"
    raise Unreachable(f"{name} refused a connection to {authority}: {said}", fix=fix)


def _read_connect_head(connection: socket.socket, deadline: float) -> http1.ResponseHead:
    """Read the response head byte by byte.

    Bytes after the head belong to TLS; CONNECT's response has no body (RFC 9110, 9.3.6).
    """
    received = bytearray()
    while not received.endswith(b"\r\n\r\n"):
        connection.settimeout(_compute_time_left(deadline))
        byte = connection.recv(1)
        if not byte or len(received) > http1.HEAD_LIMIT:
            raise Unreachable("the proxy closed the connection instead of answering")
        received += byte
    return http1.parse_head(bytes(received[:-4]))


def _compute_time_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


LARGEST_ANSWER = 64 << 20
"""Maximum bytes of a response that is read whole; a page of 500 objects has a few MiB."""
_IDLE = 4
_SIZE = 64 << 10


class AnswerTooLarge(MalformedResponse):
    """A response has more than LARGEST_ANSWER bytes, and would have them again."""


class ApiConnection:
    """One connection that carries one call at a time."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.reused = False

    def close(self) -> None:
        """Close the connection."""
        self.stream.close()

    def abort(self) -> None:
        """Shut the connection down from another thread: a blocked reader gets an end of file."""
        try:
            self.stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    @property
    def stale(self) -> bool:
        """Whether the server closed this idle connection or sent data that was not requested."""
        poll = select.poll()
        poll.register(self.stream, select.POLLIN)
        if not poll.poll(0):
            return False
        self.stream.settimeout(0)
        try:
            self.stream.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            # Tickets that follow the handshake of TLS 1.3 (RFC 8446, 4.6.1): reading consumes them silently.
            return False
        except OSError:
            return True
        return True

    def send(self, request: bytes, deadline: float) -> None:
        """Send a whole request before ``deadline``, a time.monotonic() value. Raises OSError."""
        self.stream.settimeout(max(deadline - time.monotonic(), 0.001))
        self.stream.sendall(request)

    def read_head(self, response: ResponseReader, deadline: float) -> tuple[ResponseHead, bytes]:
        """Read until the response's head is complete; return it and the part of the body that came with it.

        Raises OSError or ValueError.
        """
        while response.head is None:
            body = self.receive(response, deadline)
        return response.head, body

    def receive(self, response: ResponseReader, deadline: float) -> bytes:
        """Read once and return the body bytes, possibly ``b""``.

        A TimeoutError at ``deadline`` is harmless: call again to continue. It also ends a flood without content, such
        as interim responses or trailers.
        """
        self.stream.settimeout(_compute_time_left(deadline))
        received = self.stream.recv(_SIZE)
        if received:
            return response.feed(received)
        if not response.started:
            raise ConnectionResetError("the server closed the connection without a response")
        response.end()
        return b""

    def exchange(self, request: bytes, deadline: float) -> tuple[ResponseHead, bytes]:
        """Send a request and read its whole response. Raises OSError or MalformedResponse."""
        self.send(request, deadline)
        response = ResponseReader()
        head, body = self.read_head(response, deadline)
        whole = self.read_rest(response, body, deadline)
        if response.rest:
            raise MalformedResponse("the server sent more than one response")
        return head, whole

    def read_rest(self, response: ResponseReader, begun: bytes, deadline: float) -> bytes:
        """Return the whole body; ``begun`` is the part already read. Raises OSError or MalformedResponse."""
        parts, size = [begun], len(begun)
        while not response.finished:
            parts.append(self.receive(response, deadline))
            size += len(parts[-1])
            if size > LARGEST_ANSWER:
                raise AnswerTooLarge(f"the response has more than {LARGEST_ANSWER} bytes")
        return b"".join(parts)


class ConnectionPool:
    """Connections to one server, kept open between calls; thread-safe."""

    def __init__(self, dialer: Dialer, dial_timeout: float) -> None:
        self._dialer = dialer
        self._dial_timeout = dial_timeout
        self._lock = threading.Lock()
        self._idle: list[ApiConnection] = []
        self.closed = False

    def take(self) -> ApiConnection:
        """Return a live idle connection, or open a new one. Raises Unreachable."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return ApiConnection(self._dialer.open(self._dial_timeout))
            if not connection.stale:
                connection.reused = True
                return connection
            connection.close()

    def put_back(self, connection: ApiConnection) -> None:
        """Keep a connection whose response was read to its end."""
        with self._lock:
            if not self.closed and len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def forget(self) -> None:
        """Close the idle connections because their client certificate is no longer valid."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close the idle connections and keep none from now on."""
        self.closed = True
        self.forget()


_CERTIFICATE_NOT_YET_VALID = 9
"""X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL 3."""
_CERTIFICATE_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL 3."""


def explain_connection_failure(cause: Exception, cluster: ClusterAccess) -> KubeError:
    """Convert a failure to connect to ``cluster``'s server into a KubeError with a fix."""
    if isinstance(cause, KubeError):
        return cause
    host, port = cluster.address
    where = f"{host}:{port}"
    if isinstance(cause, ssl.SSLError):
        return _explain_tls(cause, cluster, where)
    via = f" (through proxy {cluster.proxy.host}:{cluster.proxy.port})" if cluster.proxy else ""
    if isinstance(cause, socket.gaierror):
        return Unreachable(f"the API server's name {host!r} cannot be resolved", fix="check server in the kubeconfig")
    if isinstance(cause, TimeoutError):
        fix = "check the network between here and the cluster, and HTTPS_PROXY"
        return Unreachable(f"the API server {where}{via} did not respond in time", fix=fix)
    if isinstance(cause, ConnectionRefusedError):
        return Unreachable(f"the API server {where}{via} refuses connections", fix="check that the cluster runs")
    reason = (cause.strerror or str(cause)) if isinstance(cause, OSError) else str(cause)
    return Unreachable(f"the connection to the API server {where}{via} failed: {reason}")


def _explain_tls(cause: ssl.SSLError, cluster: ClusterAccess, where: str) -> Unreachable:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _explain_verification(cause, where)
    pair = cluster.credentials.read_key_pair()
    ended = read_expiry(pair) if pair else ""
    if ended:
        return Unreachable(f"the client certificate expired on {ended}", fix="get a new kubeconfig")
    reason = cause.reason or str(cause)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        fix = "use http:// as server in the kubeconfig, or another port"
        return Unreachable(f"{where} does not speak TLS", fix=fix)
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        fix = "check client-certificate in the kubeconfig"
        return Unreachable(f"the API server {where} refuses the client certificate: {reason}", fix=fix)
    return Unreachable(f"TLS with the API server {where} failed: {reason}")


def _explain_verification(cause: ssl.SSLCertVerificationError, where: str) -> Unreachable:
    if cause.verify_code == _CERTIFICATE_EXPIRED:
        return Unreachable(f"the certificate of the API server {where} has expired", fix="renew it, or check the clock")
    if cause.verify_code == _CERTIFICATE_NOT_YET_VALID:
        message = f"the certificate of the API server {where} is not valid yet"
        return Unreachable(message, fix="set the clock of this machine, or renew the certificate")
    if "mismatch" in cause.verify_message.lower():
        fix = "check server, or set tls-server-name in the kubeconfig"
        return Unreachable(f"the certificate of the API server is for another name: {cause.verify_message}", fix=fix)
    fix = "check certificate-authority in the kubeconfig"
    return Unreachable(f"the API server {where} is not trusted: {cause.verify_message}", fix=fix)
