"""The reaper on its schedule, with the three other layers off: nobody else removes what it does.

The builders have an hour to live, no job is there that could remove them, and no post step.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx import RUNNER_IMAGE
from ci_buildx.builder import labels
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.lifecycle import lease
from ci_buildx.builder.rbac.rights import REAPER
from ci_buildx.builder.rbac.roles import SYSTEM
from ci_buildx.kube.client import KubeClient
from devcluster import layout
from devcluster.accounts import Account
from devcluster.images import catalogue, runner
from tests.integration.builder.conftest import Yard
from tests.integration.builder.expiry import expire

CRONJOBS = f"/apis/batch/v1/namespaces/{SYSTEM}/cronjobs"
PATIENCE = 240.0
"""Up to a minute until it is time, a pod's start, and the second look at those that are silent."""


@pytest.fixture(scope="module")
def image() -> str:
    """An image with the product of this checkout."""
    made = replace(runner.image(catalogue.NATIVE_BUSYBOX), repository="tests/reaper", tags=(secrets.token_hex(4),))
    catalogue.push(layout.cluster(), [made])
    return f"tests/reaper:{made.tags[0]}"


@pytest.fixture
def scheduled(kube: KubeClient, image: str, reaper_account: Account) -> Iterator[str]:
    """The CronJob of docs/rbac, with another name and image, each minute."""
    text = Path("docs/rbac/reaper-cronjob.yaml").read_text().replace(RUNNER_IMAGE, image)
    manifest = yaml.safe_load(text.replace("*/5 * * * *", "* * * * *"))
    assert manifest["metadata"] == {"name": REAPER, "namespace": reaper_account.namespace}
    name = f"{REAPER}-{secrets.token_hex(3)}"
    kube.create(CRONJOBS, {**manifest, "metadata": {"name": name}})
    yield name
    kube.delete(f"{CRONJOBS}/{name}", propagationPolicy="Background")


def test_the_schedule_removes_expired_and_silent_builders_and_nothing_else(
    kube: KubeClient, yard: Yard, scheduled: str
) -> None:
    expired, silent, alive, young = (yard.provision(lifetime=3600) for _ in range(4))
    foreign = yard.namespace(**{labels.MANAGED_BY: labels.MANAGER})
    for name in (expired.namespace, foreign):
        expire(kube, f"/api/v1/namespaces/{name}")
    assert kube.server_time is not None
    sign(kube, silent, kube.server_time - lease.SILENCE - 5)
    sign(kube, alive, kube.server_time)
    deadline = time.monotonic() + PATIENCE
    while any(yard.exists(each.location.namespace_path) for each in (expired, silent)):
        assert time.monotonic() < deadline, jobs(kube, scheduled)
        time.sleep(1)
    for each in (alive, young):
        assert yard.exists(each.location.namespace_path)
        assert kube.list(each.location.make_core_path("pods"))["items"]
    assert yard.exists(f"/api/v1/namespaces/{foreign}")


def sign(kube: KubeClient, builder: Builder, moment: float) -> None:
    """A sign of life that was given at ``moment``."""
    text = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(moment))
    marks = {labels.MANAGED_BY: labels.MANAGER, labels.BUILDER: builder.name}
    made = lease.make_lease(builder.location, text, marks=marks)
    kube.create(f"{lease.GROUP}/namespaces/{builder.namespace}/leases", made)


def jobs(kube: KubeClient, name: str) -> list[Any]:
    """What became of the runs so far."""
    found = kube.list(f"/apis/batch/v1/namespaces/{SYSTEM}/jobs")["items"]
    return [job["status"] for job in found if job["metadata"]["name"].startswith(name)]
