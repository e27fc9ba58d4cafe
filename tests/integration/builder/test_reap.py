"""The reaper on a real cluster: what has expired goes, what has not stays."""

from ci_buildx.builder import labels, reap
from ci_buildx.builder.builder import Builder
from ci_buildx.kube.client import KubeClient
from tests.integration.builder.conftest import Yard

PAST = "2020-01-01T00:00:00Z"


def expire(kube: KubeClient, path: str) -> None:
    kube.patch(path, {"metadata": {"annotations": {labels.EXPIRES: PAST}}})


def expire_objects(kube: KubeClient, builder: Builder) -> None:
    location = builder.location
    for path in (location.jobs_path, location.core_path("secrets")):
        for item in kube.list(path, labelSelector=location.selector)["items"]:
            expire(kube, f"{path}/{item['metadata']['name']}")


def test_only_expired_builders_are_removed(kube: KubeClient, yard: Yard, reaper_kube: KubeClient) -> None:
    old, young = yard.provision(), yard.provision()
    foreign = yard.namespace(**{labels.MANAGED_BY: labels.MANAGER})
    for name in (old.namespace, foreign):
        expire(kube, f"/api/v1/namespaces/{name}")
    announced = reap.sweep(reaper_kube, dry_run=True)
    assert old.name in announced.expired
    assert announced.removed == ()
    swept = reap.sweep(reaper_kube)
    assert old.name in swept.removed
    assert not {young.name, foreign} & {*swept.expired, *swept.removed}
    assert not yard.exists(old.location.namespace_path)
    assert yard.exists(young.location.namespace_path)
    assert yard.exists(f"/api/v1/namespaces/{foreign}")


def test_expired_builders_inside_a_named_namespace_are_removed(kube: KubeClient, yard: Yard) -> None:
    namespace = yard.namespace()
    old, young = yard.provision(namespace=namespace), yard.provision(namespace=namespace)
    expire_objects(kube, old)
    assert old.name not in reap.sweep(yard.kube, dry_run=True).expired
    swept = reap.sweep(yard.kube, namespaces=(namespace,))
    assert old.name in swept.removed
    assert kube.list(old.location.jobs_path, labelSelector=old.location.selector)["items"] == []
    assert len(kube.list(young.location.jobs_path, labelSelector=young.location.selector)["items"]) == 1
