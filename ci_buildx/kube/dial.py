"""Connections to the API server, for REST and WebSocket alike: TCP, proxy, TLS."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Any

from ci_buildx.errors import Unreachable
from ci_buildx.kube import http1, tls
from ci_buildx.kube.config import Cluster
from ci_buildx.kube.proxy import Proxy
from ci_buildx.kube.tls import KeyPair
from ci_buildx.kube.unreachable import explain
from ci_buildx.model import debug

_LOG = debug.get_log("kube")
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""A peer that vanished without a word (a NAT, a dead node) is noticed in half a minute."""


class Dialer:
    """Opens connections to one cluster; thread-safe. The SSL context is made once per client certificate."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._shown: KeyPair | None = None

    def open(self, timeout: float) -> socket.socket:
        """A connected socket that blocks at most ``timeout`` s per operation.

        Raises Unreachable, which says what failed on the way and what to do about it.
        """
        began = time.monotonic()
        cluster, deadline = self._cluster, began + timeout
        host, port = cluster.address
        context = self.context() if cluster.secure else None
        connection: socket.socket | None = None
        try:
            connection = _reach(cluster.proxy, (host, port), deadline)
            connection.settimeout(_left(deadline))
            if context is not None:
                name = _plain(cluster.tls.server_name or host)
                connection = context.wrap_socket(connection, server_hostname=name)
            connection.settimeout(timeout)
        except (OSError, ValueError) as cause:
            if connection is not None:
                connection.close()
            _LOG.debug("no connection to %s:%s after %.3f s: %r", host, port, time.monotonic() - began, cause)
            raise explain(cause, cluster) from cause
        if _LOG.is_on:
            way = f" through proxy {cluster.proxy.host}:{cluster.proxy.port}" if cluster.proxy else ""
            version = connection.version() if isinstance(connection, ssl.SSLSocket) else "no TLS"
            _LOG.debug("connected to %s:%s%s (%s) in %.3f s", host, port, way, version, time.monotonic() - began)
        return connection

    def context(self) -> ssl.SSLContext:
        """The SSL context for the client certificate that is valid now."""
        pair = self._cluster.credentials.key_pair()
        with self._lock:
            if self._context is None or pair != self._shown:
                self._context, self._shown = tls.context(self._cluster.tls, pair), pair
            return self._context


def connected(address: tuple[str, int], timeout: float) -> socket.socket:
    """A TCP connection. Raises OSError."""
    host, port = address
    return socket.create_connection((_plain(host), port), timeout=timeout)


def _plain(name: str) -> Any:
    """An ASCII name as bytes: for text Python imports its IDNA codec, with tables that take 3 ms to load."""
    return name.encode() if name.isascii() else name


def _reach(proxy: Proxy | None, target: tuple[str, int], deadline: float) -> socket.socket:
    """A byte stream to ``target``, through the proxy if there is one."""
    if proxy is None:
        return _tcp(target, deadline)
    try:
        connection = _tcp((proxy.host, proxy.port), deadline)
        if proxy.secure:
            connection = _secured(connection, proxy)
    except OSError as cause:
        reason = cause.strerror or cause
        raise Unreachable(f"proxy {proxy.host}:{proxy.port} ({proxy.source}) gave no answer: {reason}") from cause
    try:
        _ask_proxy(connection, proxy, target, deadline)
    except BaseException:
        connection.close()
        raise
    if not proxy.secure:
        return connection
    from ci_buildx.kube.relay import unwrapped

    return unwrapped(connection)


def _secured(connection: socket.socket, proxy: Proxy) -> socket.socket:
    try:
        return ssl.create_default_context().wrap_socket(connection, server_hostname=proxy.host)
    except BaseException:
        connection.close()
        raise


def _tcp(address: tuple[str, int], deadline: float) -> socket.socket:
    connection = connected(address, _left(deadline))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return connection


def _ask_proxy(connection: socket.socket, proxy: Proxy, target: tuple[str, int], deadline: float) -> None:
    """CONNECT; returns when the bytes that follow are the target's."""
    host, port = target
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = {"Host": authority}
    if proxy.authorization is not None:
        headers["Proxy-Authorization"] = proxy.authorization.reveal_text()
    connection.sendall(http1.request("CONNECT", authority, headers))
    head = _connect_head(connection, deadline)
    if 200 <= head.status < 300:
        return
    fix = "check the user and password in its URL" if head.status == 407 else ""
    said = f"{head.status} {head.reason}".strip()
    name = f"proxy {proxy.host}:{proxy.port} ({proxy.source})"
    raise Unreachable(f"{name} refuses a connection to {authority}: {said}", fix=fix)


def _connect_head(connection: socket.socket, deadline: float) -> http1.Head:
    """Read byte by byte: what follows the head belongs to TLS, and CONNECT's response has no body (RFC 9110, 9.3.6)."""
    received = bytearray()
    while not received.endswith(b"\r\n\r\n"):
        connection.settimeout(_left(deadline))
        byte = connection.recv(1)
        if not byte or len(received) > http1.HEAD_LIMIT:
            raise Unreachable("the proxy closed the connection instead of answering")
        received += byte
    return http1.parse_head(bytes(received[:-4]))


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
