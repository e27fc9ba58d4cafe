"""The Action in a runner that is a pod of the cluster: its own account, the direct way, a builder that goes with it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.builder.rbac.roles import ACCOUNT, EXAMPLE_NAMESPACE
from ci_buildx.kube.client import KubeClient
from devcluster import accounts, pushed
from devcluster.registry import Registry
from tests.e2e import checkout, ci_pod

PATIENCE = 240
BUILD, SLOW = ".github/workflows/build.yml", ".github/workflows/slow.yml"


@pytest.fixture(scope="module")
def home(kube: KubeClient) -> Iterator[str]:
    """A namespace for runners, whose account may build in it and nowhere else."""
    name = f"runners-{secrets.token_hex(4)}"
    kube.create("/api/v1/namespaces", {"metadata": {"name": name}})
    accounts.apply(kube, accounts.sheet("namespace").replace(EXAMPLE_NAMESPACE, name))
    yield name
    kube.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="module")
def image(home: str, tmp_path_factory: pytest.TempPathFactory, open_registry: Registry, buildkitd_config: Path) -> str:
    """The runner with a repository that has both workflows."""
    given = {"context": "app", "namespace": home, "python": str(ci_pod.python()), "buildkitd-config": "buildkitd.toml"}
    target = {
        "transport": "direct",
        "tags": f"{open_registry.address}/e2e/{home}:1",
        "push": True,
        "platforms": "linux/amd64,linux/arm64",
    }
    files = {
        BUILD: workflow({**given, **target}),
        SLOW: workflow({**given, "file": "app/Slow"}),
        "app/Slow": checkout.SLOW,
        "buildkitd.toml": buildkitd_config.read_text(),
    }
    place = tmp_path_factory.mktemp("runner")
    folder = checkout.make(place / "repository", name=home, dockerfile=checkout.BOTH, files=files)
    return ci_pod.push(folder, place / "tools", home)


def workflow(inputs: dict[str, object]) -> str:
    steps = [{"uses": "actions/checkout@v4"}, {"name": "image", "uses": "./", "with": inputs}]
    jobs = {"image": {"runs-on": "ubuntu-latest", "steps": steps}}
    return json.dumps({"name": "image", "on": "workflow_dispatch", "jobs": jobs})


def test_a_runner_in_a_pod(home: str, image: str, kube: KubeClient, open_registry: Registry) -> None:
    pod = kube.create(f"/api/v1/namespaces/{home}/pods", ci_pod.manifest("build", image, ACCOUNT, BUILD))
    owners: list[Any] = []

    def ended() -> bool:
        owners.extend(job["metadata"].get("ownerReferences") for job in jobs(kube, home))
        return phase(kube, home, "build") in ("Succeeded", "Failed")

    wait(ended)
    said = log(kube, home, "build")
    assert phase(kube, home, "build") == "Succeeded", said
    assert said.count("answered over direct") == 2, said
    assert owners
    assert all(found[0]["uid"] == pod["metadata"]["uid"] for found in owners), owners
    built = pushed.images(open_registry.url, f"e2e/{home}", "1")
    assert {each.files["machine"] for each in built.values()} == {b"x86_64\n", b"aarch64\n"}
    assert jobs(kube, home) == []


def test_a_builder_goes_with_the_runners_pod(home: str, image: str, kube: KubeClient) -> None:
    kube.create(f"/api/v1/namespaces/{home}/pods", ci_pod.manifest("lost", image, ACCOUNT, SLOW))
    wait(lambda: "begun" in log(kube, home, "lost"))
    assert len(jobs(kube, home)) == 1
    kube.delete(f"/api/v1/namespaces/{home}/pods/lost", options={"gracePeriodSeconds": 0})
    for plural in ("jobs", "pods", "secrets", "configmaps"):
        group = "apis/batch/v1" if plural == "jobs" else "api/v1"
        path = f"/{group}/namespaces/{home}/{plural}"
        wait(lambda path=path: not ours(kube, path))  # type: ignore[misc]


def wait(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def ours(kube: KubeClient, path: str) -> list[dict[str, Any]]:
    return list(kube.list(path, labelSelector="app.kubernetes.io/managed-by=kube-builder")["items"])


def jobs(kube: KubeClient, namespace: str) -> list[dict[str, Any]]:
    return ours(kube, f"/apis/batch/v1/namespaces/{namespace}/jobs")


def phase(kube: KubeClient, namespace: str, name: str) -> str:
    return str(kube.get(f"/api/v1/namespaces/{namespace}/pods/{name}")["status"]["phase"])


def log(kube: KubeClient, namespace: str, name: str) -> str:
    from kubernetes.client import CoreV1Api
    from kubernetes.client.exceptions import ApiException

    try:
        return str(CoreV1Api(kube.make_official_client()).read_namespaced_pod_log(name, namespace))
    except ApiException:
        return ""  # its container does not run yet
