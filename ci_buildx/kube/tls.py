"""TLS to the API server: trust, client certificates, and a relay for TLS inside TLS."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """How to verify the server. ``authority`` is PEM; empty means the system's roots.

    ``server_name`` is the name to verify, "" for the URL's host.
    """

    authority: bytes = b""
    verify: bool = True
    server_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsKeyPair:
    """A client certificate with its key, both PEM; ``source`` names their origin in errors."""

    certificate: bytes
    key: Secret
    source: str = ""


def make_ssl_context(settings: TlsSettings, key_pair: TlsKeyPair | None) -> ssl.SSLContext:
    """Make an SSLContext that verifies the server according to ``settings`` and presents ``key_pair``.

    Raises InputError for invalid PEM.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not settings.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif settings.authority:
        _load_trust(made, settings.authority)
    else:
        made.load_default_certs()
    if key_pair is not None:
        _load_key_pair(made, key_pair)
    return made


def _load_trust(made: ssl.SSLContext, authority: bytes) -> None:
    try:
        made.load_verify_locations(cadata=authority.decode("ascii"))
    except (ssl.SSLError, ValueError) as cause:
        raise InputError("certificate-authority contains no PEM certificate", source="kubeconfig") from cause


def _load_key_pair(made: ssl.SSLContext, pair: TlsKeyPair) -> None:
    from ci_buildx.model import secret

    with (
        secret.open_private_file(pair.certificate) as certificate,
        secret.open_private_file(pair.key.reveal()) as key,
    ):
        try:
            made.load_cert_chain(certificate, key, password="")  # an encrypted key must not prompt on a terminal
        except (ssl.SSLError, OSError) as cause:
            reason = "client certificate and key do not match, or are not PEM"
            raise InputError(reason, source=pair.source or "kubeconfig") from cause


def read_expiry(pair: TlsKeyPair) -> str:
    """Return when a certificate expired, "" while it is valid.

    Importing ``cryptography`` is slow, so call this only after a refusal.
    """
    from datetime import UTC, datetime

    from cryptography import x509

    try:
        ended = x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc
    except ValueError:
        return ""
    return "" if ended > datetime.now(UTC) else ended.strftime("%Y-%m-%d %H:%M:%S UTC")


_SIZE = 64 << 10


def open_relay(secure: socket.socket) -> socket.socket:
    """Return the near end of a socket pair; a thread relays its far end to ``secure``.

    Needed for TLS inside TLS. Closing the near end ends both.
    """
    near, far = socket.socketpair()
    threading.Thread(target=run_relay, args=(secure, far), name="tls-relay", daemon=True).start()
    return near


def run_relay(secure: socket.socket, far: socket.socket) -> None:
    """Relay bytes between two sockets until either side ends, and close both; one of them may be TLS."""
    with secure, far, contextlib.suppress(OSError):
        secure.setblocking(False)
        far.setblocking(False)
        _TlsRelay(secure, far).run()


class _TlsRelay:
    """Moves bytes both ways, holding at most one buffer per direction, until either side ends."""

    def __init__(self, secure: socket.socket, far: socket.socket) -> None:
        self._sockets = {secure: far, far: secure}
        self._held = {secure: b"", far: b""}

    def run(self) -> None:
        """Relay until either side ends. Raises OSError if a socket fails."""
        while True:
            moved = [self._move(source) for source in self._sockets]
            if None in moved:
                return
            if not any(moved):
                self._wait()

    def _move(self, source: socket.socket) -> bool | None:
        """Return whether bytes moved from ``source``; None at its end."""
        progress = False
        if not self._held[source]:
            received = _receive(source)
            if received == b"":
                return None
            self._held[source] = received or b""
            progress = received is not None
        if self._held[source]:
            sent = _send(self._sockets[source], self._held[source])
            self._held[source] = self._held[source][sent:]
            progress = progress or sent > 0
        return progress

    def _wait(self) -> None:
        poll = select.poll()
        for end, peer in self._sockets.items():
            events = (0 if self._held[end] else select.POLLIN) | (select.POLLOUT if self._held[peer] else 0)
            poll.register(end, events)
        poll.poll()


def _receive(source: socket.socket) -> bytes | None:
    """Receive bytes: ``b""`` at the end, None if nothing is available now."""
    try:
        return source.recv(_SIZE)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None


def _send(target: socket.socket, content: bytes) -> int:
    try:
        return target.send(content)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return 0
