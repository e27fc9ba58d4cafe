"""The official ``kubernetes`` package with our credentials, connections and trust settings."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ci_buildx.errors import InputError, Unauthorized
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.kube.connection import Dialer
from ci_buildx.kube.exchange import ApiCall
from ci_buildx.kube.tls import TlsKeyPair
from ci_buildx.model import debug

if TYPE_CHECKING:
    import kubernetes.client
    import urllib3

_LOG = debug.get_log("kube")


def make_api_client(cluster: ClusterAccess, dialer: Dialer) -> kubernetes.client.ApiClient:
    """Make an ApiClient for ``cluster``; it fetches the current token for each call."""
    from kubernetes.client import ApiClient, Configuration

    configuration = Configuration(host=cluster.server)

    def renew(target: Configuration) -> None:
        target.api_key.update({name.lower(): value for name, value in cluster.credentials.make_headers().items()})

    renew(configuration)
    configuration.refresh_api_key_hook = renew
    client = ApiClient(configuration)
    for name, value in cluster.identity_headers.items():
        client.set_default_header(name, value)
    client.rest_client.pool_manager = _make_pool(cluster, dialer)
    if _LOG.is_on:
        client.rest_client.request = _log_calls(client.rest_client.request)
    return client


def _log_calls(request: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the package's request method so that each call adds a line to the debug log."""

    def send(method: str, url: str, **options: Any) -> Any:
        query = tuple((str(name), str(value)) for name, value in options.get("query_params") or ())
        call, began = ApiCall(method=method, path=urlsplit(url).path, query=query), time.monotonic()
        try:
            answer = request(method, url, **options)
        except Exception as failure:
            call.log(getattr(failure, "status", 0) or repr(failure), began, reused=True)
            raise
        call.log(answer.status, began, reused=True)
        return answer

    return send


def _make_pool(cluster: ClusterAccess, dialer: Dialer) -> urllib3.PoolManager:
    """Make a pool with our SSL context: the package accepts certificates only as files, urllib3 a context."""
    import urllib3

    arguments: dict[str, Any] = {}
    if cluster.secure:
        arguments["ssl_context"] = dialer.make_context()
        if not cluster.tls.verify:
            arguments |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
        elif cluster.tls.server_name:
            arguments |= {"server_hostname": cluster.tls.server_name, "assert_hostname": cluster.tls.server_name}
    proxy = cluster.proxy
    if proxy is None:
        return urllib3.PoolManager(**arguments)
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    headers = {"proxy-authorization": proxy.authorization.reveal_text()} if proxy.authorization else None
    url = f"{'https' if proxy.secure else 'http'}://{host}:{proxy.port}"
    return urllib3.ProxyManager(url, proxy_headers=headers, **arguments)


class AuthProvider:
    """A legacy auth-provider. The official package refreshes its token and writes it back to the kubeconfig.

    The package is imported on first use, because that takes a quarter of a second. Thread-safe.
    """

    def __init__(self, files: Sequence[Path], context: str, provider: str) -> None:
        self._files = os.pathsep.join(str(file) for file in files)
        self._context = context
        self._provider = provider
        self._lock = threading.Lock()
        self._authorization = ""

    def make_headers(self) -> dict[str, str]:
        """Return the header with the provider's token. Raises Unauthorized or InputError if it issues none."""
        with self._lock:
            self._authorization = self._authorization or self._load()
            return {"Authorization": self._authorization}

    def read_key_pair(self) -> TlsKeyPair | None:
        """Return None: providers issue only tokens."""
        return None

    def refresh(self) -> bool:
        """Discard the token, so that the next request asks the provider again."""
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
            # The package does not wrap exceptions of requests, oauthlib or urllib3.
            raise Unauthorized(f"auth-provider {self._provider!r} gave no token: {cause}") from cause
        # Up to v35 of the package the key is "authorization".
        token = configuration.api_key.get("BearerToken") or configuration.api_key.get("authorization")
        if not token:
            fix = "log in again, or use an exec plugin"
            raise Unauthorized(f"auth-provider {self._provider!r} gave no token", fix=fix)
        return str(token)
