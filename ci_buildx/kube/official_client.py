"""The official ``kubernetes`` package with our credentials, connections and trust settings."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ci_buildx.kube.config import ClusterAccess
from ci_buildx.kube.connection import Dialer
from ci_buildx.kube.exchange import ApiCall
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
