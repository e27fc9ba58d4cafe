"""Kubeconfigs as people have them, and the in-cluster account."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.errors import InputError, Unauthorized
from ci_buildx.kube.config import ClusterAccess, load_cluster
from ci_buildx.settings.values import ClusterSettings

YAML = """
apiVersion: v1
kind: Config
current-context: prod
contexts:
- {name: prod, context: {cluster: c, user: u, namespace: team}}
- {name: other, context: {cluster: c, user: u}}
clusters:
- name: c
  cluster: {server: "https://api.example.com:6443/k8s/", certificate-authority: ca.crt, tls-server-name: kubernetes}
users:
- name: u
  user: {tokenFile: tokens/mine}
"""


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(
    cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, name: str = "x", current: str = "x"
) -> str:
    return json.dumps(
        {
            "current-context": current,
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "clusters": [{"name": name, "cluster": {"server": f"https://{name}:6443", **(cluster or {})}}],
            "users": [{"name": name, "user": user or {}}],
        }
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with the files that the kubeconfigs name."""
    (tmp_path / ".kube" / "tokens").mkdir(parents=True)
    (tmp_path / ".kube" / "ca.crt").write_text("an authority")
    (tmp_path / ".kube" / "tokens" / "mine").write_text("secret\n")
    return tmp_path


def loaded(home: Path, text: str, context: str = "", **env: str) -> ClusterAccess:
    file = home / ".kube" / "config"
    file.write_text(text)
    return load_cluster(ClusterSettings(context=context), env={"HOME": str(home), **env})


def complaint(home: Path, text: str, context: str = "") -> str:
    with pytest.raises(InputError) as caught:
        loaded(home, text, context)
    return str(caught.value)


def test_reads_the_default_file_with_paths_relative_to_it(home: Path) -> None:
    cluster = loaded(home, YAML)
    assert (cluster.server, cluster.namespace, cluster.context) == ("https://api.example.com:6443/k8s", "team", "prod")
    assert (cluster.tls.authority, cluster.tls.server_name, cluster.tls.verify) == (b"an authority", "kubernetes", True)
    assert (cluster.address, cluster.secure) == (("api.example.com", 6443), True)
    assert cluster.credentials.make_headers() == {"Authorization": "Bearer secret"}


def test_a_token_file_is_read_again_each_time(home: Path) -> None:
    cluster = loaded(home, YAML)
    (home / ".kube" / "tokens" / "mine").write_text("rotated")
    assert cluster.credentials.make_headers() == {"Authorization": "Bearer rotated"}
    (home / ".kube" / "tokens" / "mine").unlink()
    with pytest.raises(Unauthorized, match=r"tokens/mine: No such file"):
        cluster.credentials.make_headers()


def test_a_named_context_without_namespace(home: Path) -> None:
    cluster = loaded(home, YAML, "other")
    assert (cluster.context, cluster.namespace) == ("other", "default")


def test_several_files_the_first_to_say_something_wins(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("1", "missing", "3"))
    first.write_text(config({"server": "https://first"}, {"token": "one"}, current=""))
    third.write_text(
        json.dumps(
            {
                "current-context": "y",
                "contexts": [
                    {"name": "y", "context": {"cluster": "x", "user": "y"}},
                    {"name": "x", "context": {"cluster": "x", "user": "y"}},
                ],
                "clusters": [{"name": "x", "cluster": {"server": "https://third"}}],
                "users": [{"name": "y", "user": {"token": "two"}}, {"name": "x", "user": {"token": "three"}}],
            }
        )
    )
    files = (first, second, third)
    cluster = load_cluster(ClusterSettings(kubeconfig=files), env={})
    assert (cluster.context, cluster.server) == ("y", "https://first")
    assert cluster.credentials.make_headers()["Authorization"] == "Bearer two"
    named = load_cluster(ClusterSettings(context="x"), env={"KUBECONFIG": ":".join(map(str, files))})
    assert named.credentials.make_headers()["Authorization"] == "Bearer one"


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({"token": "t"}, "Bearer t"),
        ({"token": "t", "tokenFile": "tokens/mine"}, "Bearer t"),
        ({"token": "t", "exec": {"command": "no"}}, "Bearer t"),
        ({"username": "me", "password": "pass"}, "Basic bWU6cGFzcw=="),
        ({}, None),
    ],
)
def test_which_credentials_count(home: Path, user: dict[str, Any], header: str | None) -> None:
    assert loaded(home, config(user=user)).credentials.make_headers().get("Authorization") == header


@pytest.mark.parametrize("server", ["http://api:8080", "HTTP://api:8080", "api:8080"])
@pytest.mark.parametrize("user", [{"token": "t"}, {"username": "u", "password": "p"}, {"token": "t", "as": "jane"}])
def test_without_tls_no_credentials_are_sent(home: Path, server: str, user: dict[str, Any]) -> None:
    """As kubectl: who is on the way would read them."""
    cluster = loaded(home, config({"server": server}, user))
    assert not cluster.secure
    assert (cluster.credentials.make_headers(), dict(cluster.identity_headers)) == ({}, {})


@pytest.mark.parametrize("tls", [{"insecure-skip-tls-verify": True}, {"certificate-authority-data": encoded("CA")}])
def test_a_server_without_a_scheme_is_https_if_anything_is_said_of_tls(home: Path, tls: dict[str, Any]) -> None:
    cluster = loaded(home, config({"server": "api:6443", **tls}, {"token": "t"}))
    assert (cluster.server, cluster.secure) == ("https://api:6443", True)
    assert cluster.credentials.make_headers() == {"Authorization": "Bearer t"}


