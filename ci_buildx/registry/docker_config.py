"""The logins in Docker's ``config.json``. Pure.

The format is that of docker/cli 29.8.2 (``cli/config/configfile/file.go``, ``cli/config/credentials/file_store.go``);
keys with a path (``host/group``) are those of containers-auth.json(5).
"""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret

HUB = "docker.io"
HUB_KEY = "https://index.docker.io/v1/"
"""The key of Docker Hub's login."""
_HUB_HOSTS = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})
_API_PATHS = frozenset({"", "v1", "v2"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryLogin:
    """A registry login. With an ``identity_token`` (an OAuth2 refresh token) ``secret`` is empty."""

    username: str
    secret: Secret
    identity_token: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerConfig:
    """Logins of one file: ``auths`` by host and path, credential programs by host, and ``store`` for other hosts."""

    origin: str
    auths: Mapping[tuple[str, str], RegistryLogin]
    helpers: Mapping[str, str]
    store: str

    def find(self, host: str, path: str) -> RegistryLogin | None:
        """Return the login of the longest matching prefix of ``path``, else the host's.

        Without a path, any login of that host is used: registries with basic authentication do not name the repository.
        """
        host = canonicalize_host(host)
        if login := self.find_below(host, path) or self.auths.get((host, "")):
            return login
        return None if path else next((self.auths[key] for key in sorted(self.auths) if key[0] == host), None)

    def find_below(self, host: str, path: str) -> RegistryLogin | None:
        """Return the login of the longest prefix of ``path`` that has an entry, None without one."""
        parts = [part for part in path.split("/") if part]
        prefixes = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
        found = (self.auths.get((canonicalize_host(host), prefix)) for prefix in prefixes)
        return next((login for login in found if login), None)

    def find_program(self, host: str) -> str:
        """Return the suffix of the host's credential program; "" if none is configured, or if disabled for it."""
        return self.helpers.get(canonicalize_host(host), self.store)


def parse_docker_config(text: str, origin: str) -> DockerConfig:
    """Parse a configuration; ``origin`` names the file or variable in errors.

    Raises InputError that describes the problem without quoting the content.
    """
    try:
        document = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise InputError(_describe_fault(error), source=origin, fix="see docker login") from None
    document = _require_mapping(document, "the file", origin)
    auths = _require_mapping(document.get("auths"), "auths", origin)
    helpers = _require_mapping(document.get("credHelpers"), "credHelpers", origin)
    return DockerConfig(
        origin=origin,
        auths=_read_logins(auths, origin),
        helpers={
            canonicalize_host(_split_key(key)[0]): _require_text(name, "credHelpers", origin)
            for key, name in helpers.items()
        },
        store=_require_text(document.get("credsStore"), "credsStore", origin),
    )


def canonicalize_host(host: str) -> str:
    """Return the host in lower case, with one name for all hosts of Docker Hub."""
    host = host.lower()
    return HUB if host in _HUB_HOSTS else host


def _read_logins(auths: Mapping[str, Any], origin: str) -> dict[tuple[str, str], RegistryLogin]:
    logins = {}
    for key, entry in auths.items():
        where = f"auths entry {key!r}"
        login = _read_login(_require_mapping(entry, where, origin), where, origin)
        if login is not None:
            host, path = _split_key(key)
            logins[canonicalize_host(host), path] = login
    return logins


def _read_login(entry: Mapping[str, Any], where: str, origin: str) -> RegistryLogin | None:
    """Return a login; None for the empty entry that docker leaves if a credential program is used."""
    username = _require_text(entry.get("username"), where, origin)
    password = _require_text(entry.get("password"), where, origin)
    token = _require_text(entry.get("identitytoken"), where, origin)
    if auth := _require_text(entry.get("auth"), where, origin):
        username, password = _decode_auth(auth, where, origin)
    if token:
        return RegistryLogin(username=username, secret=Secret(""), identity_token=Secret(token))
    return RegistryLogin(username=username, secret=Secret(password)) if username else None


def _decode_auth(auth: str, where: str, origin: str) -> tuple[str, str]:
    try:
        username, colon, password = b64decode(auth, validate=True).decode().partition(":")
    except (Base64Error, ValueError):
        username = colon = password = ""
    if not colon or not username:
        raise InputError(f"{where}: auth is not base64 of user:password", source=origin, fix="log in again")
    return username, password.strip("\0")


def _split_key(key: str) -> tuple[str, str]:
    """Split ``https://host:port/v1/`` or ``host:port/group`` into host and path; the API's own paths become ""."""
    bare = key.partition("://")[2] or key
    host, _, path = bare.partition("/")
    path = path.strip("/")
    return host, "" if path in _API_PATHS else path


def _require_mapping(value: Any, where: str, origin: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{where} must be a JSON object", source=origin)
    return value


def _require_text(value: Any, where: str, origin: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{where} must hold text", source=origin)
    return value


def _describe_fault(error: ValueError | RecursionError) -> str:
    """Return where the JSON is malformed, without quoting it."""
    if isinstance(error, json.JSONDecodeError):
        return f"malformed JSON at line {error.lineno}, column {error.colno}"
    return "malformed JSON"
