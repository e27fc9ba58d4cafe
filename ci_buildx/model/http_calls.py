"""Single HTTP calls with a login of their own, to the CI system's services."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ci_buildx.model import debug
from ci_buildx.model.record import dataclass

if TYPE_CHECKING:
    from requests import Response
    from requests.adapters import HTTPAdapter

_LOG = debug.get_log("model")
LARGEST_ANSWER = 4 << 20
"""Bytes of an answer."""
LARGEST_REDIRECT = 64 << 10
"""Bytes that may come with a redirect; nobody reads them."""
MOST_REDIRECTS = 5
DEADLINE = 120.0
"""Seconds of a call with all that belongs to it: redirects, what is sent, the answer."""
_PIECE = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status_code: int
    content: bytes

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.status_code < 400

    def json(self) -> Any:
        """The content as JSON. Raises ValueError if it is none."""
        try:
            return json.loads(self.content)
        except RecursionError as error:
            raise ValueError("JSON that is nested too deeply") from error


def send_request(
    method: str,
    url: str,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    deadline: float = DEADLINE,
    **content: Any,
) -> Answer:
    """Send a request through the proxies and with the authorities that the environment names, and return its answer.

    ``timeout`` (s) bounds silence, ``deadline`` (s) all of it; ``content`` are arguments of
    ``requests.Session.request``. The login is what ``headers`` hold: ``requests`` would replace it by one of
    ``~/.netrc``, and would send one of those wherever a redirect leads. A redirect to another origin takes no login
    along. Raises ``requests.RequestException``, also for an answer that is too large or too late.
    """
    from requests import RequestException, Session, Timeout
    from requests.utils import get_environ_proxies
    from urllib3.exceptions import HTTPError

    began, outcome = time.monotonic(), "no answer"
    watch = _Watch(deadline)
    try:
        with Session() as session:
            session.trust_env = False
            session.max_redirects = MOST_REDIRECTS
            for scheme in ("https://", "http://"):
                session.mount(scheme, _adapter(watch))
            response = session.request(
                method,
                url,
                headers=headers,
                timeout=timeout,
                proxies=get_environ_proxies(url),
                verify=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True,
                stream=True,
                hooks={"response": lambda response, **_: _pass_redirect(response)},
                **content,
            )
            outcome = str(response.status_code)
            with response:
                answer = Answer(status_code=response.status_code, content=_read(response, LARGEST_ANSWER))
            if watch.is_over:  # headers that break off count as whole
                raise Timeout
            return answer
    except (RequestException, HTTPError, OSError, ValueError) as error:
        if watch.is_over:
            raise Timeout(f"no whole answer in {deadline:.0f} s") from error
        if isinstance(error, RequestException):
            raise
        raise RequestException(str(error)) from error
    finally:
        watch.close()
        if _LOG.is_on:
            _LOG.debug("%s %s: %s after %.3f s", method, show_url(url), outcome, time.monotonic() - began)


def show_url(url: str) -> str:
    """Return the URL as the debug log shows it: host and path, of the query nothing, of a login nothing."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    except ValueError:
        return "a malformed URL"
    return f"{parts.scheme}://{host}{port}{parts.path}{'?***' if parts.query else ''}"


def _pass_redirect(response: Response) -> None:
    """Read what comes with a redirect, which the library would read whole, however large."""
    if response.is_redirect:
        _read(response, LARGEST_REDIRECT)
        response._content = b""


def _read(response: Response, most: int) -> bytes:
    from requests.exceptions import ContentDecodingError

    body = bytearray()
    while piece := response.raw.read(_PIECE, decode_content=True):
        body += piece
        if len(body) > most:
            raise ContentDecodingError(f"the answer has more than {most} bytes")
    return bytes(body)


class _Watch:
    """Ends the connections of a call when its time is over: a peer that drips is never silent."""

    def __init__(self, deadline: float) -> None:
        self.is_over = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(deadline, self._end)
        self._timer.daemon = True
        self._timer.start()

    def add(self, connected: socket.socket) -> None:
        """Watch a connection; the copy ends it also when TLS has taken the original."""
        with self._lock:
            copy = connected.dup()
            self._sockets.append(copy)
            if self.is_over:
                _cut(copy)

    def close(self) -> None:
        """Watch no more."""
        self._timer.cancel()
        with self._lock:
            for one in self._sockets:
                one.close()
            self._sockets.clear()

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            for one in self._sockets:
                _cut(one)


def _cut(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _adapter(watch: _Watch) -> HTTPAdapter:
    from requests.adapters import HTTPAdapter
    from urllib3 import connection, connectionpool

    class Plain(connection.HTTPConnection):
        """Without TLS."""

        def _new_conn(self) -> socket.socket:
            made = super()._new_conn()
            watch.add(made)
            return made

    class Secure(connection.HTTPSConnection):
        """With TLS."""

        def _new_conn(self) -> socket.socket:
            made = super()._new_conn()
            watch.add(made)
            return made

    pools = {
        "http": type("Pool", (connectionpool.HTTPConnectionPool,), {"ConnectionCls": Plain}),
        "https": type("Pool", (connectionpool.HTTPSConnectionPool,), {"ConnectionCls": Secure}),
    }

    class Watched(HTTPAdapter):
        """Its connections are watched, those to proxies, too."""

        def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
            super().init_poolmanager(*sizes, **options)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            found = super().proxy_manager_for(proxy, **options)
            found.pool_classes_by_scheme = pools
            return found

    return Watched()
