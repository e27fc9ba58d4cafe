"""Credentials from a program: ``aws eks get-token``, ``gke-gcloud-auth-plugin``, ``kubelogin``.

The protocol is client.authentication.k8s.io, v1 and v1beta1, as implemented by client-go v0.34.2
(``plugin/pkg/client/auth/exec/exec.go``). The official package's ExecProvider is not used: importing it takes longer
than a fully cached build, and it supports no deadline, no install hint and no expiry.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from ci_buildx.errors import InputError, Unauthorized
from ci_buildx.kube.credentials import make_bearer_header
from ci_buildx.kube.tls import TlsKeyPair
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
        document = json.loads(output)
        version, status = document["apiVersion"], document["status"]
        token, certificate = status.get("token") or "", status.get("clientCertificateData") or ""
        key, expiry = status.get("clientKeyData") or "", status.get("expirationTimestamp") or ""
        expires = _parse_time(expiry) if expiry else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _make_failure(plugin, "printed no ExecCredential with a status") from None
    if version != plugin.api_version:
        raise _make_failure(plugin, f"answered in {version}, the kubeconfig asks for {plugin.api_version}")
    if bool(certificate) != bool(key):
        raise _make_failure(plugin, "gave a certificate or a key, not both")
    if not token and not certificate:
        raise _make_failure(plugin, "gave neither a token nor a certificate")
    source = f"exec plugin {plugin.command}"
    pair = TlsKeyPair(certificate=certificate.encode(), key=Secret(key), source=source) if certificate else None
    return IssuedCredential(token=Secret(token) if token else None, key_pair=pair, expires=expires)


def _run_plugin(plugin: ExecPluginSpec, env: Mapping[str, str]) -> bytes:
    interactive = _is_interactive(plugin)
    program = find_program(plugin.command, env)
    if program is None:
        hint = (
            plugin.install_hint.strip() or "install it, or put its folder on PATH; folders of the checkout do not count"
        )
        raise InputError(f"exec plugin {plugin.command!r} not found", source="kubeconfig", fix=hint)
    instructions = {"KUBERNETES_EXEC_INFO": _make_exec_info(plugin, interactive)}
    deadline = DEADLINE * 5 if interactive else DEADLINE
    command, told = (program, *plugin.arguments), {**make_environment(env), **plugin.environment, **instructions}
    try:
        status, output, complaints = run_program(command, env=told, timeout=deadline, interactive=interactive)
    except TimeoutError as cause:
        raise _make_failure(plugin, f"gave no answer in {deadline:.0f} s") from cause
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
            f"exec plugin {plugin.command!r} wants to ask something, and there is no terminal",
            source="kubeconfig",
            fix="log in beforehand, or use credentials for machines",
        )
    return terminal and plugin.interaction is not InteractiveMode.NEVER


def _parse_time(timestamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(timestamp).timestamp()


def _make_failure(plugin: ExecPluginSpec, reason: str) -> Unauthorized:
    return Unauthorized(f"exec plugin {plugin.command!r} {reason}", fix="run it by hand to see what it lacks")
