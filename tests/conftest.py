"""The devcluster, for every test that needs a real one: started when it isn't up, never skipped."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ci_buildx.build.context import origin
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.settings.values import ClusterSettings
from devcluster import accounts, buildkitd, layout, registry
from devcluster.accounts import Account
from tests.e2e.product import Product

# Machines that test are shared: what is slow there says nothing. In CI every run tries the same examples.
settings.register_profile(
    "shared",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool({"CI", "DERANDOMIZE"} & os.environ.keys()),
)
settings.load_profile("shared")

# Shells start background jobs, and nohup its command, with some signals ignored. Programs inherit that, but those that
# tests start must receive the signals.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)

_COLD_START = 1800
"""Seconds for `up` when all programs must be built first."""


@pytest.fixture(scope="session")
def cluster_env() -> dict[str, str]:
    """This process's environment with the devcluster's KUBECONFIG, REGISTRY and so on."""
    if _devcluster("status", timeout=60).returncode:
        started = _devcluster("up", timeout=_COLD_START)
        assert started.returncode == 0, started.stdout + started.stderr
    shown = _devcluster("env", timeout=60)
    assert shown.returncode == 0, shown.stderr
    words = shlex.split(shown.stdout)
    return {**_without_ci(os.environ), **dict(word.split("=", 1) for word in words if "=" in word)}


@pytest.fixture(scope="session")
def cluster(cluster_env: dict[str, str]) -> ClusterAccess:
    """The devcluster's address with an administrator's credentials."""
    return config.load_cluster(ClusterSettings(), env=cluster_env)


@pytest.fixture(scope="session")
def kube(cluster: ClusterAccess) -> Iterator[KubeClient]:
    """The administrator's client. Tests observe and prepare the cluster with it; the product never gets it."""
    with KubeClient(cluster) as client:
        yield client


@pytest.fixture(scope="session")
def job_account(
    kube: KubeClient, cluster: ClusterAccess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Account]:
    """The product's account in every test, one for each session, with the rights of docs/rbac/jobs.yaml.

    It has the opt-outs, which driver-opts like qemu.install need; ``confined_account`` has none.
    """
    name, folder = f"tests-{secrets.token_hex(4)}", tmp_path_factory.mktemp("account")
    with accounts.job(kube, cluster, name, folder, opted_out=True) as account:
        yield account


@pytest.fixture(scope="session")
def confined_account(
    kube: KubeClient, cluster: ClusterAccess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Account]:
    """An account with the rights of docs/rbac/jobs.yaml and no opt-out."""
    name = f"tests-{secrets.token_hex(4)}"
    with accounts.job(kube, cluster, name, tmp_path_factory.mktemp("confined")) as account:
        yield account


@pytest.fixture(scope="session")
def reaper_account(kube: KubeClient, cluster: ClusterAccess, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """The account of docs/rbac/reaper.yaml, which runs `kube-builder reap` outside a job."""
    return accounts.reaper(kube, cluster, tmp_path_factory.mktemp("reaper"))


@pytest.fixture(scope="session")
def job_kube(job_account: Account) -> Iterator[KubeClient]:
    """The product's client, with the rights of a job's account."""
    with job_account.client() as client:
        yield client


@pytest.fixture(scope="session")
def reaper_kube(reaper_account: Account) -> Iterator[KubeClient]:
    """A client with the reaper's rights."""
    with reaper_account.client() as client:
        yield client


@pytest.fixture(scope="session")
def product_env(cluster_env: dict[str, str], job_account: Account) -> dict[str, str]:
    """The environment of the product: never an administrator's. ``job_account.let_into`` opens a namespace to it."""
    return {**cluster_env, "KUBECONFIG": str(job_account.kubeconfig)}


@pytest.fixture(scope="session")
def buildkitd_config(tmp_path_factory: pytest.TempPathFactory, cluster_env: dict[str, str]) -> Path:
    """A buildkitd.toml that makes builders use the devcluster's registries."""
    path = tmp_path_factory.mktemp("buildkitd") / "buildkitd.toml"
    path.write_text(buildkitd.configuration(registry.registries(layout.cluster())))
    return path


@pytest.fixture
def product(tmp_path: Path, product_env: dict[str, str], buildkitd_config: Path) -> Product:
    """`kube-builder` as a process in the test's folder, with the rights of a job's account."""
    return Product(cwd=tmp_path, env=product_env, config=buildkitd_config)


@pytest.fixture
def shared_namespace(kube: KubeClient, job_account: Account) -> Iterator[str]:
    """A namespace in which the product may build and keep builders; ``job_account.at`` makes it the context's."""
    name = f"tests-{secrets.token_hex(4)}"
    kube.create("/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        job_account.let_into(name)
        yield name
    finally:
        kube.delete(f"/api/v1/namespaces/{name}")


def _without_ci(env: Mapping[str, str]) -> dict[str, str]:
    """Tests may run in a CI job themselves, whose builders would all be named after its repository."""
    signs = {sign for system in origin.SYSTEMS for sign in system.signs}
    return {name: value for name, value in env.items() if name not in signs}


def _devcluster(verb: str, *, timeout: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "devcluster", verb]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
