"""Tunnels through the API server (exec, port-forward), each behind a private UNIX socket for gRPC.

gRPC reconnects when a connection breaks, and a builder may be used over several channels at once. A WebSocket is one
connection to buildkitd and cannot be reused, so each accepted connection opens its own on demand. The first one is
opened in advance: a refusal (no such pod, 403) is then raised on opening, not hidden in a gRPC error.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.errors import KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.websocket import WebSocket
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass
from ci_buildx.transport.endpoint import PodAddress, PodEndpoint
from ci_buildx.transport.pump import ExecChannels, PortForwardChannels, StreamChannels, TunnelPump

_LOG = debug.get_log("transport")
_GRACE = 2.0
"""Seconds to wait for the threads at the end; they wake at once."""


@dataclass(frozen=True, slots=True)
class WebSocketTunnel:
    """A WebSocket and the handling of its channels."""

    remote: WebSocket
    channels: StreamChannels


@contextmanager
def open_gate(dial: Callable[[], WebSocketTunnel]) -> Iterator[str]:
    """Yield the gRPC target of a socket, ``unix:/…``; on exit, close threads and sockets and delete the folder.

    ``dial`` opens one tunnel. Exceptions from inside get a note with the tunnel's last error, which says more than
    gRPC's "connection reset". Raises what ``dial`` raises, and OSError if no folder can hold the socket.
    """
    first = dial()
    undo = contextlib.ExitStack()
    try:
        folder = undo.enter_context(_make_private_folder())
    except BaseException:
        first.remote.close()
        raise
    path = folder / "s"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    gate = TunnelGate(listener, dial, first)
    try:
        listener.bind(str(path))
        listener.listen()
        gate.start()
        yield f"unix:{path}"
    except Exception as failure:
        if gate.failure:
            failure.add_note(gate.failure)
        raise
    finally:
        gate.close()
        undo.close()


class TunnelGate:
    """Accepts connections and runs a pump for each. ``failure`` is the last reason why a tunnel ended."""

    def __init__(self, listener: socket.socket, dial: Callable[[], WebSocketTunnel], first: WebSocketTunnel) -> None:
        self.failure = ""
        self._listener = listener
        self._dial = dial
        self._lock = threading.Lock()
        self._spare: WebSocketTunnel | None = first
        self._wake, self._alarm = socket.socketpair()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start accepting connections."""
        self._run(self._accept)

    def close(self) -> None:
        """End all pumps and wait for them."""
        self._alarm.close()
        for thread in self._threads:
            thread.join(_GRACE)
        self._listener.close()
        self._wake.close()
        if self._spare is not None:
            self._spare.remote.close()

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="tunnel", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while all(descriptor != self._wake.fileno() for descriptor, _ in poll.poll()):
            local, _ = self._listener.accept()
            self._run(self._carry, local)

    def _carry(self, local: socket.socket) -> None:
        """Serve one connection; gRPC sees only that it ends, so store the reason in ``failure``."""
        with local:
            try:
                tunnel = self._take_tunnel()
            except KubeBuilderError as cause:
                self.failure = str(cause)
                _LOG.debug("tunnel: cannot be opened: %s", cause)
                return
            remote, channels = tunnel.remote, tunnel.channels
            try:
                if TunnelPump(local, remote, channels, self._wake).run():
                    self.failure = channels.failure or f"the tunnel was closed {remote.close_reason}".rstrip()
            except (OSError, ValueError) as cause:
                self.failure = channels.failure or f"the tunnel broke: {cause}"
            finally:
                remote.close()
                _LOG.debug("tunnel: closed%s%s", ": " if self.failure else "", self.failure)

    def _take_tunnel(self) -> WebSocketTunnel:
        """Return the tunnel that was opened in advance, else a new one."""
        with self._lock:
            spare, self._spare = self._spare, None
        return spare or self._dial()


@contextmanager
def _make_private_folder() -> Iterator[Path]:
    """Create a private folder whose path is short enough for a UNIX socket (108 bytes)."""
    with contextlib.ExitStack() as undo:
        for base in scratch.list_socket_bases():
            with contextlib.suppress(OSError):
                folder = undo.enter_context(scratch.open_folder(Path(base)))
                break
        else:
            raise OSError("no folder for a socket: neither XDG_RUNTIME_DIR nor TMPDIR nor /tmp can be written")
        yield folder


PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""WebSocket subprotocols; v5, from Kubernetes 1.30 on, is faster: the API server then speaks SPDY to the kubelet."""

COMMAND = ("buildctl", "dial-stdio")


@contextmanager
def open_exec(kube: KubeClient, pod: PodAddress, *, command: tuple[str, ...] = COMMAND) -> Iterator[PodEndpoint]:
    """Open an endpoint on the standard input and output of ``command``, without TLS. Raises the KubeError tree."""
    query = [("container", pod.container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in command]

    def dial() -> WebSocketTunnel:
        return WebSocketTunnel(kube.open_websocket(pod.make_path("exec"), query, PROTOCOLS), ExecChannels())

    with open_gate(dial) as target:
        yield PodEndpoint(target, secure=False)


PROTOCOL = "v4.channel.k8s.io"


@contextmanager
def open_port_forward(kube: KubeClient, pod: PodAddress) -> Iterator[PodEndpoint]:
    """Open an endpoint on a forwarded port; mTLS is spoken through it. Raises the KubeError tree."""

    def dial() -> WebSocketTunnel:
        remote = kube.open_websocket(pod.make_path("portforward"), [("ports", str(pod.port))], [PROTOCOL])
        return WebSocketTunnel(remote, PortForwardChannels())

    with open_gate(dial) as target:
        yield PodEndpoint(target, secure=True)
