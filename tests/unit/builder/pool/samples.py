"""Pods, Leases and builds of a pool, for its tests."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import locate_lasting_builder
from ci_buildx.builder.pods import PodView
from ci_buildx.builder.pool.keeper import LeaseKeeper
from ci_buildx.builder.pool.leases import PoolLease, PoolNode
from ci_buildx.builder.pool.placement import PlacementRule
from ci_buildx.builder.pool.pool import PodPool, SlotRequest
from ci_buildx.builder.pool.scaling import ElasticNode
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import load_cluster
from ci_buildx.settings.builder import LoadBalance
from tests.unit.memory_cluster import Manifest, MemoryCluster

NODE = PoolNode(location=locate_lasting_builder("kube", "ci"), name="kube0")
LEASES = "/apis/coordination.k8s.io/v1/namespaces/ci/leases"
PODS = "/api/v1/namespaces/ci/pods"
LONG_AGO = "2020-01-01T00:00:00.000000Z"


def make_pod(number: int, **more: Any) -> PodView:
    """A pod that is ready."""
    usual: dict[str, Any] = {"host": "n1", "ready": True, "uid": f"{number:08}-uid"}
    return PodView(name=f"kube0-{number}", namespace="ci", node="kube0", **usual | more)


def put_pods(cluster: MemoryCluster, count: int) -> list[PodView]:
    """Pods that exist in the cluster, so that their slots can belong to them."""
    pods = []
    for number in range(count):
        owner = {"kind": "Deployment", "name": "kube0", "uid": "none"}
        metadata = {"name": f"kube0-{number}", "namespace": "ci", "labels": {}, "ownerReferences": [owner]}
        place = f"{PODS}/kube0-{number}"
        cluster.put(place, {"metadata": metadata, "spec": {}, "status": {"phase": "Running"}})
        pods.append(make_pod(number, uid=cluster.objects[place]["metadata"]["uid"]))
    return pods


def connect(cluster: MemoryCluster) -> KubeClient:
    """The client of one job, closed with the cluster."""
    return cluster.undo.enter_context(KubeClient(load_cluster(cluster.settings, env={})))


@dataclass
class Contender:
    """One build that wants a slot; what it reports is collected."""

    kube: KubeClient
    name: str
    pods: Sequence[PodView]
    most: int = 0
    key: str = "team/app"
    policy: LoadBalance = LoadBalance.STICKY
    timeout: float = 60.0
    elastic: ElasticNode | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keeper = LeaseKeeper(self.kube, self.name)
        request = SlotRequest(
            node=NODE,
            rule=PlacementRule(policy=self.policy, key=self.key, most=self.most),
            list_pods=lambda: self.pods,
            explain=self.said.append,
            warn=self.warned.append,
            stop=self.stop,
            timeout=self.timeout,
            elastic=self.elastic,
        )
        self.pool = PodPool(self.kube, self.keeper, request, draw=Random(self.name))


def list_leases(cluster: MemoryCluster, role: str = "") -> list[Manifest]:
    """The Leases of a role, or all."""
    found = [one for place, one in cluster.objects.items() if place.startswith(LEASES)]
    return [one for one in found if role in ("", one["metadata"]["labels"].get(labels.POOL))]


def age(cluster: MemoryCluster, role: str) -> None:
    """Let the renewals of all Leases of a role be from long ago, as if their builds had been killed."""
    for lease in list_leases(cluster, role):
        cluster.put(f"{LEASES}/{lease['metadata']['name']}", lease | {"spec": lease["spec"] | {"renewTime": LONG_AGO}})


def lease(**more: Any) -> PoolLease:
    """A Lease that is held for the next thousand seconds."""
    from ci_buildx.builder.pool.leases import LeaseRole

    usual: dict[str, Any] = {"name": "x", "role": LeaseRole.TICKET, "holder": "h", "expires": 1000.0}
    return PoolLease(**usual | more)
