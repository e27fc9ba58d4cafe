"""Containers beside buildkitd's that end, restart or were injected: only buildkitd's own end ends a build."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.builder import labels
from ci_buildx.kube.client import KubeClient
from tests.e2e.product import Product, Run
from tests.integration import inside
from tests.integration.build.held import SLOW, until_held
from tests.integration.build.lasting import Shop, eventually

ADMISSION = "/apis/admissionregistration.k8s.io/v1beta1"
SHORT = "FROM busybox\nRUN uname -m > /machine\nFROM scratch\nCOPY --from=0 /machine /\n"
STEPS = SHORT.replace("RUN", "RUN sleep 2;")
TRANSPORTS = ("direct", "port-forward", "exec")


def beside(name: str, script: str, **more: str) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": ["sh", "-c", script], **more}


TEMPLATE = {
    "spec": {
        "initContainers": [beside("native", "sleep 2; exit 1", restartPolicy="Always")],
        "containers": [beside("warm-up", "sleep 2"), beside("mesh-proxy", "sleep 2; echo no control plane; exit 1")],
    }
}
INJECTED = beside("injected", "exit 3")
KILL = "for i in 1 2 3; do kill 1; sleep 0.2; done"
"""The third SIGTERM ends buildkitd while it builds (BuildKit 0.34.2, ``util/appcontext``)."""


@pytest.fixture
def injecting(kube: KubeClient, shared_namespace: str) -> Iterator[str]:
    """A namespace whose pods get one more container, before all others, as istio's may be."""
    name = f"injects-{shared_namespace}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    here = {"matchLabels": {"kubernetes.io/metadata.name": shared_namespace}}
    container = (
        f'Object.spec.containers{{name: "injected", image: "busybox", command: {json.dumps(INJECTED["command"])}}}'
    )
    patch = f'[JSONPatch{{op: "add", path: "/spec/containers/0", value: {container}}}]'
    spec = {
        "matchConstraints": {"namespaceSelector": here, "resourceRules": [rule]},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
    }
    kube.create(f"{ADMISSION}/mutatingadmissionpolicies", {"metadata": {"name": name}, "spec": spec})
    binding = {"metadata": {"name": name}, "spec": {"policyName": name}}
    kube.create(f"{ADMISSION}/mutatingadmissionpolicybindings", binding)
    tried = {"metadata": {"name": "tried"}, "spec": {"containers": [beside("main", "exit 0")]}}

    def injects() -> bool:
        made = kube.create(f"/api/v1/namespaces/{shared_namespace}/pods", tried, dryRun="All")
        return len(made["spec"]["containers"]) > 1

    try:
        eventually("the policy", injects)
        yield shared_namespace
    finally:
        kube.delete(f"{ADMISSION}/mutatingadmissionpolicybindings/{name}")
        kube.delete(f"{ADMISSION}/mutatingadmissionpolicies/{name}")


def ends(pod: dict[str, Any]) -> dict[str, int]:
    """The exit codes of containers that have ended at least once."""
    status = pod["status"]
    found = {}
    for one in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        ended = one["state"].get("terminated") or one["lastState"].get("terminated")
        if ended is not None:
            found[one["name"]] = int(ended["exitCode"])
    return found


def test_a_jobs_builder_among_containers_that_end(
    product: Product, context: Path, kube: KubeClient, injecting: str
) -> None:
    """They end while the first build runs, and have ended before the second one begins."""
    (context / "Dockerfile").write_text(STEPS)
    (product.cwd / "pod.json").write_text(json.dumps(TEMPLATE))
    place = ("--namespace", injecting)
    first = product.build("--keep", *place, "--driver-opt", "pod-template=pod.json", "-o", "one", str(context))
    assert first.code == 0, first.stderr
    pods, marks = f"/api/v1/namespaces/{injecting}/pods", f"{labels.BUILDER}={first.builder}"

    def read_pod() -> dict[str, Any]:
        (pod,) = kube.list(pods, labelSelector=marks)["items"]
        return dict(pod)

    expected = {"native": 1, "warm-up": 0, "mesh-proxy": 1, "injected": 3}
    eventually("the end of all others", lambda: ends(read_pod()) == expected)
    existing = ("--builder", first.builder, *place)
    (context / "Dockerfile").write_text(SHORT)

    def build(transport: str) -> Run:
        options = (*existing, "--transport", transport, "-o", transport)
        return product.build(*options, str(context), own_builder=False)

    with ThreadPoolExecutor(len(TRANSPORTS)) as pool:
        for transport, run in zip(TRANSPORTS, pool.map(build, TRANSPORTS), strict=True):
            assert run.code == 0, run.stderr
            assert f"answered over {transport}" in run.stderr
            assert (product.cwd / transport / "machine").read_text() == "x86_64\n"
    (context / "Dockerfile").write_text(SLOW)
    with product.popen(*existing, "--retries", "0", str(context), own_builder=False) as process:
        said = until_held(process)
        pod = read_pod()
        inside.run(kube, pod, "sh", "-c", KILL)
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 1, said
    name = pod["metadata"]["name"]
    ended = rf"ERROR: pod {name} was lost: Error: buildkitd ended with exit code 1: .+; .+"
    assert re.fullmatch(ended, rest.splitlines()[-1]), rest
    assert product.run("rm", *place, first.builder).code == 0


def test_a_lasting_builder_among_containers_that_restart(shop: Shop, context: Path) -> None:
    (context / "Dockerfile").write_text(STEPS)
    (shop.product.cwd / "pod.json").write_text(json.dumps(TEMPLATE))
    made = shop.create("--name", "side", "--bootstrap", "--driver-opt", "pod-template=pod.json")
    assert made.code == 0, made.stderr

    def build(target: str) -> Run:
        return shop.product.build("--builder", "side", "-o", target, str(context), own_builder=False)

    def restarted() -> bool:
        (pod,) = shop.objects("/api/v1/{}/pods", "side")
        return {"native", "warm-up", "mesh-proxy"} <= ends(pod).keys()

    run = build("one")
    assert run.code == 0, run.stderr
    eventually("restarts of all others", restarted)
    (context / "Dockerfile").write_text(SHORT)
    again = build("two")
    assert again.code == 0, again.stderr
    assert (shop.product.cwd / "two/machine").read_text() == "x86_64\n"
    assert shop.product.run("rm", "side").code == 0
