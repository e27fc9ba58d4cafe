"""Several replicas: one repository stays with one pod and its warm cache, whatever commit is built."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.commits import Repository, serving
from ci_buildx.builder.pods import read_pod
from ci_buildx.kube.client import KubeClient
from devcluster import layout
from devcluster.accounts import Account
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.integration import inside
from tests.integration.build.lasting import Shop, eventually

REPLICAS = 3
CHOSEN = re.compile(r"pod (\S+), one of (\d) ready, is chosen (.*)")
OPTIONS = ("--platform", "linux/amd64", "--keep", "--driver-opt")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty git repository, to be served as a build context."""
    return Repository(tmp_path / "app")


@pytest.fixture
def url(repository: Repository) -> Iterator[str]:
    """The URL at which builders reach ``repository``."""
    with serving(repository.served, layout.cluster()) as served:
        yield f"{served}/app.git"


def test_commits_of_a_repository_are_built_in_one_pod_that_is_ready(
    product: Product, context: Path, builders: Builders, repository: Repository, url: str, kube: KubeClient
) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    kept = product.build(*OPTIONS, f"replicas={REPLICAS}", str(context))
    assert kept.code == 0, kept.stderr
    assert CHOSEN.search(kept.stderr), kept.stderr

    def build(number: int) -> tuple[str, str, str]:
        """The pod that it was built in, why, and what its cache held."""
        target = f"out-{number}"
        run = product.build(
            "--builder", kept.builder, "-o", target, f"{url}#{repository.commit(number)}", own_builder=False
        )
        assert run.code == 0, run.stderr
        assert (product.cwd / target / "commit").read_text() == f"{number}\n"
        chosen = CHOSEN.search(run.stderr)
        assert chosen, run.stderr
        return chosen[1], f"{chosen[2]} {chosen[3]}", (product.cwd / target / "pod").read_text()

    built = [build(number) for number in range(3)]
    assert len(set(built)) == 1, built
    pod, why, cache = built[0]
    assert why == f"{REPLICAS} by the sticky key 'app' (first choice, 0 other builds)"
    # It is going, and stays as long as we hold it.
    path = f"/api/v1/namespaces/{kept.builder}/pods/{pod}"
    kube.patch(path, {"metadata": {"finalizers": ["tests.kube-builder.dev/held"]}})
    try:
        kube.delete(path)
        other, why, moved = build(3)
        assert (other != pod, moved != cache) == (True, True)
        # The Job makes another in its place, which may be ready already.
        assert f" by the sticky key 'app' (first choice, 0 other builds); skipped: {pod} is terminating" in why
    finally:
        kube.patch(path, {"metadata": {"finalizers": None}})


def test_a_builder_may_balance_at_random(product: Product, context: Path, builders: Builders) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    kept = product.build(*OPTIONS, "replicas=2,loadbalance=random", str(context))
    assert kept.code == 0, kept.stderr
    again = product.build("--builder", kept.builder, "-o", "out", str(context), own_builder=False)
    for run in (kept, again):
        chosen = CHOSEN.search(run.stderr)
        assert chosen, run.stderr
        assert chosen[3] == "at random (0 other builds)"


UNREADY = "/tmp/unready"
PROBED = {"exec": {"command": ["test", "!", "-e", UNREADY]}, "tcpSocket": None, "failureThreshold": 1}


def test_a_replica_that_is_not_ready_is_not_chosen(
    product: Product, context: Path, kube: KubeClient, job_account: Account, namespace: str
) -> None:
    """The chosen one of a lasting builder's two fails its readiness probe, and passes it again."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    template = {"spec": {"containers": [{"name": "buildkitd", "readinessProbe": PROBED}]}}
    (product.cwd / "probe.json").write_text(json.dumps(template))
    job_account.let_into(namespace)
    shop = Shop(kube=kube, product=product.with_env(KUBE_BUILDER_NAMESPACE=namespace), namespace=namespace)
    pods = f"/api/v1/namespaces/{namespace}/pods"

    def build() -> str:
        run = shop.product.build("--builder", "two", str(context), own_builder=False)
        assert run.code == 0, run.stderr
        found = CHOSEN.search(run.stderr)
        assert found, run.stderr
        assert f"pod {found[1]} on node" in run.stderr
        return f"{found[1]}, one of {found[2]} {found[3]}"

    def is_ready(pod: str) -> bool:
        return read_pod(kube.get(f"{pods}/{pod}")).ready

    made = shop.create("--name", "two", "--bootstrap", "--driver-opt", "replicas=2,pod-template=probe.json")
    try:
        assert made.code == 0, made.stderr
        usual = build()
        chosen = usual.partition(",")[0]
        (other,) = {*shop.pods("two")} - {chosen}
        why = usual.removeprefix(f"{chosen}, one of 2 ")
        assert why.startswith("by the sticky key ")
        inside.run(kube, kube.get(f"{pods}/{chosen}"), "touch", UNREADY)
        eventually("that it is not ready", lambda: not is_ready(chosen))
        assert build() == f"{other}, one of 1 {why}; skipped: {chosen} is not ready"
        inside.run(kube, kube.get(f"{pods}/{chosen}"), "rm", UNREADY)
        eventually("that it is ready", lambda: is_ready(chosen))
        assert build() == usual
    finally:
        assert shop.product.run("rm", "two").code == 0
