"""Single HTTP calls to the services of the CI system, with explicit credentials."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ci_buildx.model import debug
from ci_buildx.model.documents import parse_json
from ci_buildx.model.record import dataclass

if TYPE_CHECKING:
    from requests import Response
    from requests.adapters import BaseAdapter, HTTPAdapter
    from urllib3.connection import HTTPConnection

_LOG = debug.get_log("model")
LARGEST_ANSWER = 4 << 20
"""Limit for the size of an answer, in bytes."""
LARGEST_REDIRECT = 64 << 10
"""Limit for the body of a redirect, in bytes; the body is discarded."""
MOST_REDIRECTS = 5
DEADLINE = 120.0
"""Default limit for a whole call in seconds: redirects, request and answer."""
_PIECE = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to one call: HTTP status and body."""

    status_code: int
    content: bytes

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.status_code < 400

    def json(self) -> Any:
        """Parse the content as JSON. Raises ValueError if it is invalid."""
        return parse_json(self.content)


def send_request(
    method: str,
    url: str,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    deadline: float = DEADLINE,
    **content: Any,
) -> Answer:
    """Send a request and return its answer; proxies and certificate authorities come from the environment.

    ``timeout`` (s) limits silence, ``deadline`` (s) the whole call; ``content`` holds more arguments of
    ``requests.Session.request``. Credentials come from ``headers`` only: ``requests`` would replace them with those of
    ``~/.netrc`` and would send such credentials to the target of any redirect. A redirect to another origin drops the
    credentials. Raises ``requests.RequestException``, also for an answer that is too large or too late.
    """
    from requests import RequestException, Session, Timeout
    from urllib3.exceptions import HTTPError

    from ci_buildx.model.tls import make_client_context

    began, outcome = time.monotonic(), "no answer"
    watch = _Watch(deadline)
    try:
        with Session() as session:
            session.trust_env = False
            session.max_redirects = MOST_REDIRECTS
            kind = _make_watched_connection(watch)
            # The authorities are those that requests adds: its own, or those of the environment.
            session.mount("https://", make_adapter(kind, ssl_context=make_client_context(system=False)))
            session.mount("http://", make_adapter(kind))
            response = session.request(
                method,
                url,
                headers=headers,
                timeout=timeout,
                proxies=find_proxies(url),
                verify=find_ca_bundle(),
                stream=True,
                hooks={"response": lambda response, **_: _pass_redirect(response)},
                **content,
            )
            outcome = str(response.status_code)
            with response:
                answer = Answer(status_code=response.status_code, content=_read(response, LARGEST_ANSWER))
            if watch.is_over:  # truncated headers count as complete
                raise Timeout
            return answer
    except (RequestException, HTTPError, OSError, ValueError) as error:
        if watch.is_over:
            raise Timeout(f"no complete response within {deadline:.0f} s") from error
        if isinstance(error, RequestException):
            raise
        raise RequestException(str(error)) from error
    finally:
        watch.close()
        if _LOG.is_on:
            _LOG.debug("%s %s: %s after %.3f s", method, show_url(url), outcome, time.monotonic() - began)


def show_url(url: str) -> str:
    """Return the URL as the debug log shows it: without login, and with the query replaced by ``***``."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    except ValueError:
        return "a malformed URL"
    return f"{parts.scheme}://{host}{port}{parts.path}{'?***' if parts.query else ''}"


def _pass_redirect(response: Response) -> None:
    """Read the body of a redirect up to a limit; the library would read all of it, however large."""
    if response.is_redirect:
        _read(response, LARGEST_REDIRECT)
        response._content = b""


def _read(response: Response, most: int) -> bytes:
    from requests.exceptions import ContentDecodingError

    body = bytearray()
    while piece := response.raw.read(_PIECE, decode_content=True):
        body += piece
        if len(body) > most:
            raise ContentDecodingError(f"the response has more than {most} bytes")
    return bytes(body)


class _Watch:
    """Closes the connections of a call at its deadline.

    A read timeout is not enough: a peer that keeps sending single bytes never triggers it.
    """

    def __init__(self, deadline: float) -> None:
        self.is_over = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(deadline, self._end)
        self._timer.daemon = True
        self._timer.start()

    def add(self, connected: socket.socket) -> None:
        """Watch a connection. The duplicate can shut it down even after TLS has taken over the original."""
        with self._lock:
            copy = connected.dup()
            self._sockets.append(copy)
            if self.is_over:
                _shut_down(copy)

    def close(self) -> None:
        """Stop watching, and close the duplicates."""
        self._timer.cancel()
        with self._lock:
            for one in self._sockets:
                one.close()
            self._sockets.clear()

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            for one in self._sockets:
                _shut_down(one)


def _shut_down(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _make_watched_connection(watch: _Watch) -> type[HTTPConnection]:
    from urllib3.connection import HTTPConnection

    class Watched(HTTPConnection):
        """Connection that ``watch`` shuts down at its deadline."""

        def _new_conn(self) -> socket.socket:
            made = super()._new_conn()
            watch.add(made)
            return made

    return Watched


def make_adapter(kind: type[HTTPConnection], **options: Any) -> HTTPAdapter:
    """Return an adapter for ``requests`` whose connections are of ``kind``, including those to proxies.

    Connections with TLS get the methods of ``kind``, too. ``options`` are passed to urllib3's pool managers.
    """
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    secure = type(f"Secure{kind.__name__}", (kind, HTTPSConnection), {})
    pools = {
        "http": type("Pool", (HTTPConnectionPool,), {"ConnectionCls": kind}),
        "https": type("Pool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }

    class Adapter(HTTPAdapter):
        """Adapter with pools of its own."""

        def init_poolmanager(self, *sizes: Any, **more: Any) -> None:
            super().init_poolmanager(*sizes, **{**more, **options})
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
            found = super().proxy_manager_for(proxy, **{**more, **options})
            found.pool_classes_by_scheme = pools
            return found

    return Adapter()


def make_late_adapter(make: Callable[[], HTTPAdapter]) -> BaseAdapter:
    """Return an adapter that ``make`` makes for its first request: reading the system's authorities takes 18 ms."""
    from requests.adapters import BaseAdapter

    class LateAdapter(BaseAdapter):
        """Adapter that may never be made."""

        def __init__(self) -> None:
            super().__init__()
            self._made: HTTPAdapter | None = None
            self._lock = threading.Lock()

        def send(self, *request: Any, **more: Any) -> Response:
            with self._lock:
                self._made = self._made or make()
            return self._made.send(*request, **more)

        def close(self) -> None:
            if self._made is not None:
                self._made.close()

    return LateAdapter()


def find_proxies(url: str) -> dict[str, str]:
    """Return the environment's proxies for ``url``, by scheme; a bare ``user:password@host:port`` means http.

    Raises ``requests.exceptions.InvalidProxyURL``, which quotes nothing, for a proxy without a host.
    """
    from requests.exceptions import InvalidProxyURL
    from requests.utils import get_environ_proxies, select_proxy

    proxies = {scheme: _add_scheme(text) for scheme, text in get_environ_proxies(url).items()}
    if chosen := select_proxy(url, proxies):
        try:
            has_host = bool(urlsplit(chosen).hostname)
        except ValueError:
            has_host = False
        if not has_host:
            raise InvalidProxyURL("the proxy's URL is malformed or has no host; check HTTP_PROXY and HTTPS_PROXY")
    return proxies


def _add_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def find_ca_bundle() -> str | bool:
    """Return the file of authorities from the variables that requests reads; True for its default."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
