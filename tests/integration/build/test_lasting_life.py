"""Builders that stay, while they are in use: pods that go under a build, logs that go on, choices, other namespaces."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.builder.rbac.rights import RBAC_GROUP
from ci_buildx.builder.rbac.roles import LISTING
from ci_buildx.kube.client import KubeClient
from devcluster import accounts
from devcluster.accounts import RBAC, Account
from tests.e2e.product import COMMAND
from tests.integration.build.lasting import PATIENCE, Shop, eventually

DEPLOYMENTS = "/apis/apps/v1/{}/deployments"
PODS = "/api/v1/{}/pods"


@contextmanager
def building(shop: Shop, context: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """A build whose step is under way and takes some seconds."""
    (context / "Dockerfile").write_text(f"FROM busybox\nRUN echo {secrets.token_hex(4)} HELD && sleep 6\n")
    with shop.product.popen("--builder", name, str(context), own_builder=False) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "HELD" in line and "RUN" not in line:
                break
        else:
            raise AssertionError("".join(said))
        yield process


def all_pods(shop: Shop, name: str) -> dict[str, dict[str, Any]]:
    """The builder's pods, those that end included."""
    listed = shop.kube.list(
        PODS.format(f"namespaces/{shop.namespace}"), labelSelector=f"kube-builder.dev/builder={name}"
    )
    return {pod["metadata"]["name"]: pod["metadata"] for pod in listed["items"]}


def test_a_build_ends_well_while_its_pod_is_replaced_or_stopped(shop: Shop, context: Path) -> None:
    assert shop.create("--name", "drained", "--bootstrap").code == 0
    (before,) = all_pods(shop, "drained")
    follow = [*COMMAND, "logs", "--follow", "--tail", "1", "drained"]
    with subprocess.Popen(follow, env=dict(shop.product.env), stdout=subprocess.PIPE, text=True) as following:
        with building(shop, context, "drained") as build:
            # A rollout: the new pod comes, the old one is asked to end.
            changed = shop.create("--name", "drained", "--node", "drained0", "--driver-opt", "requests.cpu=10m")
            assert changed.code == 0, changed.stderr
            eventually(
                "the end of the old pod's time", lambda: "deletionTimestamp" in all_pods(shop, "drained")[before]
            )
            assert build.poll() is None
            printed = build.communicate(timeout=PATIENCE)[0]
            assert build.returncode == 0, printed
        # With its pod the log ends, and so does who follows it: it had said more than there was at first.
        said = following.communicate(timeout=PATIENCE)[0].splitlines()
        assert following.returncode == 0
        assert len(said) > 1
    eventually("one pod again", lambda: before not in all_pods(shop, "drained"))

    with building(shop, context, "drained") as build:
        assert shop.product.run("stop", "drained").code == 0
        eventually("its rest", lambda: shop.pods("drained") == [])
        (ending,) = all_pods(shop, "drained").values()
        assert "deletionTimestamp" in ending
        printed = build.communicate(timeout=PATIENCE)[0]
        assert build.returncode == 0, printed
    eventually("no pod", lambda: all_pods(shop, "drained") == {})
    assert shop.product.run("rm", "drained").code == 0


@pytest.fixture
def elsewhere(shop: Shop, kube: KubeClient, job_account: Account, shared_namespace: str) -> Iterator[str]:
    """Another namespace with a builder, into which the account may not look any more; but it may list."""
    other = shop.product.with_env(KUBE_BUILDER_NAMESPACE=shared_namespace)
    assert other.run("create", "--name", "afar", "--bootstrap").code == 0
    bindings = f"{RBAC}/namespaces/{shared_namespace}/rolebindings"
    for found in kube.list(bindings)["items"]:
        kube.delete(f"{bindings}/{found['metadata']['name']}")
    accounts.wait(lambda: not job_account.may("list", "apps", "deployments", shared_namespace))
    yield shared_namespace


@pytest.fixture
def listing(kube: KubeClient, job_account: Account) -> Iterator[None]:
    """What docs/rbac/listing.yaml gives, for the product's account."""
    accounts.apply(kube, accounts.sheet("listing"))
    name = f"{job_account.name}-listing"
    subject = {"kind": "ServiceAccount", "name": job_account.name, "namespace": job_account.namespace}
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": LISTING},
        "subjects": [subject],
    }
    accounts.create(kube, f"{RBAC}/clusterrolebindings", binding)
    yield
    kube.delete(f"{RBAC}/clusterrolebindings/{name}")
    accounts.wait(lambda: not job_account.may("list", "apps", "deployments", "default"))


def test_who_may_list_sees_the_builders_of_all_namespaces(
    shop: Shop, elsewhere: str, job_account: Account, request: pytest.FixtureRequest
) -> None:
    assert shop.create("--name", "near", "--bootstrap").code == 0
    here = dict(shop.product.env, KUBECONFIG=str(job_account.at(shop.namespace)), KUBE_BUILDER_NAMESPACE="")
    everywhere = shop.product.with_env(**here)
    narrow = everywhere.run("ls")
    assert narrow.code == 0, narrow.stderr
    assert ("near" in narrow.stdout.decode(), "afar" in narrow.stdout.decode()) == (True, False)
    assert f"only namespace {shop.namespace} was searched: " in narrow.stderr
    missed = everywhere.run("doctor", "--mode", "listing")
    assert missed.code == 1
    assert "kube-builder doctor --mode listing --fix" in missed.stdout.decode()
    lacking = everywhere.run("doctor", "--mode", "listing", "--fix").stdout.decode()
    assert "name: kube-builder-listing" in lacking
    assert f"name: {job_account.name}, namespace: {job_account.namespace}" in lacking
    request.getfixturevalue("listing")
    accounts.wait(lambda: job_account.may("list", "apps", "deployments", "default"))
    assert everywhere.run("doctor", "--mode", "listing").code == 0
    wide = everywhere.run("ls")
    assert wide.code == 0, wide.stderr
    rows = [line.split() for line in wide.stdout.decode().splitlines()]
    afar = next(index for index, row in enumerate(rows) if row[0] == "afar")
    assert rows[afar] == ["afar", "kubernetes"]
    assert rows[afar + 1][3].endswith(f"deployment=afar0&namespace={elsewhere}")
    assert rows[afar + 1][4] == "running"
    assert "cannot query builder afar: user " in wide.stderr

    used = everywhere.run("use", "--global", "near")
    assert used.code == 0, used.stderr
    assert b'"Current": true' in everywhere.run("inspect", "--format", "json").stdout
    (shop.product.cwd / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    built = everywhere.run("build", "-o", "type=local,dest=out", ".")
    assert built.code == 0, built.stderr
    assert "pod near0-" in built.stderr
    assert everywhere.run("use", "default").code == 0
    assert "missing builder name" in everywhere.run("inspect").stderr
    assert everywhere.run("use", "--global", "default").code == 0
    assert everywhere.run("rm", "near").stdout == b"near removed\n"
