"""HTTP to registries: pooled connections, TLS as declared, retries, bounded answers, clear errors.

``requests`` is imported with the first connection: a build that merges nothing never pays for it.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from ci_buildx import __version__
from ci_buildx.errors import InputError, RegistryError
from ci_buildx.registry.content import LARGEST_MANIFEST
from ci_buildx.registry.trust import Trust

if TYPE_CHECKING:
    from requests import Response, Session

_TIMEOUTS = (10.0, 60.0)
"""Seconds to connect, and between two pieces of an answer."""
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_PIECE = 1 << 16


class Body(Protocol):
    """Content to send that is read piece by piece."""

    def __len__(self) -> int: ...

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most ``size`` of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. ``body`` is called for each attempt; ``streamed`` leaves the content of a 200 to be read."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], bytes | Body] | None = None
    limit: int = LARGEST_MANIFEST
    streamed: bool = False

    @property
    def host(self) -> str:
        """The host with its port."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; header names are lower case. ``stream`` must be closed by whoever asked for it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    stream: Response | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often to try, and how long to wait between (s): doubling from ``first``, at most ``longest``, jittered."""

    attempts: int = 5
    first: float = 0.25
    longest: float = 20.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def pause(self, attempt: int, wanted: float | None) -> None:
        """Wait before the next attempt; what the registry wants goes first."""
        delay = self.first * 2**attempt * (0.5 + self.jitter()) if wanted is None else wanted
        self.sleep(min(delay, self.longest))


class Connection:
    """Sends requests; thread-safe. ``close`` gives the sockets back."""

    def __init__(self, trust: Trust, patience: Patience | None = None) -> None:
        self.trust = trust
        self._patience = patience or Patience()
        self._sessions: dict[str, Session] = {}

    def base(self, host: str) -> str:
        """The URL of a registry."""
        return f"{'http' if self.trust.is_plain(host) else 'https'}://{host}"

    def send(self, request: Request) -> Answer:
        """The answer, whatever its status, after retries on 408, 429, 5xx and broken connections.

        RegistryError if there is no answer, its TLS is not trusted, or it is larger than the request's limit.
        """
        from requests.exceptions import ConnectionError as Broken
        from requests.exceptions import RequestException, SSLError, Timeout

        for attempt in range(self._patience.attempts):
            last = attempt == self._patience.attempts - 1
            try:
                answer = self._attempt(request)
            except SSLError as error:
                raise _untrusted(request.host, error) from error
            except (Broken, Timeout, OSError) as error:
                if last or (isinstance(error, RequestException) and not isinstance(error, Broken | Timeout)):
                    raise RegistryError(f"no answer from {request.host}: {_reason(error)}") from error
                self._patience.pause(attempt, None)
                continue
            if last or answer.status not in _RETRIED:
                break
            self._patience.pause(attempt, _retry_after(answer.headers))
        return answer

    def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            session.close()

    def _attempt(self, request: Request) -> Answer:
        from requests.utils import get_environ_proxies

        response = self._session(request.host).request(
            request.method,
            request.url,
            headers={"User-Agent": f"kube-builder/{__version__}", "Accept-Encoding": "identity", **request.headers},
            data=request.body() if request.body else None,
            proxies=get_environ_proxies(request.url),
            verify=request.host not in self.trust.insecure,
            timeout=_TIMEOUTS,
            stream=True,
        )
        headers = {name.lower(): value for name, value in response.headers.items()}
        if request.streamed and response.status_code == 200:
            return Answer(status=200, headers=headers, stream=response)
        with response:
            body = _read(response, request)
        return Answer(status=response.status_code, headers=headers, body=body)

    def _session(self, host: str) -> Session:
        session = self._sessions.get(host)
        if session is None:
            session = self._sessions.setdefault(host, _session(host, self.trust))
        return session


def _session(host: str, trust: Trust) -> Session:
    """A session that takes nothing but proxies from its surroundings: logins of a ``.netrc`` are not meant for us."""
    from requests import Session
    from requests.adapters import HTTPAdapter

    session = Session()
    session.trust_env = False
    if host in trust.insecure:
        import warnings

        from urllib3.exceptions import InsecureRequestWarning

        warnings.filterwarnings("ignore", category=InsecureRequestWarning)
    elif files := trust.authorities.get(host):
        context = ssl.create_default_context()
        for file in files:
            try:
                context.load_verify_locations(file)
            except OSError as error:
                raise InputError(f"{file} holds no certificates: {error}", source=f"ca of registry {host}") from error
        adapter = HTTPAdapter()
        adapter.init_poolmanager(connections=2, maxsize=4, ssl_context=context)
        session.mount("https://", adapter)
    return session


def _read(response: Response, request: Request) -> bytes:
    body = bytearray()
    for piece in response.iter_content(_PIECE):
        body += piece
        if len(body) > request.limit:
            raise RegistryError(f"{request.host} sent more than {request.limit} bytes for {urlsplit(request.url).path}")
    return bytes(body)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the answer asks to wait, None if it does not say."""
    value = headers.get("retry-after", "")
    if value.isdecimal() and len(value) < 9:
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _untrusted(host: str, error: Exception) -> RegistryError:
    text = str(error)
    if "WRONG_VERSION_NUMBER" in text or "record layer" in text.lower():
        return RegistryError(f"{host} does not speak TLS", fix=f'declare [registry."{host}"] http = true')
    fix = f'put ca = ["file"] for [registry."{host}"] into the buildkitd config'
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = text.rpartition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return RegistryError(f"the certificate of {host} is not trusted: {reason}", fix=fix)
    return RegistryError(f"TLS with {host} failed: {_reason(error)}", fix=fix)


def _reason(error: BaseException) -> str:
    """The innermost cause, which is the one that says something."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
