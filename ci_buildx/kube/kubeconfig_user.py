"""The user of a kubeconfig: credentials and impersonation."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ci_buildx.kube.credentials import Anonymous, BasicAuth, ClientCertificate, Credentials, StaticToken, TokenFile
from ci_buildx.kube.kubeconfig import TEXT, Kubeconfig, KubeconfigEntry, describe_file
from ci_buildx.kube.tls import TlsKeyPair, TlsSettings
from ci_buildx.model.programs import find_named_workspaces, find_program, is_below
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret

if TYPE_CHECKING:
    from ci_buildx.kube.credential_plugins import ExecPluginSpec

_ELSEWHERE = "write the kubeconfig to a folder outside the checkout, such as RUNNER_TEMP or $HOME/.kube"
_CLUSTER_EXTENSION = "client.authentication.k8s.io/exec"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserContext:
    """The context in which a user is used: the cluster data passed to plugins and providers."""

    config: Kubeconfig
    context: str
    cluster: KubeconfigEntry
    server: str
    tls: TlsSettings
    proxy_url: str


def make_credentials(user: KubeconfigEntry | None, place: UserContext, env: Mapping[str, str]) -> Credentials:
    """Make the credentials of ``user``; None means anonymous. ``place`` is the user's context.

    Raises InputError for fields that are contradictory, malformed or not allowed.
    """
    if user is None:
        return Anonymous()
    pair = _read_key_pair(user)
    _check_token_file(user, env)
    named = _read_inline_credentials(user)
    if pair is not None:
        return ClientCertificate(pair, named or Anonymous())
    if named is not None:
        return named
    if user.body.get("exec") or user.body.get("auth-provider"):
        _refuse_in_workspace(user, env)
    if user.body.get("exec"):
        from ci_buildx.kube.credential_plugins import ExecPlugin

        return ExecPlugin(_read_plugin(user, place), env=env, clock=time.time)
    provider = user.body.get("auth-provider")
    if provider:
        _check_command(user, provider, env)
        from ci_buildx.kube.credential_plugins import AuthProvider

        name = provider.get("name", "") if isinstance(provider, dict) else ""
        if user.origin == TEXT:
            raise user.make_error("an auth-provider writes its tokens back", fix="put the kubeconfig into a file")
        return AuthProvider(place.config.files, place.context, name)
    return Anonymous()


def _refuse_in_workspace(user: KubeconfigEntry, env: Mapping[str, str]) -> None:
    """Raise InputError if the kubeconfig is in the CI workspace: its author could choose a program to run."""
    if is_below(str(user.origin.absolute()), find_named_workspaces(env)):
        raise user.make_error(
            "a kubeconfig in the job's workspace must not name a program to run (exec, auth-provider)", fix=_ELSEWHERE
        )


def _check_token_file(user: KubeconfigEntry, env: Mapping[str, str]) -> None:
    """Raise InputError if a kubeconfig in the CI workspace would send a file of the runner to its server."""
    file, workspaces = user.read_path("tokenFile"), find_named_workspaces(env)
    if file is None or not is_below(str(user.origin.absolute()), workspaces):
        return
    if not is_below(os.path.realpath(file), workspaces):
        raise user.make_error(
            "a kubeconfig in the job's workspace must not name a tokenFile outside of it", fix=_ELSEWHERE
        )


def _check_command(user: KubeconfigEntry, provider: object, env: Mapping[str, str]) -> None:
    """Raise InputError if the program of an auth-provider would be found in the checkout.

    The official package runs it in the working directory and searches the whole PATH.
    """
    config = provider.get("config") if isinstance(provider, dict) else None
    command = config.get("cmd-path") if isinstance(config, dict) else None
    if not command:
        return
    from shutil import which

    if find_program(str(command), env) != which(str(command), path=env.get("PATH")):
        raise user.make_error(
            f"cmd-path {command!r} of the auth-provider is not found, or only in the checkout",
            fix="set its absolute path",
        )


def make_impersonation_headers(user: KubeconfigEntry | None) -> dict[str, str]:
    """Make the impersonation headers of ``user``. Raises InputError for values that the headers cannot express."""
    if user is None or not user.read_text("as"):
        return {}
    headers = {"Impersonate-User": user.read_text("as")}
    if user.read_text("as-uid"):
        headers["Impersonate-Uid"] = user.read_text("as-uid")
    groups = user.body.get("as-groups") or []
    if len(groups) > 1:
        raise user.make_error("impersonating several groups (as-groups) is not supported", fix="name one group")
    if groups:
        headers["Impersonate-Group"] = str(groups[0])
    for key, values in (user.body.get("as-user-extra") or {}).items():
        if len(values) > 1:
            raise user.make_error(f"several values for {key!r} in as-user-extra are not supported")
        headers.update({f"Impersonate-Extra-{quote(key, safe='')}": str(value) for value in values})
    return headers


def _read_inline_credentials(user: KubeconfigEntry) -> Credentials | None:
    """Read the credentials in the entry itself: a token, a token file or a password."""
    token, token_file = user.read_text("token"), user.read_path("tokenFile")
    name, password = user.read_text("username"), user.read_text("password")
    if token and (name or password):
        raise user.make_error("has both a token and a password", fix="keep one of them")
    if token:
        return StaticToken(Secret(token))
    if token_file:
        return TokenFile(token_file)
    if name or password:
        return BasicAuth(name, Secret(password))
    return None


def _read_key_pair(user: KubeconfigEntry) -> TlsKeyPair | None:
    certificate = user.read_content("client-certificate")
    if not certificate:
        return None
    key = user.read_content("client-key")
    if not key:
        raise user.make_error("client-certificate requires client-key or client-key-data")
    return TlsKeyPair(
        certificate=certificate, key=Secret(key), source=f"{describe_file(user.origin)}: user {user.name!r}"
    )


def _read_plugin(user: KubeconfigEntry, place: UserContext) -> ExecPluginSpec:
    from ci_buildx.kube.credential_plugins import API_VERSIONS, ExecPluginSpec, InteractiveMode

    body = user.body["exec"]
    if not isinstance(body, dict):
        raise user.make_error("exec must be a mapping")
    entry = KubeconfigEntry(kind="user", name=user.name, body=body, origin=user.origin)
    command, version = entry.read_text("command"), entry.read_text("apiVersion")
    if not command:
        raise user.make_error("exec requires a command")
    if version not in API_VERSIONS:
        raise user.make_error(f"exec: unknown apiVersion {version!r}", fix=f"known are {', '.join(API_VERSIONS)}")
    mode = entry.read_text("interactiveMode") or InteractiveMode.IF_AVAILABLE
    if mode not in set(InteractiveMode):
        raise user.make_error(f"exec: unknown interactiveMode {mode!r}", fix=f"known are {', '.join(InteractiveMode)}")
    return ExecPluginSpec(
        # Like client-go: a command with a slash is a path relative to the kubeconfig, others are found on PATH.
        command=str(entry.read_path("command")) if "/" in command else command,
        api_version=version,
        arguments=tuple(str(argument) for argument in body.get("args") or ()),
        environment={str(pair.get("name")): str(pair.get("value")) for pair in body.get("env") or ()},
        cluster=_describe_cluster(place) if entry.read_flag("provideClusterInfo") else None,
        interaction=InteractiveMode(mode),
        install_hint=entry.read_text("installHint"),
    )


def _describe_cluster(place: UserContext) -> dict[str, Any]:
    """Make ``spec.cluster`` of an ExecCredential.

    Source: client-go v0.34.2, ``pkg/apis/clientauthentication/v1/types.go``.
    """
    import base64

    described: dict[str, Any] = {"server": place.server}
    if place.tls.server_name:
        described["tls-server-name"] = place.tls.server_name
    if not place.tls.verify:
        described["insecure-skip-tls-verify"] = True
    if place.tls.authority:
        described["certificate-authority-data"] = base64.b64encode(place.tls.authority).decode()
    if place.proxy_url:
        described["proxy-url"] = place.proxy_url
    for extension in place.cluster.body.get("extensions") or ():
        if extension.get("name") == _CLUSTER_EXTENSION:
            described["config"] = extension.get("extension")
    return described
