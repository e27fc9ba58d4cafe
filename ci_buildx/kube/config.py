"""Resolves a kubeconfig, or a pod's service account, to the one cluster to use.

Precedence follows client-go v0.34.2, ``tools/clientcmd``: a kubeconfig wins over the in-cluster account; a token wins
over a token file; a token, token file, password or client certificate wins over an exec plugin.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from ci_buildx.errors import InputError
from ci_buildx.kube import kubeconfig as kube_kubeconfig
from ci_buildx.kube import kubeconfig_user
from ci_buildx.kube import proxy as kube_proxy
from ci_buildx.kube.credentials import Credentials, TokenFile
from ci_buildx.kube.kubeconfig import Kubeconfig, KubeconfigEntry
from ci_buildx.kube.proxy import Proxy
from ci_buildx.kube.tls import TlsSettings
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, field, replace
from ci_buildx.model.secret import Secret

_LOG = debug.get_log("kube")
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ClusterChoice(Protocol):
    """The user's choice of a cluster: ``settings.values.ClusterSettings``."""

    @property
    def kubeconfig(self) -> Sequence[Path]:
        """The files of KUBECONFIG in order; empty for the default file or the in-cluster account."""
        ...

    @property
    def content(self) -> Secret | None:
        """A kubeconfig passed as text instead of files."""
        ...

    @property
    def context(self) -> str:
        """The name of a context, "" for the current one."""
        ...

    @property
    def oidc(self) -> str:
        """The source of the job's OIDC token (:func:`ci_buildx.kube.credential_plugins.find_token_source`).

        "" uses the kubeconfig's own user.
        """
        ...

    @property
    def empty_input(self) -> str:
        """The name of a CI system's input that would hold a kubeconfig but is empty, "" if there is no such input."""
        ...

    @property
    def empty_fix(self) -> str:
        """The advice for an empty input."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccess:
    """One cluster and our credentials for it.

    ``server`` is a URL, possibly with a path. ``namespace`` is the context's, "default" if it has none. ``context`` is
    "" inside a pod. ``identity_headers`` (impersonation) are sent with each request in addition to the credentials.
    """

    server: str
    tls: TlsSettings = field(default_factory=TlsSettings)
    proxy: Proxy | None = None
    namespace: str = "default"
    context: str = ""
    credentials: Credentials
    identity_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> SplitResult:
        """The server's URL, split."""
        return urlsplit(self.server)

    @property
    def secure(self) -> bool:
        """Whether the connection uses TLS."""
        return self.url.scheme == "https"

    @property
    def address(self) -> tuple[str, int]:
        """The server's host and port."""
        url = self.url
        return url.hostname or "", url.port or (443 if self.secure else 80)


def load_cluster(settings: ClusterChoice, *, env: Mapping[str, str], account: Path = ACCOUNT) -> ClusterAccess:
    """Resolve the cluster that ``settings`` and the environment select.

    ``account`` is the folder of the in-cluster service account. Raises InputError if a file, context, cluster or user
    is missing or malformed.
    """
    cluster = _choose(settings, env, account)
    if _LOG.is_on:
        _LOG.debug(
            "cluster %s:%s: context %r, namespace %s, credentials %s%s%s",
            *cluster.address,
            cluster.context,
            cluster.namespace,
            type(cluster.credentials).__name__,
            ", impersonation" if cluster.identity_headers else "",
            f", proxy {cluster.proxy.host}:{cluster.proxy.port} ({cluster.proxy.source})" if cluster.proxy else "",
        )
    return cluster


def _choose(settings: ClusterChoice, env: Mapping[str, str], account: Path) -> ClusterAccess:
    if settings.oidc:
        from ci_buildx.kube import credential_plugins

        bearer = credential_plugins.OidcToken(credential_plugins.find_token_source(settings.oidc, env))
        cluster = _find_configuration(settings, env, account)
        if not cluster.secure:
            message = f"the job's token is not sent without TLS to {cluster.address[0]}"
            raise InputError(message, source="oidc", fix="write https:// into the kubeconfig's server")
        return replace(cluster, credentials=bearer, identity_headers={})
    return _find_configuration(settings, env, account)


