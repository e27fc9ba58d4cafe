"""Exec plugins: real programs, written by the test, that answer well and badly."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.errors import InputError, KubeBuilderError, Unauthorized
from ci_buildx.kube import credential_plugins
from ci_buildx.kube.config import load_cluster
from ci_buildx.kube.credential_plugins import ExecPlugin, ExecPluginSpec, InteractiveMode, read_exec_credential
from ci_buildx.kube.credentials import Credentials
from ci_buildx.settings.values import ClusterSettings

V1 = "client.authentication.k8s.io/v1"
PLUGIN = ExecPluginSpec(command="plugin", api_version=V1)

Written = Callable[..., Credentials]


def credential(**status: str) -> str:
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status})


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes a shell script and the kubeconfig that names it; gives the credentials."""

    def write(script: str, cluster: dict[str, Any] | None = None, **body: object) -> Credentials:
        program = tmp_path / "plugin"
        program.write_text(f"#!/bin/sh\ncd {tmp_path}\necho run >> runs\n{script}\n")
        program.chmod(0o755)
        plugin = {"apiVersion": V1, "command": "./plugin", "interactiveMode": "Never", **body}
        config = {
            "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "clusters": [{"name": "x", "cluster": {"server": "https://api:6443", **(cluster or {})}}],
            "users": [{"name": "x", "user": {"exec": plugin}}],
        }
        file = tmp_path / "config"
        file.write_text(json.dumps(config))
        return load_cluster(ClusterSettings(kubeconfig=(file,)), env={"PATH": os.environ["PATH"]}).credentials

    return write


def runs(tmp_path: Path) -> int:
    return len((tmp_path / "runs").read_text().splitlines())


def test_runs_once_and_again_after_a_401(tmp_path: Path, written: Written) -> None:
    credentials = written(f"echo '{credential(token='t')}'")
    assert credentials.make_headers() == credentials.make_headers() == {"Authorization": "Bearer t"}
    assert credentials.read_key_pair() is None
    assert runs(tmp_path) == 1
    assert credentials.refresh()
    credentials.make_headers()
    assert runs(tmp_path) == 2


def test_runs_again_when_its_token_has_expired(tmp_path: Path) -> None:
    program = tmp_path / "plugin"
    program.write_text(f"#!/bin/sh\necho '{credential(token='t', expirationTimestamp='1970-01-01T00:01:40Z')}'\n")
    program.chmod(0o755)
    now = [0.0]
    plugin = ExecPlugin(
        ExecPluginSpec(command=str(program), api_version=V1, interaction=InteractiveMode.NEVER),
        env={},
        clock=lambda: now[0],
    )
    assert plugin.make_headers()
    program.write_text(f"#!/bin/sh\necho '{credential(token='new')}'\n")
    now[0] = 99.0
    assert plugin.make_headers() == {"Authorization": "Bearer t"}
    now[0] = 100.0
    assert plugin.make_headers() == {"Authorization": "Bearer new"}


def test_is_told_what_it_asks_for(tmp_path: Path, written: Written) -> None:
    cluster = {
        "tls-server-name": "kubernetes",
        "insecure-skip-tls-verify": True,
        "proxy-url": "http://proxy:1",
        "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "me"}}],
    }
    script = f'echo "$KUBERNETES_EXEC_INFO" > told; echo "$1 $NAME" > args; echo \'{credential(token="t")}\''
    written(
        script, cluster, provideClusterInfo=True, args=["get-token"], env=[{"name": "NAME", "value": "value"}]
    ).make_headers()
    told = json.loads((tmp_path / "told").read_text())
    assert told["apiVersion"] == V1
    assert told["spec"] == {
        "interactive": False,
        "cluster": {
            "server": "https://api:6443",
            "tls-server-name": "kubernetes",
            "insecure-skip-tls-verify": True,
            "proxy-url": "http://proxy:1",
            "config": {"audience": "me"},
        },
    }
    assert (tmp_path / "args").read_text() == "get-token value\n"


def test_a_certificate_with_its_key() -> None:
    issued = read_exec_credential(credential(clientCertificateData="c", clientKeyData="k").encode(), PLUGIN)
    assert issued.key_pair is not None
    assert (issued.key_pair.certificate, issued.key_pair.key.reveal(), issued.token) == (b"c", b"k", None)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("", "did not print an ExecCredential"),
        ("[]", "did not print an ExecCredential"),
        ('{"apiVersion": "v1", "status": null}', "did not print an ExecCredential"),
        ('{"apiVersion": "v0", "status": {"token": "secret"}}', "returned v0"),
        (credential(), "neither a token nor a certificate"),
        (credential(clientKeyData="secret"), "a certificate or a key, not both"),
        (credential(token="secret", expirationTimestamp="soon"), "did not print an ExecCredential"),
    ],
)
def test_bad_answers_are_refused_without_showing_them(output: str, expected: str) -> None:
    with pytest.raises(Unauthorized, match=expected) as caught:
        read_exec_credential(output.encode(), PLUGIN)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ({"command": "kube-builder-no-such"}, InputError, "add its folder to PATH"),
        ({"command": "./none", "installHint": "apt install it"}, InputError, "apt install it"),
        ({"args": ["x"]}, Unauthorized, "ended with exit code 3: sorry"),
        ({"interactiveMode": "Always"}, InputError, "stdin is not a terminal"),
    ],
)
def test_plugins_that_cannot_run(
    written: Written, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], kind: type[KubeBuilderError], expected: str
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: False)
    credentials = written("echo sorry >&2; exit 3", **body)
    with pytest.raises(kind, match=expected):
        credentials.make_headers()


def test_a_plugin_that_hangs_is_ended(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_plugins, "DEADLINE", 0.2)
    with pytest.raises(Unauthorized, match="did not respond within 0 s"):
        written("exec sleep 60").make_headers()
