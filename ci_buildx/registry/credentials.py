"""Logins for registries, from docker's and podman's configuration.

The format is that of docker/cli 29.8.2 (``cli/config/configfile/file.go``, ``cli/config/credentials/file_store.go``);
keys with a path (``host/group``) are those of containers-auth.json(5).

The password ``oidc:AUDIENCE`` is replaced by the CI job's own token, fetched on use by
:mod:`ci_buildx.kube.credential_plugins`.

The protocol is that of docker/docker-credential-helpers 0.9.9 (``client/client.go``, ``credentials/error.go``): the
server's URL on standard input, JSON on standard output; "not found" is an error with a known message.
"""

from __future__ import annotations

import os
import threading
import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError, RegistryError
from ci_buildx.model import debug
from ci_buildx.model.documents import MalformedDocument, parse_json
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.programs import MOST_OUTPUT, TooMuchOutput, find_program, make_environment, run_program
from ci_buildx.model.record import dataclass, replace
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
        document = parse_json(text or "{}")
    except MalformedDocument as error:
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
    # Several keys can mean one host: docker's own spelling of it wins, whatever the order.
    for key, entry in sorted(auths.items(), key=lambda item: _is_exact_key(item[0])):
        where = f"auths entry {key!r}"
        login = _read_login(_require_mapping(entry, where, origin), where, origin)
        if login is not None:
            host, path = _split_key(key)
            logins[canonicalize_host(host), path] = login
    return logins


def _is_exact_key(key: str) -> bool:
    """Return whether docker itself writes the key: a bare host or path, and a URL for Docker Hub only."""
    return key == HUB_KEY if canonicalize_host(_split_key(key)[0]) == HUB else "://" not in key


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
        raise InputError(f"{where} must be a string", source=origin)
    return value


def _describe_fault(error: MalformedDocument) -> str:
    """Return where the JSON is malformed, without quoting it."""
    return f"malformed JSON at line {error.line}, column {error.column}" if error.line else "malformed JSON"


_LOG = debug.get_log("registry")
_CONTENT = "DOCKER_AUTH_CONFIG"
_FILE = "REGISTRY_AUTH_FILE"
_FOLDER = "DOCKER_CONFIG"

OIDC = "oidc:"
KEPT = 290.0
"""Seconds that a login is cached: some clouds' credential programs return logins valid for five minutes (as in buildx,
BuildKit 0.34.2, ``session/auth/authprovider/authprovider.go``).
"""


MOST_KNOWN = 1000
"""Maximum number of cached logins by host and repository: buildkitd may ask for any number of them."""


class CredentialStore:
    """Looks up logins and caches them for a limited time; thread-safe."""

    def __init__(
        self,
        configs: Sequence[DockerConfig],
        *,
        env: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configs = configs
        self._env = env
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[RegistryLogin | None, float]] = {}

    def lookup(self, host: str, path: str = "") -> RegistryLogin | None:
        """Return the login for a registry's host (with port) or one of its repositories; None for anonymous access.

        Raises InputError if a credential program is missing, RegistryError if it fails.
        """
        key = (canonicalize_host(host), path)
        with self._lock:
            login, until = self._known.get(key, (None, float("-inf")))
            if until <= self._clock():
                found = (self._ask(config, *key) or config.find(*key) for config in self._configs)
                login, kept = self._resolve_login(next((login for login in found if login), None))
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[key] = login, self._clock() + kept
                _LOG.debug("login of %s: %s", key[0], "found" if login else "none")
            return login

    def can_have(self, host: str) -> bool:
        """Return whether a login for a host may exist, without running a program or fetching a token."""
        return any(config.find_program(host) or config.find(host, "") for config in self._configs)

    def _resolve_login(self, login: RegistryLogin | None) -> tuple[RegistryLogin | None, float]:
        """Resolve an ``oidc:`` password to a token; return the login and the seconds it is valid."""
        password = login.secret.reveal_text() if login else ""
        if login is None or not password.startswith(OIDC):
            return login, KEPT
        from ci_buildx.kube import credential_plugins

        token = credential_plugins.find_token_source(password.removeprefix(OIDC), self._env)()
        return replace(login, secret=token), min(KEPT, credential_plugins.compute_usable_time(token))

    def _ask(self, config: DockerConfig, host: str, path: str) -> RegistryLogin | None:
        """Return the credential program's login; None if there is none, or the repository has an entry in the file."""
        suffix = config.find_program(host)
        if not suffix or config.find_below(host, path):
            return None

        return ask_program(suffix, host, origin=config.origin, env=self._env)


