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
from tests import accounts
from tests.accounts import Account

# Machines that test are shared: what is slow there says nothing. In CI every run tries the same examples.
settings.register_profile(
    "shared",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool({"CI", "DERANDOMIZE"} & os.environ.keys()),
)
settings.load_profile("shared")

# A shell starts its background jobs with SIGINT ignored, and programs inherit that: what the tests start must hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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
def administrator(cluster_env: dict[str, str]) -> Iterator[KubeClient]:
    """Who gives the product its rights."""
    with KubeClient(_cluster(cluster_env)) as client:
        yield client


@pytest.fixture(scope="session")
def job_account(
    administrator: KubeClient, cluster_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Account]:
    """Who the product is in every test: an account of this session's own with the rights of docs/rbac/jobs.yaml.

    It has the opt-outs, which driver-opts like qemu.install need; ``confined_account`` has none.
    """
    name, folder = f"tests-{secrets.token_hex(4)}", tmp_path_factory.mktemp("account")
    with accounts.job(administrator, _cluster(cluster_env), name, folder, opted_out=True) as account:
        yield account


@pytest.fixture(scope="session")
def confined_account(
    administrator: KubeClient, cluster_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Account]:
    """An account with the rights of docs/rbac/jobs.yaml and no opt-out."""
    name = f"tests-{secrets.token_hex(4)}"
    with accounts.job(administrator, _cluster(cluster_env), name, tmp_path_factory.mktemp("confined")) as account:
        yield account


@pytest.fixture(scope="session")
def reaper_account(
    administrator: KubeClient, cluster_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Account:
    """Who `kube-builder reap` is where it is not a job: the account of docs/rbac/reaper.yaml."""
    return accounts.reaper(administrator, _cluster(cluster_env), tmp_path_factory.mktemp("reaper"))


@pytest.fixture(scope="session")
def product_env(cluster_env: dict[str, str], job_account: Account) -> dict[str, str]:
    """The environment of the product: never an administrator's. ``job_account.let_into`` opens a namespace to it."""
    return {**cluster_env, "KUBECONFIG": str(job_account.kubeconfig)}


@pytest.fixture
def shared_namespace(administrator: KubeClient, job_account: Account) -> Iterator[str]:
    """A namespace in which the product may build and keep builders; ``job_account.at`` makes it the context's."""
    name = f"tests-{secrets.token_hex(4)}"
    administrator.create("/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        job_account.let_into(name)
        yield name
    finally:
        administrator.delete(f"/api/v1/namespaces/{name}")


def _cluster(cluster_env: dict[str, str]) -> ClusterAccess:
    return config.load_cluster(ClusterSettings(kubeconfig=(Path(cluster_env["KUBECONFIG"]),)), env=cluster_env)


def _without_ci(env: Mapping[str, str]) -> dict[str, str]:
    """Tests may run in a CI job themselves, whose builders would all be named after its repository."""
    signs = {sign for system in origin.SYSTEMS for sign in system.signs}
    return {name: value for name, value in env.items() if name not in signs}


def _devcluster(verb: str, *, timeout: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "devcluster", verb]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
