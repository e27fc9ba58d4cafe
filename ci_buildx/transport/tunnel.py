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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from ci_buildx.errors import KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.websocket import WebSocket
from ci_buildx.model import debug
from ci_buildx.model.documents import parse_json
from ci_buildx.model.record import dataclass
from ci_buildx.transport.accepting import accept_connections
from ci_buildx.transport.race import PodAddress, PodEndpoint

_KEPT = 2048
"""Bytes of error text to keep, from the end, which holds the reason."""


class StreamChannels(Protocol):
    """One way to use the channels. ``outgoing`` is the number of the channel that we send on."""

    outgoing: int

    def receive(self, message: memoryview) -> memoryview:
        """Process a message, channel number first, and return its stream data, possibly empty."""
        ...

    @property
    def failure(self) -> str:
        """The other side's error message, "" if there is none."""
        ...


class PortForwardChannels:
    """Channels of one forwarded port: 0 carries data, 1 an error text.

    Each channel's first message is the port number, two bytes (kubelet v0.34.2, ``pkg/cri/streaming/portforward/
    websocket.go``, protocol v4.channel.k8s.io). The newer v2.portforward.k8s.io tunnels SPDY and gains nothing here.
    """

    outgoing = 0

    def __init__(self) -> None:
        self._greeted: set[int] = set()
        self._error = b""

    def receive(self, message: memoryview) -> memoryview:
        """Return the data of channel 0."""
        channel, content = message[0], message[1:]
        if channel not in self._greeted:
            self._greeted.add(channel)
            content = content[2:]
        if channel == 0:
            return content
        self._error = (self._error + bytes(content))[-_KEPT:]
        return content[:0]

    @property
    def failure(self) -> str:
        """The kubelet's error text, including its reason."""
        return self._error.decode(errors="replace").strip()


class ExecChannels:
    """Channels of a command: 0 is its input, 1 its output, 2 its errors, 3 the Status at its end.

    Source: kubelet v0.34.2, ``pkg/cri/streaming/remotecommand/websocket.go``.
    """

    outgoing = 0

    def __init__(self) -> None:
        self._errors = b""
        self._status = b""

    def receive(self, message: memoryview) -> memoryview:
        """Return the data of channel 1."""
        channel, content = message[0], message[1:]
        if channel == 1:
            return content
        if channel == 2:
            self._errors = (self._errors + bytes(content))[-_KEPT:]
        elif channel == 3:
            self._status = (self._status + bytes(content))[:_KEPT]
        return content[:0]

    @property
    def failure(self) -> str:
        """How the command ended, and the last line of its standard error."""
        lines = self._errors.decode(errors="replace").strip().splitlines()
        return ": ".join(part for part in (_read_exit(self._status), lines[-1] if lines else "") if part)


def _read_exit(status: bytes) -> str:
    if not status:
        return ""
    try:
        answer = parse_json(status)
        return "" if answer["status"] == "Success" else str(answer.get("message") or answer.get("reason") or "failed")
    except (ValueError, KeyError, TypeError, AttributeError):
        return status.decode(errors="replace").strip()


class TunnelPump:
    """One tunnel's data pump. ``wake`` is a socket that becomes readable when the pump must end."""

    def __init__(self, local: socket.socket, remote: WebSocket, channels: StreamChannels, wake: socket.socket) -> None:
        local.setblocking(False)
        self._local = local
        self._remote = remote
        self._channels = channels
        self._wake = wake
        self._down: list[memoryview] = []
        self._local_ended = False

    def run(self) -> bool:
        """Pump until one side ends or ``wake`` is readable; return True if the remote side ended.

        Raises OSError or ProtocolError if the WebSocket breaks.
        """
        up = down = True
        while True:
            try:
                up = up and self._pump_up()
            except OSError:
                self._read_close_reason()
                raise
            if down:
                down = self._pump_down()
                up = up or self._remote.sending  # an answer to a ping
            if self._remote.ended and not self._down:
                return True
            if self._local_ended:
                return False
            if not (up or down):
                ready = self._wait()
                if self._wake.fileno() in ready:
                    return False
                up, down = self._choose(ready)

    def _pump_up(self) -> bool:
        """Move data from the local socket to the WebSocket; return whether more may move at once."""
        remote = self._remote
        received = 0
        if remote.has_room:
            try:
                received = self._local.recv_into(remote.room)
            except BlockingIOError:
                return False
            except ConnectionError:
                received = 0
            if not received:
                self._local_ended = True
                return True
            remote.dispatch(received, self._channels.outgoing)
        # A read that leaves room has emptied the socket: asking it again would only take time.
        return remote.flush() and received == len(remote.room)

    def _read_close_reason(self) -> None:
        """Read what the other side sent before it hung up while we were sending."""
        with contextlib.suppress(OSError, ValueError):
            while messages := self._remote.receive():
                for message in messages:
                    self._channels.receive(message)

    def _pump_down(self) -> bool:
        """Move data from the WebSocket to the local socket; return whether more may move at once."""
        if self._down:
            return self._deliver()
        if self._remote.ended:
            return False
        messages = self._remote.receive()
        if messages is None:
            return False
        self._down = [content for content in map(self._channels.receive, messages) if content]
        self._deliver()
        return not (self._remote.drained or self._down)

    def _deliver(self) -> bool:
        """Send the buffered data to the local socket; return whether any was sent."""
        delivered = False
        while self._down:
            try:
                sent = self._local.send(self._down[0])
            except BlockingIOError:
                break
            except ConnectionError:
                self._local_ended = True
                break
            delivered = True
            self._down[0] = self._down[0][sent:]
            if not self._down[0]:
                del self._down[0]
        return delivered

    def _wait(self) -> dict[int, int]:
        """Wait until data can move or the pump must end; return the events by descriptor."""
        local = (select.POLLIN if self._remote.has_room else 0) | (select.POLLOUT if self._down else 0)
        reading = 0 if self._down or self._remote.ended else select.POLLIN
        remote = reading | (select.POLLOUT if self._remote.sending else 0)
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        # An end without events must not be registered: poll would report its hang-up again and again.
        for end, events in ((self._local, local), (self._remote, remote)):
            if events:
                poll.register(end, events)
        return dict(poll.poll())

    def _choose(self, ready: Mapping[int, int]) -> tuple[bool, bool]:
        """Return in which directions, up and down, data may move; an error or hang-up shows in both."""
        local, remote = ready.get(self._local.fileno(), 0), ready.get(self._remote.fileno(), 0)
        return (
            bool(local & ~select.POLLOUT or remote & ~select.POLLIN),
            bool(local & ~select.POLLIN or remote & ~select.POLLOUT),
        )


_LOG = debug.get_log("transport")
_SOCKET = "s"
"""The socket's name in its folder, short because its path has to be."""
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
        folder = undo.enter_context(scratch.open_socket_folder(_SOCKET))
    except BaseException:
        first.remote.close()
        raise
    path = folder / _SOCKET
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
        path.unlink(missing_ok=True)
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
        for local in accept_connections(self._listener, self._wake, self._fail):
            self._run(self._carry, local)

    def _fail(self, reason: str) -> None:
        self.failure = reason
        _LOG.debug("tunnel: %s", reason)

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
