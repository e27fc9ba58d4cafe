"""Credentials of a kubeconfig's ``auth-provider`` (oidc, gcp), by the official ``kubernetes`` package."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from ci_buildx.errors import InputError, Unauthorized
from ci_buildx.kube.tls import KeyPair


class AuthProvider:
    """A legacy auth-provider. The official package refreshes its token and writes it back to the kubeconfig.

    Its import takes a quarter of a second, so it happens only when such a user is really used. Thread-safe.
    """

    def __init__(self, files: Sequence[Path], context: str, provider: str) -> None:
        self._files = os.pathsep.join(str(file) for file in files)
        self._context = context
        self._provider = provider
        self._lock = threading.Lock()
        self._authorization = ""

    def headers(self) -> dict[str, str]:
        """The provider's token. Raises Unauthorized or InputError if it gives none."""
        with self._lock:
            self._authorization = self._authorization or self._load()
            return {"Authorization": self._authorization}

    def key_pair(self) -> KeyPair | None:
        """Providers give tokens only."""
        return None

    def refresh(self) -> bool:
        """Forget the token; the next request asks the provider again."""
        with self._lock:
            self._authorization = ""
        return True

    def _load(self) -> str:
        from kubernetes.client import Configuration
        from kubernetes.config import ConfigException, load_kube_config

        configuration = Configuration()
        try:
            load_kube_config(self._files, context=self._context, client_configuration=configuration)
        except ConfigException as cause:
            raise InputError(f"auth-provider {self._provider!r}: {cause}", source=self._files) from cause
        except Exception as cause:
            # The package lets through whatever requests, oauthlib or urllib3 raise.
            raise Unauthorized(f"auth-provider {self._provider!r} gave no token: {cause}") from cause
        # The key was called "authorization" up to v35 of the package.
        token = configuration.api_key.get("BearerToken") or configuration.api_key.get("authorization")
        if not token:
            fix = "log in again, or use an exec plugin"
            raise Unauthorized(f"auth-provider {self._provider!r} gave no token", fix=fix)
        return str(token)
