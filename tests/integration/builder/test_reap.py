"""The reaper on a real cluster: what has expired goes, what has not stays."""

import time

import pytest

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.lifecycle import reap
from ci_buildx.builder.lifecycle.teardown import teardown
from ci_buildx.kube.client import KubeClient
from tests.integration.builder.conftest import Yard, eventually
from tests.integration.builder.expiry import expire


def expire_objects(kube: KubeClient, builder: Builder) -> None:
    location = builder.location
    for path in (location.jobs_path, location.make_core_path("secrets")):
        for item in kube.list(path, labelSelector=location.selector)["items"]:
            expire(kube, f"{path}/{item['metadata']['name']}")


def test_only_expired_builders_are_removed(kube: KubeClient, yard: Yard, reaper_kube: KubeClient) -> None:
    old, young = yard.provision(), yard.provision()
    foreign = yard.namespace(**{labels.MANAGED_BY: labels.MANAGER})
    for name in (old.namespace, foreign):
        expire(kube, f"/api/v1/namespaces/{name}")
    announced = reap.reap_builders(reaper_kube, dry_run=True)
    assert old.name in announced.expired
    assert announced.removed == ()
    swept = reap.reap_builders(reaper_kube)
    assert old.name in swept.removed
    assert not {young.name, foreign} & {*swept.expired, *swept.removed}
    assert not yard.exists(old.location.namespace_path)
    assert yard.exists(young.location.namespace_path)
    assert yard.exists(f"/api/v1/namespaces/{foreign}")


def test_expired_builders_inside_a_named_namespace_are_removed(kube: KubeClient, yard: Yard) -> None:
    namespace = yard.namespace()
    old, young = yard.provision(namespace=namespace), yard.provision(namespace=namespace)
    expire_objects(kube, old)
    assert old.name not in reap.reap_builders(yard.job_kube, dry_run=True).expired
    swept = reap.reap_builders(yard.job_kube, namespaces=(namespace,))
    assert old.name in swept.removed
    assert kube.list(old.location.jobs_path, labelSelector=old.location.selector)["items"] == []
    assert len(kube.list(young.location.jobs_path, labelSelector=young.location.selector)["items"]) == 1


def test_a_namespace_that_sticks_is_reported_with_its_cause(
    kube: KubeClient, yard: Yard, reaper_kube: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reap, "_DELETION_TIME", -1.0)
    builder = yard.provision()
    held = {"metadata": {"name": "held", "finalizers": ["example.com/keep"]}}
    path = builder.location.make_core_path("configmaps")
    kube.create(path, held)
    expire(kube, builder.location.namespace_path)
    assert builder.name in reap.reap_builders(reaper_kube).removed
    try:
        eventually(
            "the cause",
            lambda: "example.com/keep" in reap.reap_builders(reaper_kube).problems.get(builder.name, ""),
        )
        problem = reap.reap_builders(reaper_kube).problems[builder.name]
        assert problem.startswith("its deletion is stuck: ")
        again = teardown(kube, builder.location, deadline=time.monotonic() + 20)
        assert "example.com/keep" in again.notes[0]
        # Of the job's own rights there, the binding has gone by now.
        by_the_job = teardown(yard.job_kube, builder.location, deadline=time.monotonic() + 20)
        assert by_the_job.left == ()
        assert "example.com/keep" in " ".join(by_the_job.notes)
    finally:
        kube.patch(f"{path}/held", {"metadata": {"finalizers": None}})
