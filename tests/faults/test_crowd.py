"""Jobs at once, a sample of `make soak`: some fail, one is cancelled, each comes to its own end and leaves nothing."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from bench import crowd
from bench.crowd import Crowd
from bench.ground import Ground
from ci_buildx.kube.client import KubeClient
from devcluster import layout
from devcluster.accounts import Account


def test_jobs_at_once_do_not_mix(
    kube: KubeClient, job_account: Account, product_env: dict[str, str], buildkitd_config: Path, tmp_path: Path
) -> None:
    ground = Ground(
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
    members = Crowd(ground=ground, name=crowd.name()).run(crowd.mixed(succeed=3, fail=2, cancel=1))
    assert [fault for member in members for fault in member.faults] == []
