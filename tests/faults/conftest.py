"""Fault tests use the same cluster, registry and product as the end-to-end tests."""

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.ground import Ground
from ci_buildx.kube.client import KubeClient
from devcluster import layout
from devcluster.accounts import Account
from tests.e2e.conftest import (
    builders,
    context,
    name,
    open_registry,
    reference,
    team_builders,
)

__all__ = ["builders", "context", "name", "open_registry", "reference", "team_builders"]


@pytest.fixture
def ground(
    kube: KubeClient, job_account: Account, product_env: dict[str, str], buildkitd_config: Path, tmp_path: Path
) -> Ground:
    """The environment that the bench's faults, losses and crowds run in: a job's account on the tests' cluster."""
    return Ground(
        cluster=layout.cluster(),
        kube=kube,
        account=job_account,
        env=product_env,
        folder=tmp_path,
        registry=product_env["REGISTRY"],
        buildkitd_config=buildkitd_config,
        product=Path(sys.executable).parent / "kube-builder",
        undo=ExitStack(),
    )
