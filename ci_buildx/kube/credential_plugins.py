"""Credentials for the API server from outside the kubeconfig: exec plugins, auth-providers, the job's OIDC token.

The protocol of exec plugins is client.authentication.k8s.io, v1 and v1beta1, as implemented by client-go v0.34.2
(``plugin/pkg/client/auth/exec/exec.go``). The official package's ExecProvider is not used: importing it takes longer
than a fully cached build, and it supports no deadline, no install hint and no expiry.

GitHub's runner issues a token on each request (its documentation, "OpenID Connect reference": ``id-token: write``,
``ACTIONS_ID_TOKEN_REQUEST_URL`` and ``…_TOKEN``, also in post steps); GitLab writes tokens into the variables that
``id_tokens`` names, once per job. The API server accepts them by structured authentication.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError, Unauthorized
from ci_buildx.kube.credentials import make_bearer_header
from ci_buildx.kube.tls import TlsKeyPair
from ci_buildx.model import http_calls
from ci_buildx.model.documents import parse_json
from ci_buildx.model.programs import MOST_OUTPUT, TooMuchOutput, find_program, make_environment, run_program
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.secret import Secret

API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
DEADLINE = 60.0
"""Seconds a plugin may take; a plugin that can ask the user gets five times as long."""


class InteractiveMode(StrEnum):
    """The kubeconfig's ``interactiveMode``: whether the plugin may read from our standard input."""

    NEVER = "Never"
    IF_AVAILABLE = "IfAvailable"
    ALWAYS = "Always"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecPluginSpec:
    """How to run the plugin. ``cluster`` is ``spec.cluster`` of its input, None if it did not request it."""

    command: str
    api_version: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    cluster: Mapping[str, Any] | None = None
    interaction: InteractiveMode = InteractiveMode.IF_AVAILABLE
    install_hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCredential:
    """The credential that a plugin printed: a token, a certificate or both.

    ``expires`` is in epoch seconds, None for never.
    """

    token: Secret | None
    key_pair: TlsKeyPair | None
    expires: float | None


class ExecPlugin:
    """Runs the plugin when credentials are needed, when they have expired and after a 401. Thread-safe."""

    def __init__(self, plugin: ExecPluginSpec, *, env: Mapping[str, str], clock: Callable[[], float]) -> None:
        self._plugin = plugin
        self._env = env
        self._clock = clock
        self._lock = threading.Lock()
        self._issued: IssuedCredential | None = None

    def make_headers(self) -> dict[str, str]:
        """Return the header with the plugin's token, {} if it issued none. Raises InputError or Unauthorized."""
        token = self._is_valid().token
        return make_bearer_header(token) if token else {}

    def read_key_pair(self) -> TlsKeyPair | None:
        """Return the plugin's certificate, None if it issued none. Raises InputError or Unauthorized."""
        return self._is_valid().key_pair

    def refresh(self) -> bool:
        """Discard the issued credential, so that the next request runs the plugin again."""
        with self._lock:
            self._issued = None
        return True

    def _is_valid(self) -> IssuedCredential:
        with self._lock:
            issued = self._issued
            if issued is None or (issued.expires is not None and issued.expires <= self._clock()):
                issued = self._issued = read_exec_credential(_run_plugin(self._plugin, self._env), self._plugin)
            return issued


def read_exec_credential(output: bytes, plugin: ExecPluginSpec) -> IssuedCredential:
    """Parse a plugin's output as an ExecCredential.

    Raises Unauthorized, which names the defect but shows none of the output.
    """
    try:
        document = parse_json(output)
        version, status = document["apiVersion"], document["status"]
        token, certificate = status.get("token") or "", status.get("clientCertificateData") or ""
        key, expiry = status.get("clientKeyData") or "", status.get("expirationTimestamp") or ""
        expires = _parse_time(expiry) if expiry else None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _make_failure(plugin, "did not print an ExecCredential with a status") from None
    if version != plugin.api_version:
        raise _make_failure(plugin, f"returned {version}, but the kubeconfig requires {plugin.api_version}")
    if bool(certificate) != bool(key):
        raise _make_failure(plugin, "returned a certificate or a key, not both")
    if not token and not certificate:
        raise _make_failure(plugin, "returned neither a token nor a certificate")
    source = f"exec plugin {plugin.command}"
    pair = TlsKeyPair(certificate=certificate.encode(), key=Secret(key), source=source) if certificate else None
    return IssuedCredential(token=Secret(token) if token else None, key_pair=pair, expires=expires)


def _run_plugin(plugin: ExecPluginSpec, env: Mapping[str, str]) -> bytes:
    interactive = _is_interactive(plugin)
    program = find_program(plugin.command, env)
    if program is None:
        hint = (
            plugin.install_hint.strip() or "install it, or add its folder to PATH; folders of the checkout are ignored"
        )
        raise InputError(f"exec plugin {plugin.command!r} not found", source="kubeconfig", fix=hint)
    instructions = {"KUBERNETES_EXEC_INFO": _make_exec_info(plugin, interactive)}
    deadline = DEADLINE * 5 if interactive else DEADLINE
    command, told = (program, *plugin.arguments), {**make_environment(env), **plugin.environment, **instructions}
    try:
        status, output, complaints = run_program(command, env=told, timeout=deadline, interactive=interactive)
    except TimeoutError as cause:
        raise _make_failure(plugin, f"did not respond within {deadline:.0f} s") from cause
    except TooMuchOutput as cause:
        raise _make_failure(plugin, f"printed more than {MOST_OUTPUT >> 20} MiB") from cause
    except OSError as cause:
        raise InputError(f"cannot run {plugin.command!r}: {cause.strerror}", source="kubeconfig") from cause
    if status:
        said = complaints.decode(errors="replace").strip().splitlines()[-1:]
        raise _make_failure(plugin, f"ended with exit code {status}" + "".join(f": {line}" for line in said))
    return output