def _find_configuration(settings: ClusterChoice, env: Mapping[str, str], account: Path) -> ClusterAccess:
    if settings.content is not None:
        given = kube_kubeconfig.read_text(settings.content.reveal())
        return _read_kubeconfig_cluster(given, settings.context, env)
    files = _list_files(settings, env)
    config = kube_kubeconfig.read_kubeconfigs(files)
    if config is not None and (config.contexts or settings.context or settings.kubeconfig):
        return _read_kubeconfig_cluster(config, settings.context, env)
    if "KUBERNETES_SERVICE_HOST" in env and (account / "token").exists() and not settings.context:
        return _read_service_account(account, env)
    names = ", ".join(str(file) for file in files)
    if config is None and settings.empty_input and not env.get("KUBECONFIG"):
        raise InputError(f"{settings.empty_input} is empty", fix=settings.empty_fix)
    if config is None:
        raise InputError(
            f"no kubeconfig: {names} does not exist",
            source="KUBECONFIG",
            fix="set KUBECONFIG or --kubeconfig to a file",
        )
    raise InputError("the file has no contexts", source=names)


def _list_files(settings: ClusterChoice, env: Mapping[str, str]) -> list[Path]:
    if settings.kubeconfig:
        return list(settings.kubeconfig)
    named = [Path(name) for name in env.get("KUBECONFIG", "").split(os.pathsep) if name]
    if named:
        return named
    # Path.home raises RuntimeError for a user without an entry in the system's list, as in a container.
    return [Path(env.get("HOME") or os.path.expanduser("~"), ".kube", "config")]  # noqa: PTH111


def _read_kubeconfig_cluster(config: Kubeconfig, name: str, env: Mapping[str, str]) -> ClusterAccess:
    context = config.find_context(name)
    entry = config.find_referred(context, "cluster")
    tls = _read_tls(entry)
    person = config.find_referred(context, "user") if context.read_text("user") else None
    server = _read_server(entry, secure=bool(tls.authority or not tls.verify))
    proxy_url = entry.read_text("proxy-url")
    own = (
        kube_proxy.parse_proxy(proxy_url, source=f"{kube_kubeconfig.describe_file(entry.origin)}: proxy-url")
        if proxy_url
        else None
    )
    place = kubeconfig_user.UserContext(
        config=config, context=context.name, cluster=entry, server=server, tls=tls, proxy_url=proxy_url
    )
    is_secure = urlsplit(server).scheme == "https"
    return ClusterAccess(
        server=server,
        tls=tls,
        proxy=own or _read_environment_proxy(server, env),
        namespace=context.read_text("namespace") or "default",
        context=context.name,
        # Without TLS the user is ignored; otherwise everyone on the network path could read the token
        # (client-go v0.37.0, tools/clientcmd/client_config.go, ClientConfig).
        credentials=kubeconfig_user.make_credentials(person if is_secure else None, place, env),
        identity_headers=kubeconfig_user.make_impersonation_headers(person if is_secure else None),
    )


def _read_server(entry: KubeconfigEntry, *, secure: bool) -> str:
    """Return the server's URL, by default HTTPS if ``secure``, else HTTP (client-go v0.37.0, ``rest/url_utils.go``)."""
    server = entry.read_text("server").rstrip("/")
    if not server:
        raise entry.make_error("no server is set")
    if "://" not in server:
        server = f"{'https' if secure else 'http'}://{server}"
    try:
        url = urlsplit(server)
        valid = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise entry.make_error(f"malformed server URL {server!r}")
    return server


def _read_tls(entry: KubeconfigEntry) -> TlsSettings:
    authority = entry.read_content("certificate-authority")
    insecure = entry.read_flag("insecure-skip-tls-verify")
    if insecure and authority:
        raise entry.make_error("certificate-authority and insecure-skip-tls-verify exclude each other")
    return TlsSettings(authority=authority, verify=not insecure, server_name=entry.read_text("tls-server-name"))


def _read_environment_proxy(server: str, env: Mapping[str, str]) -> Proxy | None:
    url = urlsplit(server)
    return kube_proxy.choose_proxy(
        url.scheme, url.hostname or "", url.port or (443 if url.scheme == "https" else 80), env
    )


def _read_service_account(account: Path, env: Mapping[str, str]) -> ClusterAccess:
    """Use a pod's own service account; its token is read for each request because the kubelet rotates it."""
    host, port = env["KUBERNETES_SERVICE_HOST"], env.get("KUBERNETES_SERVICE_PORT", "443")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    namespace = account / "namespace"
    return ClusterAccess(
        server=server,
        tls=TlsSettings(authority=kube_kubeconfig.read_file(account / "ca.crt", source="in-cluster account")),
        proxy=_read_environment_proxy(server, env),
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        credentials=TokenFile(account / "token"),
    )
