"""Logins for registries, from docker's and podman's configuration.

The password ``oidc:AUDIENCE`` is replaced by the CI job's own token (:mod:`ci_buildx.kube.oidc_token`), fetched on use.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.model import debug
from ci_buildx.model.record import replace
from ci_buildx.registry.docker_config import DockerConfig, RegistryLogin, canonicalize_host, parse_docker_config

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

    def _resolve_login(self, login: RegistryLogin | None) -> tuple[RegistryLogin | None, float]:
        """Resolve an ``oidc:`` password to a token; return the login and the seconds it is valid."""
        password = login.secret.reveal_text() if login else ""
        if login is None or not password.startswith(OIDC):
            return login, KEPT
        from ci_buildx.kube import oidc_token

        token = oidc_token.find_token_source(password.removeprefix(OIDC), self._env)()
        return replace(login, secret=token), min(KEPT, oidc_token.compute_usable_time(token))

    def _ask(self, config: DockerConfig, host: str, path: str) -> RegistryLogin | None:
        """Return the credential program's login; None if there is none, or the repository has an entry in the file."""
        suffix = config.find_program(host)
        if not suffix or config.find_below(host, path):
            return None
        from ci_buildx.registry import credential_helper

        return credential_helper.ask_program(suffix, host, origin=config.origin, env=self._env)


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
    return Path(env.get(_FOLDER) or Path(env.get("HOME") or Path.home()) / ".docker")


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