def _make_exec_info(plugin: ExecPluginSpec, interactive: bool) -> str:
    """Make the value of KUBERNETES_EXEC_INFO."""
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.cluster is not None:
        spec["cluster"] = plugin.cluster
    return json.dumps({"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec})


def _is_interactive(plugin: ExecPluginSpec) -> bool:
    terminal = os.isatty(0)
    if plugin.interaction is InteractiveMode.ALWAYS and not terminal:
        raise InputError(
            f"exec plugin {plugin.command!r} requires a terminal for its prompt, but stdin is not a terminal",
            source="kubeconfig",
            fix="log in beforehand, or use non-interactive credentials",
        )
    return terminal and plugin.interaction is not InteractiveMode.NEVER


def _parse_time(timestamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(timestamp).timestamp()


def _make_failure(plugin: ExecPluginSpec, reason: str) -> Unauthorized:
    return Unauthorized(f"exec plugin {plugin.command!r} {reason}", fix="run it manually to see its error")


VARIABLE = "env:"
"""Prefix of the name of a variable that holds the token."""

_URL, _REQUEST_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
_TRIES = 3
_TIMEOUT = 10.0
_PAUSE = 0.5
_SHARE = 0.25
"""Fraction of a token's lifetime, at its end, in which it is replaced: it must reach the server before it expires."""

Fetch = Callable[[], Secret]


class OidcToken:
    """Fetches a token when one is needed, when the last one is about to expire, and after a 401. Thread-safe.

    A token's age is measured from its arrival, so a wrong clock on the runner does not matter.
    """

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Secret | None = None
        self._stale = 0.0

    def make_headers(self) -> dict[str, str]:
        """Return the header with the token. Raises InputError or Unauthorized."""
        with self._lock:
            if self._token is None or self._clock() >= self._stale:
                now = self._clock()
                self._token = self._fetch()
                self._stale = now + compute_usable_time(self._token)
            return make_bearer_header(self._token)

    def read_key_pair(self) -> None:
        """Return None: there is only a token."""

    def refresh(self) -> bool:
        """Discard the token, so that the next request fetches another."""
        with self._lock:
            self._token = None
        return True


def compute_usable_time(token: Secret) -> float:
    """Return the seconds from a JWT's issue until it should be replaced; infinite if it has no expiry.

    Does not verify the token; the API server does.
    """
    try:
        _, payload, _ = token.reveal_text().split(".")
        claims = parse_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return (float(claims["exp"]) - float(claims["iat"])) * (1 - _SHARE)
    except (ValueError, KeyError, TypeError):
        return float("inf")


def find_token_source(text: str, env: Mapping[str, str]) -> Fetch:
    """Return a function that fetches the job's token; ``text`` is ``env:NAME`` or an audience for GitHub's runner.

    Raises InputError if the token is unavailable; the returned function raises Unauthorized.
    """
    if text.startswith(VARIABLE):
        name = text.removeprefix(VARIABLE)
        if not env.get(name):
            raise InputError(f"variable {name!r} is not set", source="oidc", fix=f"add id_tokens: {name}: … to the job")
        return lambda: Secret(env[name])
    if not (env.get(_URL) and env.get(_REQUEST_TOKEN)):
        fix = (
            "add `permissions: id-token: write` to the job; on other systems write "
            "env:NAME of a variable that holds the token"
        )
        raise InputError(f"{_URL} is not set: this job is not allowed to request a token", source="oidc", fix=fix)
    return lambda: request_token(env[_URL], Secret(env[_REQUEST_TOKEN]), text)


def request_token(url: str, password: Secret, audience: str) -> Secret:
    """Request a token for ``audience`` from GitHub's runner, with retries. Raises Unauthorized."""
    import requests

    reason = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE * 2**attempt)
        try:
            answer = http_calls.send_request(
                "GET", url, params={"audience": audience}, headers=make_bearer_header(password), timeout=_TIMEOUT
            )
        except requests.RequestException as cause:
            # The exception's text may contain the whole URL.
            reason = f"no answer ({type(cause).__name__})"
            continue
        if answer.ok:
            return _read_token(answer.content)
        reason = f"HTTP {answer.status_code}"
        if answer.status_code < 500 and answer.status_code != 429:
            break
    raise Unauthorized(f"the runner returned no OIDC token for {audience!r}: {reason}")


def _read_token(content: bytes) -> Secret:
    try:
        value = parse_json(content)["value"]
    except (ValueError, KeyError, TypeError):
        value = None
    if not isinstance(value, str) or not value:
        raise Unauthorized("the runner returned no OIDC token: its response contains none")
    return Secret(value)


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
            raise Unauthorized(f"auth-provider {self._provider!r} returned no token: {cause}") from cause
        # Up to v35 of the package the key is "authorization".
        token = configuration.api_key.get("BearerToken") or configuration.api_key.get("authorization")
        if not token:
            fix = "log in again, or use an exec plugin"
            raise Unauthorized(f"auth-provider {self._provider!r} returned no token", fix=fix)
        return str(token)
