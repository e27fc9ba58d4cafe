"""Authorizes requests: remembers what each registry asked for, fetches tokens and keeps them while they live.

Tokens come as distribution's specifications say (``docs/content/spec/auth``): by GET with the login or without one, by
POST where the login is an identity token.
"""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable
from typing import assert_never
from urllib.parse import urlencode, urlsplit, urlunsplit

from ci_buildx.errors import RegistryError
from ci_buildx.model.hosts import Origin, parse_origin
from ci_buildx.model.record import dataclass, replace
from ci_buildx.model.secret import Secret
from ci_buildx.registry.challenge import Challenge, Scheme, Token, parse_challenge, parse_token
from ci_buildx.registry.connection import Connection, Request
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.dockerconfig import Login
from ci_buildx.registry.realm import check_realm

_CLIENT = "kube-builder"
_MARGIN = 10.0
_LARGEST_TOKEN = 1 << 20
_NOT_BY_GET = (404, 405)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a request needs: ``scopes`` such as ``repository:group/name:pull,push`` at ``host``."""

    host: str
    path: str = ""
    scopes: tuple[str, ...] = ()


class Authorizer:
    """Thread-safe."""

    def __init__(
        self, store: CredentialStore, connection: Connection, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._connection = connection
        self._clock = clock
        self._lock = threading.Lock()
        self._challenges: dict[str, Challenge] = {}
        self._tokens: dict[Access, tuple[Secret, float]] = {}

    def headers(self, access: Access) -> dict[str, str]:
        """What to send with a request: nothing until the registry has asked for something.

        RegistryError if there is no login, or the token service refuses it.
        """
        with self._lock:
            challenge = self._challenges.get(access.host)
            if challenge is None:
                return {}
            match challenge.scheme:
                case Scheme.BASIC:
                    return self._basic(access)
                case Scheme.BEARER:
                    return {"Authorization": f"Bearer {self._token(access, challenge).reveal_text()}"}
                case _:
                    assert_never(challenge.scheme)

    def challenged(self, access: Access, header: str) -> None:
        """Take in a 401: the next headers follow ``header``, with a fresh token. RegistryError if it is unusable."""
        challenge = parse_challenge(header)
        with self._lock:
            self._challenges[access.host] = challenge
            self._tokens.pop(access, None)

    def _basic(self, access: Access) -> dict[str, str]:
        login = self._store.lookup(access.host, access.path)
        if login is None or not login.username:
            raise RegistryError(f"{access.host} wants a login and there is none", status=401, fix=_advice(access.host))
        return _basic(login)

    def _token(self, access: Access, challenge: Challenge) -> Secret:
        value, expires = self._tokens.get(access, (Secret(""), 0.0))
        if expires <= self._clock():
            token = fetch_token(self._connection, access, challenge, self._store.lookup(access.host, access.path))
            value = token.value
            self._tokens[access] = (value, self._clock() + max(token.lifetime - _MARGIN, token.lifetime / 2))
        return value


def fetch_token(connection: Connection, access: Access, challenge: Challenge, login: Login | None) -> Token:
    """A fresh token, without a ``login`` an anonymous one.

    By GET, as every token service has it; by POST for an identity token, and where GET is not served. RegistryError
    if the service refuses the login, cannot be reached, or would be sent the login in clear.
    """
    origin = parse_origin(challenge.realm)
    if origin is None:
        raise RegistryError(f"{access.host} names no usable token service: realm {challenge.realm[:100]!r}")
    if login is None:
        check_realm(challenge.realm, access.host, connection.trust)
    elif not origin.is_secure and not connection.trust.allows_plain(access.host):
        raise RegistryError(f"{access.host} wants the login sent without TLS to {challenge.realm[:100]}")
    if login and login.identity_token:
        answer = connection.send(_form_request(access, challenge, login))
    else:
        asked = _query_request(access, challenge, login)
        answer = connection.send(replace(asked, check=lambda url: _check_redirect(url, origin, access, connection)))
        if answer.status in _NOT_BY_GET and login:
            answer = connection.send(_form_request(access, challenge, login))
    if answer.status in (401, 403) and login:
        who = f"the login {login.username!r}" if login.username else "the identity token"
        raise RegistryError(f"{access.host} refuses {who}", status=answer.status, fix=_advice(access.host))
    if answer.status != 200:
        raise RegistryError(
            f"{origin.authority} gave no token for {access.host}: status {answer.status}", status=answer.status
        )
    return parse_token(answer.body)


def _check_redirect(url: str, origin: Origin, access: Access, connection: Connection) -> None:
    """Raise RegistryError if a token service must not send us there: no login goes along, but a request does."""
    if parse_origin(url) != origin:
        check_realm(url, access.host, connection.trust)


def _form_request(access: Access, challenge: Challenge, login: Login) -> Request:
    form = {"service": challenge.service, "client_id": _CLIENT, "scope": " ".join(_scopes(access, challenge))}
    if login.identity_token:
        form |= {"grant_type": "refresh_token", "refresh_token": login.identity_token.reveal_text()}
    else:
        form |= {"grant_type": "password", "username": login.username, "password": login.secret.reveal_text()}
    return Request(
        method="POST",
        url=challenge.realm,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=lambda: urlencode(form).encode(),
        limit=_LARGEST_TOKEN,
        named_by=access.host,
        follows=False,  # a redirect would take the form, with the password in it, anywhere
    )


def _query_request(access: Access, challenge: Challenge, login: Login | None) -> Request:
    query = [("service", challenge.service)] if challenge.service else []
    query += [("scope", scope) for scope in _scopes(access, challenge)]
    if login:
        query.append(("account", login.username))
    return Request(
        method="GET",
        url=_with_query(challenge.realm, query),
        headers=_basic(login) if login else {},
        limit=_LARGEST_TOKEN,
        named_by=access.host,
    )


def _scopes(access: Access, challenge: Challenge) -> list[str]:
    return list(dict.fromkeys((*access.scopes, *challenge.scopes)))


def _with_query(url: str, query: list[tuple[str, str]]) -> str:
    parts = urlsplit(url)
    joined = "&".join(part for part in (parts.query, urlencode(query)) if part)
    return urlunsplit(parts._replace(query=joined))


def _basic(login: Login) -> dict[str, str]:
    pair = f"{login.username}:".encode() + login.secret.reveal()
    return {"Authorization": f"Basic {b64encode(pair).decode()}"}


def _advice(host: str) -> str:
    return f"log in to {host} (docker login) or set DOCKER_AUTH_CONFIG"
