"""Pods that come late, and pods that are lost before buildkitd has answered."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.builder.pods import is_ready
from ci_buildx.errors import Forbidden
from ci_buildx.kube.client import KubeClient
from devcluster import layout, outage
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.integration import inside
from tests.integration.build.lasting import Shop, eventually

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
ACCOUNTS = "/api/v1/namespaces/{}/serviceaccounts"
LATE = (6.0, 10.0, 20.0)
"""Seconds until a namespace has its default account."""
AMD64 = ("--platform", "linux/amd64")
TINY = "FROM scratch\nCOPY Dockerfile /\n"
PORT = 1234


@pytest.fixture
def no_accounts(kube: KubeClient, context: Path) -> Iterator[dict[str, str]]:
    """The labels of accounts that may be made in the namespaces of ``context``; its controller is refused all others.

    A controller that is slow does no more: what is refused, it tries again later.
    """
    name, passes = f"late-{secrets.token_hex(4)}", {"tests.kube-builder.dev/late": "yes"}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["serviceaccounts"]}
    ours = f"request.namespace.contains('{context.name}') || object.metadata.name == '{name}'"
    labelled = "'tests.kube-builder.dev/late' in object.metadata.?labels.orValue({})"
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": "ours", "expression": ours}],
        "validations": [{"expression": labelled, "message": "not yet", "reason": "Forbidden"}],
    }
    kube.create(f"{ADMISSION}/validatingadmissionpolicies", {"metadata": {"name": name}, "spec": spec})
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    kube.create(f"{ADMISSION}/validatingadmissionpolicybindings", binding)

    def refuses() -> bool:
        try:
            kube.create(ACCOUNTS.format("default"), {"metadata": {"name": name}}, dryRun="All")
        except Forbidden:
            return True
        return False

    try:
        eventually("the policy", refuses)
        yield passes
    finally:
        kube.delete(f"{ADMISSION}/validatingadmissionpolicybindings/{name}")
        kube.delete(f"{ADMISSION}/validatingadmissionpolicies/{name}")


def test_a_default_account_that_comes_late_is_waited_for(
    product: Product, context: Path, kube: KubeClient, builders: Builders, no_accounts: dict[str, str]
) -> None:
    def build(seconds: float) -> str:
        folder = context / f"{context.name}-{seconds:.0f}"
        folder.mkdir()
        (folder / "Dockerfile").write_text(TINY)
        own = Builders(kube, folder.name)
        with product.popen(*AMD64, "-o", f"out-{seconds}", str(folder)) as process:
            eventually("its namespace", lambda: bool(own.left()))
            time.sleep(seconds)
            account = {"metadata": {"name": "default", "labels": no_accounts}}
            kube.create(ACCOUNTS.format(own.left()[0]), account)
            said = process.communicate(timeout=120)[0]
        assert process.returncode == 0, said
        assert own.left() == []
        return said

    with ThreadPoolExecutor(len(LATE)) as pool:
        for said in pool.map(build, LATE):
            assert "its pod is still rejected: " in said
            assert 'serviceaccount "default" not found' in said


def test_a_pod_that_is_lost_between_ready_and_its_first_answer_is_named(
    product: Product, context: Path, kube: KubeClient
) -> None:
    """No packet of the jobs reaches the pods, which kubelets find ready."""

    def delete(pod: dict[str, Any]) -> None:
        kube.delete(make_path(pod), gracePeriodSeconds=0)

    def end(pod: dict[str, Any]) -> None:
        inside.run(kube, pod, "kill", "1")

    def make_path(pod: dict[str, Any]) -> str:
        return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"

    def build(strike: Callable[[dict[str, Any]], None]) -> str:
        folder = context / f"{context.name}-{strike.__name__}"
        folder.mkdir()
        (folder / "Dockerfile").write_text(TINY)
        own = Builders(kube, folder.name)
        with product.popen(*AMD64, "--transport", "direct", "--retries", "0", str(folder)) as process:
            eventually("a pod that is ready", lambda: any(is_ready(pod) for pod in own.pods()))
            (pod,) = own.pods()
            strike(pod)
            said = process.communicate(timeout=120)[0]
        assert process.returncode == 1, said
        assert "answered over" not in said
        assert own.left() == []
        return str(said).splitlines()[-1].replace(str(pod["metadata"]["name"]), "POD")

    with outage.deaf_port(layout.cluster(), PORT), ThreadPoolExecutor(2) as pool:
        deleted, ended = pool.map(build, (delete, end))
    assert deleted.startswith("ERROR: pod POD was lost: Deleted: it was deleted while in use; "), deleted
    assert re.match(r"ERROR: pod POD was lost: \w+: buildkitd ended with exit code \d", ended), ended


def test_a_lasting_builders_pod_that_is_replaced_before_its_first_answer(shop: Shop, context: Path) -> None:
    (context / "Dockerfile").write_text(TINY)
    assert shop.create("--name", "moved", "--bootstrap").code == 0
    options = ("--builder", "moved", "--transport", "direct", "-o", "out", str(context))
    debugged = shop.product.with_env(KUBE_BUILDER_DEBUG="true")
    with outage.deaf_port(layout.cluster(), PORT):
        process = debugged.popen(*options, own_builder=False)
        assert process.stdout is not None
        said = next(line for line in process.stdout if " is asked by direct after" in line)
        (pod,) = shop.pods("moved")
        assert f"pod {pod} on node" in said
        shop.kube.delete(f"/api/v1/namespaces/{shop.namespace}/pods/{pod}", gracePeriodSeconds=0)
        taken = next((line for line in process.stdout if "another pod takes its place" in line), "")
    with process:
        rest = process.communicate(timeout=120)[0]
    assert f"pod {pod} was lost: Deleted: " in taken, rest
    assert process.returncode == 0, rest
    assert shop.product.run("rm", "moved").code == 0