def load_credentials(env: Mapping[str, str]) -> CredentialStore:
    """Read the configurations that the environment names.

    ``DOCKER_AUTH_CONFIG`` (the content itself) takes precedence over ``REGISTRY_AUTH_FILE``, and that over
    ``config.json`` in ``DOCKER_CONFIG`` or ``~/.docker``. Raises InputError if one cannot be read, or if one that is
    named explicitly does not exist.
    """
    configs = []
    if content := env.get(_CONTENT):
        configs.append(parse_docker_config(content, _CONTENT))
    if named := env.get(_FILE):
        configs.append(_read_config(Path(named), required=True))
    configs.append(_read_config(find_config_folder(env) / "config.json", required=False))
    return CredentialStore(configs, env=env)


def find_config_folder(env: Mapping[str, str]) -> Path:
    """Return the folder of docker's configuration."""
    return Path(env.get(_FOLDER) or Path(env.get("HOME") or os.path.expanduser("~"), ".docker"))  # noqa: PTH111


def _read_config(path: Path, *, required: bool) -> DockerConfig:
    try:
        text = path.read_text()
    except FileNotFoundError:
        if required:
            raise InputError(f"{path} does not exist", source=_FILE) from None
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"cannot be read: {reason}", source=str(path)) from error
    return parse_docker_config(text, str(path))


DEADLINE = 30.0
"""Timeout of a program in seconds; some call a cloud's API."""

_PREFIX = "docker-credential-"
_NAME = compile_lazily(r"[A-Za-z0-9._-]+")
_NOT_FOUND = "credentials not found"
_NO_LOGIN = ("no credentials server URL", "no credentials username")
_TOKEN_USER = "<token>"  # noqa: S105 - the user name that marks a token
_LONGEST_MESSAGE = 200


def ask_program(
    suffix: str, host: str, *, origin: str, env: Mapping[str, str], deadline: float = DEADLINE
) -> RegistryLogin | None:
    """Ask the program for a host's login; return None if it has none.

    Raises InputError (naming ``origin``) if the program is missing, RegistryError if it fails or times out.
    """
    name = _PREFIX + suffix
    path = find_program(name, env) if _NAME.fullmatch(suffix) else None
    if path is None:
        raise InputError(
            f"{name} is not installed",
            source=origin,
            fix="install it outside the checkout, or log in without it",
        )
    status, output = _run_program(path, HUB_KEY if host == HUB else host, env, deadline)
    if status != 0:
        _check_absent(name, host, status, output)
        return None
    return _read_program_login(output, name)


def _run_program(path: str, server: str, env: Mapping[str, str], deadline: float) -> tuple[int, bytes]:
    try:
        status, output, _ = run_program(
            (path, "get"), env=make_environment(env), given=server.encode(), timeout=deadline
        )
    except TimeoutError:
        raise RegistryError(
            f"{path} returned no login for {server} within {deadline:.0f} s",
            fix="run it manually; it may be waiting for a keychain",
        ) from None
    except TooMuchOutput:
        raise RegistryError(f"{path} printed more than {MOST_OUTPUT >> 20} MiB") from None
    except OSError as error:
        raise RegistryError(f"{path} cannot be run: {error.strerror}") from error
    return status, output


def _check_absent(name: str, host: str, status: int, output: bytes) -> None:
    """Raise RegistryError unless the failure means that there is no login."""
    message = output.decode("utf-8", "replace").strip()
    if _NOT_FOUND in message or message in _NO_LOGIN:
        return
    # The output of a failed program that printed JSON may contain a secret.
    said = "" if "{" in message else " ".join(message.split())[:_LONGEST_MESSAGE]
    raise RegistryError(
        f"{name} failed for {host} with status {status}" + (f": {said}" if said else ""),
        fix="run it manually to see why",
    )


def _read_program_login(output: bytes, name: str) -> RegistryLogin | None:
    try:
        answer = parse_json(output)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, TypeError, KeyError):
        username = secret = None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise RegistryError(f"{name} returned an invalid login") from None
    if not secret:
        return None
    if username == _TOKEN_USER:
        return RegistryLogin(username="", secret=Secret(""), identity_token=Secret(secret))
    return RegistryLogin(username=username, secret=Secret(secret))