def test_the_jobs_token_is_not_sent_without_tls(home: Path) -> None:
    (home / ".kube" / "config").write_text(config({"server": "http://api:8080"}))
    with pytest.raises(InputError, match="the job's token is not sent without TLS to api"):
        load_cluster(ClusterSettings(oidc="env:T"), env={"HOME": str(home), "T": "token"})


def test_client_certificate_and_token_go_together(home: Path) -> None:
    user = {"client-certificate-data": encoded("cert"), "client-key-data": encoded("key"), "token": "t"}
    credentials = loaded(home, config(user=user)).credentials
    pair = credentials.read_key_pair()
    assert pair is not None
    assert (pair.certificate, pair.key.reveal()) == (b"cert", b"key")
    assert credentials.make_headers() == {"Authorization": "Bearer t"}
    assert "key" not in repr(pair.key)


def test_impersonation(home: Path) -> None:
    user = {"token": "t", "as": "jane", "as-groups": ["devs"], "as-user-extra": {"a/b": ["c"]}}
    headers = {"Impersonate-User": "jane", "Impersonate-Group": "devs", "Impersonate-Extra-a%2Fb": "c"}
    assert loaded(home, config(user=user)).identity_headers == headers


def test_proxy_url_wins_over_the_environment(home: Path) -> None:
    own = loaded(home, config({"proxy-url": "http://own:1"}), HTTPS_PROXY="http://env:2").proxy
    env = loaded(home, config(), HTTPS_PROXY="http://env:2").proxy
    assert own is not None
    assert env is not None
    assert (own.host, env.host) == ("own", "env")


@pytest.mark.parametrize(
    ("text", "context", "expected"),
    [
        (YAML, "prdo", "context 'prdo' does not exist; choose one of these contexts: other, prod"),
        (config(current=""), "", "no current-context is set; choose one of these contexts: x"),
        ("a: [", "", "malformed YAML in line"),
        ("- a", "", "the top of the file must be a mapping"),
        ("contexts: 5", "", "contexts must be a list"),
        ("contexts: [{name: a, context: b}]", "", "each of contexts needs a name and a context"),
        ("", "", "the file has no contexts"),
        ("contexts: [{name: a}, {name: a}]", "", "context 'a' is defined twice"),
        ("current-context: a\ncontexts: [{name: a}]", "", "cluster '' does not exist; known clusters: none"),
        (config({"server": ""}), "", "cluster 'x': no server is set"),
        (config({"server": "ftp://x"}), "", "malformed server URL 'ftp://x'"),
        (config({"server": 5}), "", "cluster 'x': server must be a string"),
        (config({"certificate-authority-data": "%"}), "", "certificate-authority-data is not base64"),
        (config({"certificate-authority": "none"}), "", "cannot read"),
        (config({"insecure-skip-tls-verify": "yes"}), "", "must be true or false"),
        (config({"insecure-skip-tls-verify": True, "certificate-authority": "ca.crt"}), "", "exclude each other"),
        (config({"proxy-url": "socks5://x"}), "", "'socks5' are not supported"),
        (config(user={"token": "t", "username": "u"}), "", "has both a token and a password"),
        (config(user={"client-certificate": "ca.crt"}), "", "requires client-key"),
        (config(user={"exec": {"command": "x"}}), "", "unknown apiVersion ''; known are client.auth"),
        (config(user={"as": "a", "as-groups": ["b", "c"]}), "", "several groups"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(home: Path, text: str, context: str, expected: str) -> None:
    said = complaint(home, text, context)
    assert expected in said
    assert str(home / ".kube" / "config") in said


def test_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no kubeconfig: .*/\.kube/config does not exist"):
        load_cluster(ClusterSettings(), env={"HOME": str(tmp_path)}, account=tmp_path / "none")


def test_an_input_without_its_secret(tmp_path: Path) -> None:
    """As in every pull request of a fork."""
    empty, env = ClusterSettings(empty_input="input kubeconfig", empty_fix="define it"), {"HOME": str(tmp_path)}
    with pytest.raises(InputError, match=r"^input kubeconfig is empty; define it$"):
        load_cluster(empty, env=env, account=tmp_path / "none")
    with pytest.raises(InputError, match="no kubeconfig: /none does not exist"):
        load_cluster(empty, env={**env, "KUBECONFIG": "/none"}, account=tmp_path / "none")


def test_a_user_whom_the_system_does_not_know(tmp_path: Path, nobody: None) -> None:
    with pytest.raises(InputError, match=r"no kubeconfig: ~/\.kube/config does not exist"):
        load_cluster(ClusterSettings(), env={}, account=tmp_path / "none")


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """The folder of a pod's service account."""
    for name, content in (("token", "t\n"), ("ca.crt", "CA"), ("namespace", "ci")):
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    ("host", "server"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_inside_a_pod(account: Path, host: str, server: str) -> None:
    env = {"HOME": str(account), "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}
    cluster = load_cluster(ClusterSettings(), env=env, account=account)
    assert (cluster.server, cluster.namespace, cluster.tls.authority) == (server, "ci", b"CA")
    assert cluster.credentials.make_headers() == {"Authorization": "Bearer t"}
    assert cluster.credentials.refresh()
