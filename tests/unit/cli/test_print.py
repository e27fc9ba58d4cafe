"""``--print``: JSON on standard output, and nothing else is done."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.cli.main import main
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import Unreachable
from ci_buildx.kube.client import KubeClient

NOWHERE = """
apiVersion: v1
kind: Config
current-context: x
contexts: [{name: x, context: {cluster: x, user: x}}]
clusters: [{name: x, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: x, user: {token: kube-token}}]
"""


@pytest.fixture
def cwd(cwd: Path) -> Path:
    """The working directory: a context with files to send, to ignore and to refuse."""
    (cwd / "d").mkdir()
    (cwd / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (cwd / "d" / "tool").write_text("#!/bin/sh\n")
    (cwd / "d" / "tool").chmod(0o4755)
    (cwd / "link").symlink_to("d/tool")
    (cwd / "a.log").touch()
    (cwd / ".dockerignore").write_text("*.log\n")
    return cwd


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if the product calls the API server."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the cluster is asked")

    monkeypatch.setattr(KubeClient, "list", refuse)
    monkeypatch.setattr(KubeClient, "create", refuse)


def run(cwd: Path, kind: str, *argv: str, env: dict[str, str] | None = None) -> tuple[Any, str]:
    """What is printed, and standard error."""
    stdout, stderr = io.StringIO(), io.StringIO()
    around = ProcessContext(env=env or {"HOME": str(cwd / "nobody")}, cwd=cwd, stdout=stdout, stderr=stderr)
    code = main(["build", "--print", kind, *argv, "."], around)
    assert code == 0, stderr.getvalue()
    return json.loads(stdout.getvalue()), stderr.getvalue()


def test_plan_without_a_cluster(cwd: Path) -> None:
    planned, warning = run(cwd, "plan", "--platform", "linux/amd64,linux/arm64,linux/386")
    assert [(node["name"], node["platforms"]) for node in planned["nodes"]] == [
        ("amd64", ["linux/amd64", "linux/386"]),
        ("arm64", ["linux/arm64"]),
    ]
    assert planned["builder"] == planned["namespace"]
    assert warning.startswith("kube-builder: warning: the plan does not know the nodes: KUBECONFIG: no kubeconfig")


def test_a_cluster_that_does_not_answer_is_a_warning(
    cwd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unreachable("nobody answers")

    monkeypatch.setattr(KubeClient, "list", fail)
    (tmp_path / "config").write_text(NOWHERE)
    planned, warning = run(cwd, "plan", env={"KUBECONFIG": str(tmp_path / "config")})
    assert [node["name"] for node in planned["nodes"]] == ["amd64"]
    assert warning == "kube-builder: warning: the plan does not know the nodes: nobody answers\n"


def test_nodes_that_are_named_are_not_asked_for(cwd: Path, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(NOWHERE)
    argv = ("--platform", "linux/arm64", "--driver-opt", "nodeselector=kubernetes.io/arch=arm64")
    planned, warning = run(cwd, "plan", *argv, env={"KUBECONFIG": str(tmp_path / "config")})
    assert (planned["nodes"][0]["reason"], warning) == ("linux/arm64: native, according to the nodeselector", "")


def test_manifests_are_whole_and_hold_no_key(cwd: Path) -> None:
    printed, _ = run(cwd, "manifests", "--platform", "linux/amd64,linux/arm64")
    assert [one["kind"] for one in printed] == ["Namespace", "Job", "Job", "Secret"]
    namespace, job, _, secret = printed
    assert {one["metadata"].get("namespace") for one in printed[1:]} == {namespace["metadata"]["name"]}
    assert set(secret["stringData"].values()) == {"***"}
    assert "data" not in secret
    names = [owner["name"] for owner in secret["metadata"]["ownerReferences"]]
    assert names == ["buildkit-amd64", "buildkit-arm64"]
    assert job["spec"]["template"]["spec"]["containers"][0]["image"]


def test_manifests_in_a_namespace_that_exists(cwd: Path) -> None:
    (cwd / "buildkitd.toml").write_text("debug = true\n")
    printed, _ = run(cwd, "manifests", "--namespace", "ci", "--buildkitd-config", "buildkitd.toml")
    assert [(one["kind"], one["metadata"]["namespace"]) for one in printed] == [
        ("Job", "ci"),
        ("ConfigMap", "ci"),
        ("Secret", "ci"),
    ]


def test_context(cwd: Path) -> None:
    printed, warning = run(cwd, "context")
    assert [tuple(one.values()) for one in printed] == [
        (".dockerignore", "100644", 6, ""),
        ("Dockerfile", "100644", 22, ""),
        ("d", "040755", 0, ""),
        ("d/tool", "104755", 10, ""),
        ("link", "120777", 6, "d/tool"),
    ]
    assert list(printed[0]) == ["path", "mode", "size", "linkname"]
    assert warning == ""


def test_the_dockerfiles_own_ignore_file_wins(cwd: Path) -> None:
    (cwd / "Dockerfile.dockerignore").write_text("**\n!a.log\n")
    assert [one["path"] for one in run(cwd, "context")[0]] == ["a.log"]
    (cwd / "Dockerfile.dockerignore").write_text("# nothing\n")
    assert "a.log" in [one["path"] for one in run(cwd, "context")[0]]
    (cwd / "Dockerfile.dockerignore").write_text("**\n")
    assert run(cwd, "context")[0] == []


def test_a_dockerfile_from_elsewhere_has_no_ignore_file(cwd: Path) -> None:
    (cwd / "Dockerfile.dockerignore").write_text("**\n")
    assert len(run(cwd, "context", "-f", "https://nowhere.example/Dockerfile")[0]) == 6


def test_names_that_are_no_text(cwd: Path) -> None:
    (cwd / "d" / "line\nbreak").touch()
    Path(os.fsdecode(bytes(cwd) + b"/\xff")).touch()
    paths = [one["path"] for one in run(cwd, "context")[0]]
    assert "d/line\nbreak" in paths
    assert os.fsencode(paths[-1]) == b"\xff"


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["https://host/a.git"], 2, "--print: the context is not a local folder: BuildKit fetches it itself"),
        (["-f", "Bad", "."], 2, "Bad.dockerignore: "),
    ],
)
def test_no_list_of_files(cwd: Path, argv: list[str], code: int, message: str) -> None:
    (cwd / "Bad").touch()
    (cwd / "Bad.dockerignore").write_text("[a\n")
    stderr = io.StringIO()
    around = ProcessContext(env={}, cwd=cwd, stdout=io.StringIO(), stderr=stderr)
    assert main(["build", "--print", "context", *argv], around) == code
    assert message in stderr.getvalue()


def test_solve(cwd: Path) -> None:
    env = {"SECRET": "hunter2", "HOME": str(cwd)}
    argv = (
        *("-t", "app", "-t", "registry.example/team/app:1", "--push", "--platform", "linux/arm64"),
        *("--build-arg", "A=1", "--secret", "id=token,env=SECRET", "--annotation", "index:a=b"),
        *("--cache-from", "type=s3,bucket=b,secret_access_key=hunter2", "--cache-to", "registry.example/cache"),
        *("--build-context", "other=https://me:hunter2@git.example/x.git", "--allow", "network.host"),
    )
    printed, warning = run(cwd, "solve", *argv, env=env)
    assert warning == ""
    assert "hunter2" not in json.dumps(printed)
    assert printed["frontend"] == "dockerfile.v0"
    assert printed["attributes"]["build-arg:A"] == "1"
    assert printed["attributes"]["platform"] == "linux/arm64"
    assert printed["attributes"]["context:other"] == "https://***@git.example/x.git"
    assert printed["exporters"] == [
        {
            "type": "image",
            "attributes": {
                "push": "true",
                "unpack": "false",
                "annotation-index.a": "b",
                "name": "app,registry.example/team/app:1",
            },
        }
    ]
    assert printed["tags"] == [
        {"typed": "app", "normalized": "docker.io/library/app:latest"},
        {"typed": "registry.example/team/app:1", "normalized": "registry.example/team/app:1"},
    ]
    assert printed["cache"] == {
        "imports": [
            {"type": "s3", "attributes": {"bucket": "b", "secret_access_key": "***"}},
            {"type": "s3", "attributes": {"bucket": "b", "secret_access_key": "***", "name": "buildkit-linux-arm64"}},
        ],
        "exports": [{"type": "registry", "attributes": {"ref": "registry.example/cache"}}],
    }
    assert (printed["secrets"], printed["entitlements"]) == (["token"], ["network.host"])


def test_caches_of_several_nodes(cwd: Path) -> None:
    printed, _ = run(cwd, "solve", "--platform", "linux/amd64,linux/arm64", "--cache-to", "type=s3,bucket=b")
    names = [node["cache"]["exports"][0]["attributes"]["name"] for node in printed["nodes"]]
    assert names == ["buildkit-linux-amd64", "buildkit-linux-arm64"]


def test_solve_on_several_nodes(cwd: Path) -> None:
    printed, _ = run(cwd, "solve", "-t", "app", "--push", "--platform", "linux/amd64,linux/arm64")
    assert printed["attributes"]["platform"] == "linux/amd64,linux/arm64"
    first, second = printed["nodes"]
    assert (first["attributes"]["platform"], second["attributes"]["platform"]) == ("linux/amd64", "linux/arm64")
    assert first["attributes"]["multi-platform"] == "true"
    assert first["exporters"][0]["attributes"]["push-by-digest"] == "true"


def test_a_dockerfile_by_url_is_not_fetched(cwd: Path) -> None:
    printed, _ = run(cwd, "solve", "--platform", "linux/amd64", "-f", "https://nowhere.example/Dockerfile")
    assert printed["attributes"]["dockerfilekey"] == "dockerfile"
    assert printed["attributes"]["filename"] == "Dockerfile"


@pytest.mark.parametrize("kind", ["solve", "plan"])
def test_no_secret_is_printed(cwd: Path, kind: str) -> None:
    printed, _ = run(
        cwd,
        kind,
        *("--platform", "linux/amd64", "--build-arg", "NPM_TOKEN=s1-short", "--build-arg", "URL=https://a:p@s2/x#@h/?"),
        *("--build-context", "other=https://me:s3@s3/s3@git.example/x.git"),
        *("--build-context", "tar=https://h.example/a.tar.gz?X-Amz-Signature=s4_seed&sig=s4_seed&access_token=s4_seed"),
        *(
            "--cache-to",
            "type=s3,access_key_id=s5-key-id,secret_access_key=s5-secret,session_token=s5-x",
        ),
        *("--cache-from", "type=azblob,name=n,account_url=https://x,secret_access_key=s6-secret"),
        *("--driver-opt", "nodeselector=kubernetes.io/arch=amd64"),
    )
    for secret in ("s1-", "p@s2", "s2/", "s3@", "s4_seed", "s5-", "s6-"):
        assert secret not in json.dumps(printed)
