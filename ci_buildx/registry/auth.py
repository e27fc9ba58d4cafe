"""Authentication at registries: challenges, tokens, and the headers to send.

Challenges are those of RFC 9110, section 11.6.1; tokens those of distribution's "token" and "oauth2" specifications
(distribution 3.0, ``docs/content/spec/auth``).
"""

from __future__ import annotations

import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import assert_never
from urllib.parse import urlencode, urlsplit, urlunsplit

from ci_buildx.errors import RegistryError
from ci_buildx.model.documents import parse_json
from ci_buildx.model.hosts import Origin, parse_origin
from ci_buildx.model.record import dataclass, replace
from ci_buildx.model.secret import Secret
from ci_buildx.registry.connection import RegistryConnection, RegistryRequest
from ci_buildx.registry.credentials import CredentialStore, RegistryLogin
from ci_buildx.registry.realm import check_realm

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?:\s+|\s*$|\s*(?=,))")
_PARAMETER = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))\s*')
_ESCAPE = re.compile(r"\\(.)")
_DEFAULT_LIFETIME = 60.0
_LONGEST_LIFETIME = 1e9
_LONGEST_HEADER = 8192


class LoginRefused(RegistryError):
    """A registry or its token service requires a login that is missing, or refuses the one it got."""


class AuthScheme(StrEnum):
    """The authentication schemes that registries use."""

    BASIC = "basic"
    BEARER = "bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthChallenge:
    """A challenge; for the bearer scheme ``realm`` is the URL of the token service."""

    scheme: AuthScheme
    realm: str = ""
    service: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerToken:
    """A bearer token and its lifetime in seconds."""

    value: Secret
    lifetime: float


def parse_challenge(header: str) -> AuthChallenge:
    """Return the strongest challenge of a ``WWW-Authenticate`` header: bearer before basic.

    Raises RegistryError if there is no supported challenge.
    """
    found = {
        scheme: parameters
        for name, parameters in _split_challenges(header[:_LONGEST_HEADER])
        if (scheme := _read_scheme(name))
    }
    if parameters := found.get(AuthScheme.BEARER):
        realm = parameters.get("realm", "")
        if parse_origin(realm) is None:
            raise RegistryError(f"the registry returned an invalid token service: realm {realm[:100]!r}", status=401)
        scopes = tuple(parameters.get("scope", "").split())
        return AuthChallenge(
            scheme=AuthScheme.BEARER, realm=realm, service=parameters.get("service", ""), scopes=scopes
        )
    if AuthScheme.BASIC in found:
        return AuthChallenge(scheme=AuthScheme.BASIC)
    raise RegistryError(f"the registry requires an unknown authentication scheme: {header[:100]!r}", status=401)


