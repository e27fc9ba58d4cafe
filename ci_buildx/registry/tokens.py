"""Tokens that buildkitd needs, fetched here: it asks through the session and is told no login.

What fetching takes is imported when the first token is asked for: a cached build asks for none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ci_buildx.errors import RegistryError
from ci_buildx.model.hosts import Origin, is_host, parse_origin
from ci_buildx.model.secret import Secret
from ci_buildx.registry.dockerconfig import HUB, Login, canonical
from ci_buildx.session.tokens import TokenRequest

if TYPE_CHECKING:
    from ci_buildx.registry.challenge import Token
    from ci_buildx.registry.connection import Connection
    from ci_buildx.registry.seeds import Seeds
    from ci_buildx.registry.trust import Trust

SWITCH = "BUILDKIT_NO_CLIENT_TOKEN"
"""The environment variable that leaves tokens to buildkitd, which is then told the logins (BuildKit 0.34.2,
``session/auth/authprovider/authprovider.go``)."""

HUB_API = "registry-1.docker.io"
_HUB_SERVICE = Origin("https", "auth.docker.io", 443)
_ATTEMPTS, _CONNECT, _SILENCE, _GRACE = 3, 5.0, 15.0, 30.0
"""buildkitd waits for 60 s (BuildKit 0.34.2, ``session/auth/auth.go``): before that it shall be told the reason."""


MOST_REALMS = 1000
"""Token services that are remembered as those of their registries."""


class LoginStore(Protocol):
    """Where logins are looked up."""

    def lookup(self, host: str, path: str = "") -> Login | None:
        """Return the login for a host, or for one of its repositories."""


class RegistryTokens:
    """A source of tokens for one job; thread-safe. ``folder`` is docker's, ``trust`` is called for the first token.

    Tokens are not kept here: each buildkitd keeps its own while they live, and asks again when a registry refused one.
    """

    def __init__(self, store: LoginStore, *, folder: Path, trust: Callable[[], Trust]) -> None:
        self._store = store
        self._folder = folder
        self._trust = trust
        self._lock = threading.Lock()
        self._seeds: Seeds | None = None
        self._connection: Connection | None = None
        self._realms: set[tuple[str, Origin]] = set()

    def fetch(self, request: TokenRequest) -> Token:
        """A fresh token. RegistryError names the registry and the reason if there is none."""
        from ci_buildx.registry.authorize import Access, fetch_token
        from ci_buildx.registry.challenge import Challenge, Scheme

        if not is_host(request.host):
            raise RegistryError(f"buildkitd wants a token for {request.host[:100]!r}, which is no host")
        access = Access(host=request.host, path=_path(request.scopes), scopes=request.scopes)
        challenge = Challenge(scheme=Scheme.BEARER, realm=request.realm, service=request.service)
        login = self._store.lookup(access.host, access.path)
        try:
            if login is not None or _is_inner(request.realm):
                self._check_realm(access.host, request.realm)
            return fetch_token(self._connected(), access, challenge, login)
        except RegistryError as error:
            if error.status or error.fix:
                raise
            fix = f"if only the builder reaches the token service of {request.host}, set {SWITCH}=1"
            raise RegistryError(error.message, fix=fix) from error

    def _check_realm(self, host: str, realm: str) -> None:
        """Raise RegistryError unless the registry itself names this token service; buildkitd might name another.

        A service at the registry's own origin is its own. Each other one is asked for once in a build.
        """
        from ci_buildx.registry.challenge import parse_challenge
        from ci_buildx.registry.connection import Request

        connection, asked = self._connected(), parse_origin(realm)
        with self._lock:
            known = (host, asked) in self._realms
        if known or (canonical(host) == HUB and asked == _HUB_SERVICE):
            return
        if asked is None or not (asked.is_secure or connection.trust.allows_plain(host)):
            return  # fetch_token refuses it, whoever named it.
        base = connection.base(HUB_API if canonical(host) == HUB else host)
        if asked != parse_origin(base):
            answer = connection.send(Request(method="GET", url=f"{base}/v2/"))
            named = parse_challenge(answer.headers.get("www-authenticate", "")).realm if answer.status == 401 else ""
            if asked != parse_origin(named):
                wish = f"buildkitd wants a token of {host} from {asked.authority}"
                raise RegistryError(f"{wish}, which is not the token service that {host} names")
        with self._lock:
            if len(self._realms) >= MOST_REALMS:
                self._realms.clear()
            self._realms.add((host, asked))

    def seed(self, host: str) -> Secret:
        """The seed of the keys for a host, empty where there is no login."""
        from ci_buildx.registry.seeds import Seeds

        if self._store.lookup(host) is None:
            return Secret(b"")
        with self._lock:
            self._seeds = self._seeds or Seeds(self._folder)
            return self._seeds.get(host)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def _connected(self) -> Connection:
        from ci_buildx.registry.connection import Connection, Patience
        from ci_buildx.registry.pace import Pace

        with self._lock:
            if self._connection is None:
                pace = Pace(grace=_GRACE)
                patience = Patience(attempts=_ATTEMPTS, connect=_CONNECT, silence=_SILENCE, pace=pace)
                self._connection = Connection(self._trust(), patience)
            return self._connection


def _is_inner(realm: str) -> bool:
    """Whether a token service is one that not everybody reaches: buildkitd must not choose it."""
    from ci_buildx.registry.realm import Reach, find_reach

    origin = parse_origin(realm)
    return origin is not None and find_reach(origin) is not Reach.EVERYWHERE


def _path(scopes: tuple[str, ...]) -> str:
    """The repository whose login counts: the one that is written to, where blobs of others are mounted into it."""
    parts = [scope.split(":") for scope in scopes if scope.startswith("repository:") and scope.count(":") > 1]
    parts.sort(key=lambda part: "push" not in part[-1].split(","))
    return ":".join(parts[0][1:-1]) if parts else ""
