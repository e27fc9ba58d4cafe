"""HTTP connections to registries: sessions of ``requests`` with the declared TLS trust of each host, and retries."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urljoin, urlsplit

from ci_buildx import __version__
from ci_buildx.errors import InputError, RegistryError
from ci_buildx.model import debug, secret
from ci_buildx.model.hosts import parse_origin
from ci_buildx.model.http_calls import find_ca_bundle, find_proxies, make_adapter, make_late_adapter, show_url
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.secret import Secret
from ci_buildx.model.tls import make_client_context
from ci_buildx.registry.content import LARGEST_MANIFEST
from ci_buildx.registry.pace import TransferPace, limit_responses, make_paced_connection
from ci_buildx.registry.trust import RegistryTrust

if TYPE_CHECKING:
    from requests import Response, Session
    from requests.adapters import HTTPAdapter

_PROTOCOLS = ["http/1.1"]
REDIRECTS = 5
"""Maximum number of redirects followed for one request."""


def make_session(host: str, trust: RegistryTrust, pace: TransferPace) -> Session:
    """Return a session that ignores logins of the environment: those in a ``.netrc`` are for other programs."""
    from requests import Session

    session = Session()
    session.trust_env = False
    session.max_redirects = REDIRECTS
    if host in trust.insecure:
        import warnings

        from urllib3.exceptions import InsecureRequestWarning

        warnings.filterwarnings("ignore", category=InsecureRequestWarning)
    kind = make_paced_connection(pace)

    def make_secure() -> HTTPAdapter:
        return make_adapter(kind, ssl_context=None if host in trust.insecure else _find_context(host, trust))

    session.mount("https://", make_late_adapter(make_secure))
    session.mount("http://", make_adapter(kind, ssl_context=None))
    return session


def _find_context(host: str, trust: RegistryTrust) -> ssl.SSLContext:
    """Return the TLS context of a host: one of its own if it has declarations, else that of all other hosts."""
    if host in trust.authorities or host in trust.keypairs:
        return _make_context(host, trust)
    return _share_context((trust.everywhere, ssl.get_default_verify_paths(), find_ca_bundle()))


@lru_cache(maxsize=8)
def _share_context(authorities: tuple[str, ssl.DefaultVerifyPaths, str | bool]) -> ssl.SSLContext:
    """Return the context of hosts without declarations: each new one would read all authorities again.

    ``authorities`` are those for all hosts, the system's files, and the file that urllib3 adds when it connects.
    """
    return _make_context("", RegistryTrust(everywhere=authorities[0]))


def _make_context(host: str, trust: RegistryTrust) -> ssl.SSLContext:
    """Return a TLS context with the system's authorities (``SSL_CERT_FILE`` included) and the host's declared ones."""
    context = make_client_context()
    if trust.everywhere:
        context.load_verify_locations(cadata=trust.everywhere)
    for one in trust.authorities.get(host, ()):
        try:
            if isinstance(one, str):
                context.load_verify_locations(cadata=one)
            else:
                context.load_verify_locations(one)
        except OSError as error:
            what = one if isinstance(one, Path) else "a certificate authority"
            raise InputError(f"{what} contains no certificates: {error}", source=f"ca of registry {host}") from error
    for certificate, key in trust.keypairs.get(host, ()):
        _present(context, certificate, key, host)
    context.set_alpn_protocols(_PROTOCOLS)
    # urllib3 sets them again for each connection, and frees what OpenSSL may be reading in another thread.
    context.set_alpn_protocols = _keep_protocols  # type: ignore[assignment, method-assign]
    return context


def _keep_protocols(wanted: Iterable[str]) -> None:
    """Refuse other protocols than those of a shared context. Raises ValueError."""
    if list(wanted) != _PROTOCOLS:
        raise ValueError(f"registries are asked by {', '.join(_PROTOCOLS)}")


def _present(context: ssl.SSLContext, certificate: Secret, key: Secret, host: str) -> None:
    """Load a client certificate into the context, through a file since the library cannot read from memory."""
    with secret.open_private_file(certificate.reveal() + b"\n" + key.reveal()) as name:
        try:
            context.load_cert_chain(name, password="")  # prevents a password prompt on the terminal
        except OSError as error:
            message = "the client certificate and its key do not match, or are not PEM"
            raise InputError(message, source=f"keypair of registry {host}") from error


_LOG = debug.get_log("registry")
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
LARGEST_REDIRECT = 64 << 10
"""Maximum size in bytes of a redirect's body, which is discarded."""
MOST_HOSTS = 64
"""Maximum number of hosts with open sessions: buildkitd may ask for tokens of any number of hosts."""
_PIECE = 1 << 16
_LONGEST_REASON = 200
_NO_BUNDLE = "suitable TLS CA certificate bundle"
_NO_TLS = "WRONG_VERSION_NUMBER"
_NO_TRUST = ("CERTIFICATE_VERIFY_FAILED", "Hostname mismatch")


