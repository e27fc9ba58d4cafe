"""Fetches registry tokens for buildkitd, and keeps the seeds of the token authority in docker's ``.token_seed``.

There is one seed for each host. The file and its lock are those of buildx (BuildKit 0.34.2,
``session/auth/authprovider/tokenseed.go``): with an unchanged seed, shared with buildx, a builder that was kept still
has our tokens, and a cached build needs none. Seeds must not be derived from the login: buildkitd, which knows the
public key, could then guess passwords.
"""

from __future__ import annotations

import json
import os
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ci_buildx.errors import RegistryError
from ci_buildx.model.documents import parse_json
from ci_buildx.model.hosts import Origin, is_host, parse_origin
from ci_buildx.model.secret import Secret
from ci_buildx.registry.credentials import HUB, RegistryLogin, canonicalize_host
from ci_buildx.session.auth import TokenRequest

if TYPE_CHECKING:
    from ci_buildx.registry.auth import BearerToken
    from ci_buildx.registry.connection import RegistryConnection
    from ci_buildx.registry.trust import RegistryTrust

_FILE = ".token_seed"
_LOCK = ".token_seed.lock"
_SIZE = 16
_FIELD = "Seed"


class TokenSeeds:
    """Seeds by host; thread-safe. Kept in memory only if ``folder`` is missing (as on a CI runner) or read-only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[str, Secret] = {}

    def get(self, host: str) -> Secret:
        """Return the host's seed, creating it if missing."""
        with self._lock:
            if host not in self._known:
                self._known[host] = self._read_or_make(host)
            return self._known[host]

    def _read_or_make(self, host: str) -> Secret:
        fresh = os.urandom(_SIZE)
        with suppress(OSError), self._lock_file():
            document = self._read()
            if seed := _read_seed(document.get(host)):
                return Secret(seed)
            self._write({**document, host: {_FIELD: b64encode(fresh).decode()}})
        return Secret(fresh)

    @contextmanager
    def _lock_file(self) -> Iterator[None]:
        """Hold the lock of the seed file, which buildx uses too; it is held for milliseconds only."""
        import fcntl

        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> dict[str, Any]:
        """Return the content of the file; empty if it is missing or malformed."""
        try:
            document = parse_json((self._folder / _FILE).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def _write(self, document: dict[str, Any]) -> None:
        from ci_buildx.fsutil import scratch

        scratch.replace(self._folder / _FILE, json.dumps(document, indent=2).encode(), mode=0o600)


def _read_seed(entry: object) -> bytes:
    """Return the seed in an entry, b"" if missing or malformed."""
    try:
        return b64decode(entry[_FIELD], validate=True)  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        return b""


SWITCH = "BUILDKIT_NO_CLIENT_TOKEN"
"""The environment variable that makes buildkitd fetch tokens itself; it then receives the logins (BuildKit 0.34.2,
``session/auth/authprovider/authprovider.go``).
"""

HUB_API = "registry-1.docker.io"
_HUB_SERVICE = Origin("https", "auth.docker.io", 443)
_ATTEMPTS, _CONNECT, _SILENCE, _GRACE = 3, 5.0, 15.0, 30.0
"""Limits below the 60 s that buildkitd waits (BuildKit 0.34.2, ``session/auth/auth.go``), so that it gets the error."""


MOST_REALMS = 1000
"""Maximum number of token services remembered as verified."""


class LoginStore(Protocol):
    """A source of logins."""

    def lookup(self, host: str, path: str = "") -> RegistryLogin | None:
        """Return the login for a host, or for one of its repositories."""

    def can_have(self, host: str) -> bool:
        """Return whether a login for a host may exist; runs no program."""


class RegistryTokens:
    """Fetches the tokens of one job; thread-safe. ``folder`` is docker's, ``trust`` is called for the first token.

    Tokens are not cached here: each buildkitd caches its own until they expire, and asks again if a registry refuses
    one.
    """

    def __init__(self, store: LoginStore, *, folder: Path, trust: Callable[[], RegistryTrust]) -> None:
        self._store = store
        self._folder = folder
        self._trust = trust
        self._lock = threading.Lock()
        self._seeds: TokenSeeds | None = None
        self._connection: RegistryConnection | None = None
        self._realms: set[tuple[str, Origin]] = set()

    def fetch(self, request: TokenRequest) -> BearerToken:
        """Fetch a token; raise RegistryError that names the registry and the reason if that fails."""
        from ci_buildx.registry.auth import AuthChallenge, AuthScheme, RegistryAccess, fetch_token

        if not is_host(request.host):
            raise RegistryError(f"buildkitd requests a token for {request.host[:100]!r}, which is not a host")
        access = RegistryAccess(host=request.host, path=_find_path(request.scopes), scopes=request.scopes)
        challenge = AuthChallenge(scheme=AuthScheme.BEARER, realm=request.realm, service=request.service)
        login = self._store.lookup(access.host, access.path)
        try:
            if login is not None or _is_inner(request.realm):
                self._check_realm(access.host, request.realm)
            return fetch_token(self._open_connection(), access, challenge, login)
        except RegistryError as error:
            if error.status or error.fix:
                raise
            fix = f"if only the builder reaches the token service of {request.host}, set {SWITCH}=1"
            raise RegistryError(error.message, fix=fix) from error

    def _check_realm(self, host: str, realm: str) -> None:
        """Raise RegistryError unless the registry itself names this token service; buildkitd might name another.

        A service at the registry's own origin is accepted. For any other, the registry is asked once per build.
        """
        from ci_buildx.registry.auth import parse_challenge
        from ci_buildx.registry.connection import RegistryRequest

        connection, asked = self._open_connection(), parse_origin(realm)
        with self._lock:
            known = (host, asked) in self._realms
        if known or (canonicalize_host(host) == HUB and asked == _HUB_SERVICE):
            return
        if asked is None or not (asked.is_secure or connection.trust.allows_plain(host)):
            return  # fetch_token refuses it in any case.
        base = connection.find_base(HUB_API if canonicalize_host(host) == HUB else host)
        if asked != parse_origin(base):
            request = RegistryRequest(method="GET", url=f"{base}/v2/")
            answer = connection.send(request)
            is_own = answer.status == 401 and not request.find_stranger(answer)
            named = parse_challenge(answer.headers.get("www-authenticate", "")).realm if is_own else ""
            if asked != parse_origin(named):
                wish = f"buildkitd requests a token for {host} from {asked.authority}"
                raise RegistryError(f"{wish}, which is not the token service that {host} names")
        with self._lock:
            if len(self._realms) >= MOST_REALMS:
                self._realms.clear()
            self._realms.add((host, asked))

    def find_seed(self, host: str) -> Secret:
        """Return the seed of the keys for a host, empty if there is no login."""

        if self._store.lookup(host) is None:
            return Secret(b"")
        with self._lock:
            self._seeds = self._seeds or TokenSeeds(self._folder)
            return self._seeds.get(host)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def _open_connection(self) -> RegistryConnection:
        from ci_buildx.registry.connection import RegistryConnection, RequestPatience
        from ci_buildx.registry.pace import TransferPace

        with self._lock:
            if self._connection is None:
                pace = TransferPace(grace=_GRACE)
                patience = RequestPatience(attempts=_ATTEMPTS, connect=_CONNECT, silence=_SILENCE, pace=pace)
                self._connection = RegistryConnection(self._trust(), patience)
            return self._connection


def _is_inner(realm: str) -> bool:
    """Return whether a token service is not publicly reachable; buildkitd must not choose such a service."""
    from ci_buildx.registry.realm import Reach, find_reach

    origin = parse_origin(realm)
    return origin is not None and find_reach(origin) is not Reach.EVERYWHERE


def _find_path(scopes: tuple[str, ...]) -> str:
    """Return the repository whose login is used: the one being pushed to, if blobs of others are mounted into it."""
    parts = [scope.split(":") for scope in scopes if scope.startswith("repository:") and scope.count(":") > 1]
    parts.sort(key=lambda part: "push" not in part[-1].split(","))
    return ":".join(parts[0][1:-1]) if parts else ""