def parse_token(body: bytes) -> BearerToken:
    """Parse a token service's answer; raise RegistryError, without quoting the answer, if it is invalid."""
    try:
        answer = parse_json(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise RegistryError("the token service returned invalid JSON")
    value = answer.get("token") or answer.get("access_token")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise RegistryError("the token service returned no token")
    return BearerToken(value=Secret(value), lifetime=_read_lifetime(answer.get("expires_in")))


def _read_lifetime(value: object) -> float:
    """Return the lifetime in seconds; the specification's default of 60 if missing or invalid."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _LONGEST_LIFETIME:
        return float(value)
    return _DEFAULT_LIFETIME


def _read_scheme(name: str) -> AuthScheme | None:
    return AuthScheme(name.lower()) if name.lower() in list(AuthScheme) else None


def _split_challenges(header: str) -> list[tuple[str, Mapping[str, str]]]:
    """Return the schemes with their parameters, up to the first syntax error."""
    challenges: list[tuple[str, Mapping[str, str]]] = []
    position = 0
    while match := _SCHEME.match(header, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            name, quoted, plain = parameter.groups()
            parameters[name.lower()] = plain if quoted is None else _ESCAPE.sub(r"\1", quoted)
            position = parameter.end()
        challenges.append((match[1], parameters))
    return challenges


_CLIENT = "kube-builder"
_MARGIN = 10.0
_LARGEST_TOKEN = 1 << 20
_NOT_BY_GET = (404, 405)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """What a request has to be authorized for: ``scopes`` such as ``repository:group/name:pull,push`` at ``host``."""

    host: str
    path: str = ""
    scopes: tuple[str, ...] = ()


class RegistryAuthorizer:
    """Makes Authorization headers and caches challenges and tokens; thread-safe."""

    def __init__(
        self, store: CredentialStore, connection: RegistryConnection, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._connection = connection
        self._clock = clock
        self._lock = threading.Lock()
        self._challenges: dict[str, AuthChallenge] = {}
        self._tokens: dict[RegistryAccess, tuple[Secret, float]] = {}

    def make_headers(self, access: RegistryAccess) -> dict[str, str]:
        """Return the headers that authorize a request; none until the registry has sent a challenge.

        Raises RegistryError if there is no login, or the token service refuses it.
        """
        with self._lock:
            challenge = self._challenges.get(access.host)
            if challenge is None:
                return {}
            match challenge.scheme:
                case AuthScheme.BASIC:
                    return self._make_basic(access)
                case AuthScheme.BEARER:
                    return {"Authorization": f"Bearer {self._fetch_token(access, challenge).reveal_text()}"}
                case _:
                    assert_never(challenge.scheme)

    def accept_challenge(self, access: RegistryAccess, header: str) -> None:
        """Process the challenge of a 401, and drop the cached token; raise RegistryError if it is unusable."""
        challenge = parse_challenge(header)
        with self._lock:
            self._challenges[access.host] = challenge
            self._tokens.pop(access, None)

    def _make_basic(self, access: RegistryAccess) -> dict[str, str]:
        login = self._store.lookup(access.host, access.path)
        if login is None or not login.username:
            raise LoginRefused(
                f"{access.host} requires authentication; no credentials found",
                status=401,
                fix=_make_advice(access.host),
            )
        return _make_basic_header(login)

    def _fetch_token(self, access: RegistryAccess, challenge: AuthChallenge) -> Secret:
        value, expires = self._tokens.get(access, (Secret(""), 0.0))
        if expires <= self._clock():
            token = fetch_token(self._connection, access, challenge, self._store.lookup(access.host, access.path))
            value = token.value
            self._tokens[access] = (value, self._clock() + max(token.lifetime - _MARGIN, token.lifetime / 2))
        return value


def fetch_token(
    connection: RegistryConnection, access: RegistryAccess, challenge: AuthChallenge, login: RegistryLogin | None
) -> BearerToken:
    """Fetch a token; without a ``login``, an anonymous one.

    Uses GET, which every token service supports; POST for an identity token, and if GET is not supported. Raises
    RegistryError if the service refuses the login, cannot be reached, or would receive the login in plain text.
    """
    origin = parse_origin(challenge.realm)
    if origin is None:
        raise RegistryError(f"{access.host} returned an invalid token service: realm {challenge.realm[:100]!r}")
    if login is None:
        check_realm(challenge.realm, access.host, connection.trust)
    elif not origin.is_secure and not connection.trust.allows_plain(access.host):
        raise RegistryError(
            f"{access.host} requests the login without TLS at {challenge.realm[:100]}",
            fix="configure https for its token service",
        )
    if login and login.identity_token:
        answer = connection.send(_make_form_request(access, challenge, login))
    else:
        asked = _make_query_request(access, challenge, login)
        answer = connection.send(replace(asked, check=lambda url: _check_redirect(url, origin, access, connection)))
        if answer.status in _NOT_BY_GET and login:
            answer = connection.send(_make_form_request(access, challenge, login))
    if answer.status in (401, 403) and login:
        who = f"the login {login.username!r}" if login.username else "the identity token"
        raise LoginRefused(f"{access.host} refuses {who}", status=answer.status, fix=_make_advice(access.host))
    if answer.status != 200:
        kind = LoginRefused if answer.status in (401, 403) else RegistryError
        raise kind(
            f"{origin.authority} returned no token for {access.host}: status {answer.status}", status=answer.status
        )
    return parse_token(answer.body)


def _check_redirect(url: str, origin: Origin, access: RegistryAccess, connection: RegistryConnection) -> None:
    """Raise RegistryError for a forbidden redirect of a token service; no login is sent along, but a request is."""
    if parse_origin(url) != origin:
        check_realm(url, access.host, connection.trust)


def _make_form_request(access: RegistryAccess, challenge: AuthChallenge, login: RegistryLogin) -> RegistryRequest:
    form = {"service": challenge.service, "client_id": _CLIENT, "scope": " ".join(_list_scopes(access, challenge))}
    if login.identity_token:
        form |= {"grant_type": "refresh_token", "refresh_token": login.identity_token.reveal_text()}
    else:
        form |= {"grant_type": "password", "username": login.username, "password": login.secret.reveal_text()}
    return RegistryRequest(
        method="POST",
        url=challenge.realm,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=lambda: urlencode(form).encode(),
        limit=_LARGEST_TOKEN,
        named_by=access.host,
        follows=False,  # a redirect would send the form, with the password in it, to another host
    )


def _make_query_request(
    access: RegistryAccess, challenge: AuthChallenge, login: RegistryLogin | None
) -> RegistryRequest:
    query = [("service", challenge.service)] if challenge.service else []
    query += [("scope", scope) for scope in _list_scopes(access, challenge)]
    if login:
        query.append(("account", login.username))
    return RegistryRequest(
        method="GET",
        url=_add_query(challenge.realm, query),
        headers=_make_basic_header(login) if login else {},
        limit=_LARGEST_TOKEN,
        named_by=access.host,
    )


def _list_scopes(access: RegistryAccess, challenge: AuthChallenge) -> list[str]:
    return list(dict.fromkeys((*access.scopes, *challenge.scopes)))


def _add_query(url: str, query: list[tuple[str, str]]) -> str:
    parts = urlsplit(url)
    joined = "&".join(part for part in (parts.query, urlencode(query)) if part)
    return urlunsplit(parts._replace(query=joined))


def _make_basic_header(login: RegistryLogin) -> dict[str, str]:
    pair = f"{login.username}:".encode() + login.secret.reveal()
    return {"Authorization": f"Basic {b64encode(pair).decode()}"}


def _make_advice(host: str) -> str:
    return f"log in to {host} (docker login) or set DOCKER_AUTH_CONFIG"