class TooLarge(RegistryError):
    """A response is larger than the request's limit."""


class RequestBody(Protocol):
    """Content to send, read in pieces."""

    def __len__(self) -> int: ...

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` more bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRequest:
    """A request. ``body`` is called for each attempt; ``streamed`` leaves the content of a 200 unread.

    ``limit`` is the maximum size of the response in bytes. ``named_by`` is the registry that referred to this host:
    its trust settings also apply to its token service. Redirects are followed if ``follows``; the library drops the
    login if they lead to another origin. ``check`` is called with the URL of each redirect and raises RegistryError
    if it must not be followed.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Callable[[], bytes | RequestBody] | None = field(default=None, repr=False)
    limit: int = LARGEST_MANIFEST
    streamed: bool = False
    named_by: str = ""
    follows: bool = True
    check: Callable[[str], None] | None = None

    @property
    def host(self) -> str:
        """The host with its port."""
        return urlsplit(self.url).netloc

    def find_stranger(self, answer: RegistryResponse) -> str:
        """Return the other host that the answer comes from after redirects, "" if it is this request's own."""
        asked, answered = parse_origin(self.url), parse_origin(answer.url)
        if asked is not None and asked.covers(answered):
            return ""
        return answered.authority if answered else "a malformed address"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryResponse:
    """A response; header names are lower case. The caller must close ``stream``.

    ``url`` is where it comes from: after redirects this may be another host, whose challenges are its own.
    """

    status: int
    headers: Mapping[str, str]
    url: str = ""
    body: bytes = b""
    stream: Response | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPatience:
    """Number of attempts and the waits between them in seconds: doubling from ``first`` to ``longest``, jittered.

    ``connect`` and ``silence`` (seconds) limit the time of one attempt until it is connected, and between two pieces of
    the response; ``pace`` limits the attempt as a whole.
    """

    attempts: int = 5
    connect: float = 10.0
    silence: float = 60.0
    pace: TransferPace = TransferPace()
    first: float = 0.25
    longest: float = 20.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def pause(self, attempt: int, wanted: float | None) -> None:
        """Wait before the next attempt; the registry's ``wanted`` seconds take precedence."""
        delay = self.first * 2**attempt * (0.5 + self.jitter()) if wanted is None else wanted
        self.sleep(min(delay, self.longest))


class RegistryConnection:
    """Sends requests to any number of hosts; thread-safe."""

    def __init__(self, trust: RegistryTrust, patience: RequestPatience | None = None) -> None:
        self.trust = trust
        self._patience = patience or RequestPatience()
        self._sessions: dict[str, Session] = {}
        self._schemes: dict[str, str] = {}

    def find_base(self, host: str) -> str:
        """Return a registry's base URL; probe once for TLS if it may use either (``http`` and ``insecure``)."""
        scheme = self._schemes.get(host)
        if scheme is None:
            scheme = "https" if self._is_tls(host) else "http"
            if len(self._schemes) >= MOST_HOSTS:
                self._schemes.clear()
            self._schemes[host] = scheme
        return f"{scheme}://{host}"

    def send(self, request: RegistryRequest) -> RegistryResponse:
        """Return the response, whatever its status, after retries on 408, 429, 5xx and broken connections.

        Raises RegistryError if there is no response, its TLS certificate is not trusted, it arrives too slowly, or it
        is larger than the request's limit.
        """
        from requests.exceptions import ChunkedEncodingError, RequestException, SSLError, Timeout
        from requests.exceptions import ConnectionError as Broken
        from urllib3.exceptions import HTTPError

        for attempt in range(self._patience.attempts):
            last, began = attempt == self._patience.attempts - 1, time.monotonic()
            try:
                answer = self._attempt(request)
            except (Broken, ChunkedEncodingError, Timeout) as error:
                _log(request, f"no answer ({_find_reason(error)})", began)
                if last or (isinstance(error, SSLError) and _is_final(error)):
                    raise _make_connection_error(request.host, error) from error
                self._patience.pause(attempt, None)
                continue
            except (RequestException, HTTPError, ValueError, OSError) as error:
                # ValueError: an invalid URL or header; OSError: a file of authorities that is missing.
                _log(request, f"no answer ({_find_reason(error)})", began)
                raise _make_connection_error(request.host, error) from error
            _log(request, answer.status, began)
            if last or answer.status not in _RETRIED:
                break
            self._patience.pause(attempt, _read_retry_after(answer.headers))
        return answer

    def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            session.close()

    def _is_tls(self, host: str) -> bool:
        if not self.trust.should_prefer_tls(host):
            return False
        if not self.trust.allows_plain(host):
            return True
        try:
            self.send(RegistryRequest(method="GET", url=f"https://{host}/v2/"))
        except RegistryError:
            return False
        return True

    def _attempt(self, request: RegistryRequest) -> RegistryResponse:
        judged_as = request.host if self.trust.has_tls_declaration(request.host) else request.named_by or request.host
        with limit_responses(request.limit):
            response = self._open_session(judged_as).request(
                request.method,
                request.url,
                headers={"User-Agent": f"kube-builder/{__version__}", "Accept-Encoding": "identity", **request.headers},
                data=request.body() if request.body else None,
                proxies=find_proxies(request.url),
                verify=judged_as not in self.trust.insecure and find_ca_bundle(),
                timeout=(self._patience.connect, self._patience.silence),
                stream=True,
                allow_redirects=request.follows,
                hooks={"response": lambda response, **_: _look_at_redirect(response, request)},
            )
        headers = {name.lower(): value for name, value in response.headers.items()}
        if _LOG.is_on and response.history:
            _LOG.debug("%s led to %s", show_url(request.url), show_url(response.url))
        if request.streamed and response.status_code == 200:
            return RegistryResponse(status=200, headers=headers, url=response.url, stream=response)
        with response:
            body = _read_response(response, request)
        return RegistryResponse(status=response.status_code, headers=headers, url=response.url, body=body)

    def _open_session(self, host: str) -> Session:
        session = self._sessions.get(host)
        if session is None:
            while len(self._sessions) >= MOST_HOSTS:  # running requests continue, and close their sockets at the end
                with suppress(StopIteration, KeyError):
                    self._sessions.pop(next(iter(self._sessions))).close()
            session = self._sessions.setdefault(host, make_session(host, self.trust, self._patience.pace))
        return session


def _log(request: RegistryRequest, outcome: object, began: float) -> None:
    if _LOG.is_on:
        authorized = any(name.lower() == "authorization" for name in request.headers)
        what = f"{request.method} {show_url(request.url)}{' with a login' if authorized else ''}"
        _LOG.debug("%s: %s after %.3f s", what, outcome, time.monotonic() - began)


def _look_at_redirect(response: Response, request: RegistryRequest) -> None:
    """Refuse a forbidden redirect, and limit the size of its body.

    The library would read the body completely, however large, before it continues.
    """
    if not (request.follows and response.is_redirect):
        return
    if request.check is not None:
        request.check(urljoin(response.url, response.headers["location"]))
    if len(response.raw.read(LARGEST_REDIRECT + 1)) > LARGEST_REDIRECT:
        raise RegistryError(f"{request.host} sent more than {LARGEST_REDIRECT} bytes with a redirect")
    response._content = b""


def _read_response(response: Response, request: RegistryRequest) -> bytes:
    body = bytearray()
    for piece in response.iter_content(_PIECE):
        body += piece
        if len(body) > request.limit:
            raise TooLarge(f"{request.host} sent more than {request.limit} bytes for {urlsplit(request.url).path}")
    return bytes(body)


def _read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the response asks to wait, None if unspecified."""
    value = headers.get("retry-after", "")
    if value.isdecimal() and len(value) < 9:
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _is_final(error: Exception) -> bool:
    """Return whether a TLS error is permanent, so that retrying is pointless."""
    return any(mark in str(error) for mark in (_NO_TLS, *_NO_TRUST))


def _make_connection_error(host: str, error: Exception) -> RegistryError:
    text = str(error)
    if _NO_BUNDLE in text:
        fix = "correct or unset REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
        return RegistryError("the file of certificate authorities does not exist", fix=fix)
    if _NO_TLS in text:
        return RegistryError(f"{host} does not speak TLS", fix=f'declare [registry."{host}"] http = true')
    if any(mark in text for mark in _NO_TRUST):
        reason = _find_reason(error).rpartition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        fix = f'create the builder with driver-opt ca-certificates=FILE, or with [registry."{host}"] ca = ["FILE"]'
        return RegistryError(f"the certificate of {host} is not trusted: {reason}", fix=fix)
    return RegistryError(f"no answer from {host}: {_find_reason(error)}")


def _find_reason(error: BaseException) -> str:
    """Return the text of the innermost cause, the most informative one."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return text[:_LONGEST_REASON] or type(error).__name__
