"""Lasting builders without a cluster: their objects, what is read from them, and which node builds what."""

from __future__ import annotations

from typing import Any

import pytest

from ci_buildx.builder import labels, plan
from ci_buildx.builder.builder import Workload, locate_lasting_builder
from ci_buildx.builder.cluster_facts import ClusterFacts, KubeNode
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.builder.lifecycle import records
from ci_buildx.builder.manifests import buildkitd, lasting_objects
from ci_buildx.builder.manifests.draft import BuilderSpec
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import InputError
from ci_buildx.model import platform
from ci_buildx.settings.builder import BuilderSettings, LoadBalance, Reclaim, Storage

LOCATION = locate_lasting_builder("kube", "buildkit")
OWNER = {"apiVersion": "v1", "kind": "Secret", "name": "kube-keys", "uid": "u"}
AMD64, ARM64, RISCV64 = map(platform.parse_platform, ("linux/amd64", "linux/arm64", "linux/riscv64"))
MIXED = ClusterFacts(nodes=(KubeNode(name="a", architecture="amd64"), KubeNode(name="b", architecture="arm64")))


MIRRORED = '[registry."docker.io"]\nmirrors = ["gcr.io"] # no insecure-entitlements\n[worker.oci]\nbinary = "gc"\n'
OWN: tuple[dict[str, Any], ...] = (
    {"buildkitd_flags": ("--allow-insecure-entitlement=x", "--oci-worker-gc=false")},
    {"buildkitd_flags": ("--allow-insecure-entitlement=x", "--oci-worker-gc-keepstorage=1")},
    {"buildkitd_flags": ("--allow-insecure-entitlement=x",), "buildkitd_config": "[worker.oci]\ngc = false\n"},
    {"buildkitd_flags": ("--allow-insecure-entitlement=x",), "buildkitd_config": "[worker.OCI]\nmaxUsedSpace = 9\n"},
)
"""Who decides about entitlements and about the cache."""


def draft(**settings: Any) -> BuilderSpec:
    identity = JobIdentity(name="kube", labels=lasting_objects.make_labels(LOCATION))
    return BuilderSpec(identity=identity, location=LOCATION, settings=BuilderSettings(**settings), expires="")


def node(name: str, *named: platform.Platform, **fields: Any) -> NodePlan:
    return NodePlan(name=name, architecture=fields.pop("architecture", None), platforms=named, **fields)


def test_a_node_is_a_deployment_with_its_name_and_is_read_again() -> None:
    planned = node("kube0", AMD64, replicas=3, architecture="amd64", reason="why")
    given = {"namespace": "buildkit", "env.TOKEN": "secret", "timeout": "5m"}
    made = lasting_objects.make_workload(draft(buildkitd_flags=("--debug",), timeout=300.0), planned, given, OWNER)
    assert (made["kind"], made["metadata"]["name"], made["spec"]["replicas"]) == ("Deployment", "kube0", 3)
    assert made["metadata"]["ownerReferences"] == [OWNER]
    assert made["spec"]["template"]["spec"]["restartPolicy"] == "Always"
    assert made["spec"]["selector"]["matchLabels"].items() <= made["spec"]["template"]["metadata"]["labels"].items()
    assert "secret" not in str(made["metadata"])
    read = records.read_node(Workload.DEPLOYMENT, made)
    assert read.plan == planned
    assert read.flags == ("--debug",)
    assert read.driver_opts == {**given, "env.TOKEN": "***"}
    assert read.timeout == 300.0
    made["spec"]["replicas"] = 0
    stopped = records.read_node(Workload.DEPLOYMENT, made)
    assert (stopped.stopped, stopped.plan.replicas) == (True, 3)


def test_a_claimed_volume_makes_it_a_stateful_set_whose_claims_are_marked() -> None:
    made = lasting_objects.make_workload(
        draft(storage=Storage(claimed="10Gi", storage_class="fast")), node("kube0"), {}, OWNER
    )
    assert made["kind"] == "StatefulSet"
    (claim,) = made["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["labels"] == lasting_objects.make_labels(LOCATION, "kube0")
    assert claim["spec"]["storageClassName"] == "fast"


@pytest.mark.parametrize("storage", [Storage(), Storage(claimed="10Gi")], ids=["Deployment", "StatefulSet"])
def test_the_dns_policy_is_in_the_pods_and_absent_by_default(storage: Storage) -> None:
    given = {"dns-policy": "Default"}
    made = lasting_objects.make_workload(
        draft(storage=storage, pod_fields=(("dnsPolicy", "Default"),)), node("kube0"), given, OWNER
    )
    assert made["spec"]["template"]["spec"]["dnsPolicy"] == "Default"
    assert made["metadata"]["annotations"][labels.DRIVER_OPTS] == '{"dns-policy": "Default"}'
    plain = lasting_objects.make_workload(draft(storage=storage), node("kube0"), {}, OWNER)
    assert "dnsPolicy" not in plain["spec"]["template"]["spec"]


def test_what_matters_later_is_noted_however_it_was_written() -> None:
    """As YAML there are no texts of options."""
    claimed = Storage(claimed="1Gi", reclaim=Reclaim.RETAIN)
    planned = node("kube0", loadbalance=LoadBalance.RANDOM)
    made = lasting_objects.make_workload(draft(storage=claimed, timeout=7.5), planned, {}, OWNER)
    read = records.read_node(Workload.STATEFUL_SET, made)
    assert (read.retains, read.timeout, read.plan.loadbalance) == (True, 7.5, LoadBalance.RANDOM)
    (claim,) = made["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["labels"][labels.RECLAIM] == "retain"


def test_what_somebody_broke_reads_as_nothing() -> None:
    made = lasting_objects.make_workload(draft(timeout=60.0), node("kube0"), {"timeout": "1m"}, OWNER)
    made["metadata"]["annotations"] |= {labels.DRIVER_OPTS: "{broken", labels.TIMEOUT: "soon"}
    read = records.read_node(Workload.DEPLOYMENT, made)
    assert (read.driver_opts, read.timeout) == ({}, 120.0)


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        (BuilderSettings(), ("--allow-insecure-entitlement=network.host",)),
        (
            BuilderSettings(buildkitd_flags=("--allow-insecure-entitlement=security.insecure",)),
            ("--allow-insecure-entitlement=security.insecure",),
        ),
        (BuilderSettings(buildkitd_config='insecure-entitlements = ["network.host"]'), ()),
        (
            BuilderSettings(storage=Storage(claimed="10G"), buildkitd_config='insecure-entitlements = ["x"]'),
            ("--oci-worker-gc-keepstorage=1000,0,8000",),
        ),
        (
            BuilderSettings(storage=Storage(claimed="10G"), buildkitd_config=MIRRORED),
            ("--allow-insecure-entitlement=network.host", "--oci-worker-gc-keepstorage=1000,0,8000"),
        ),
        (
            BuilderSettings(storage=Storage(claimed="10G"), limits=(("ephemeral-storage", "90G"),)),
            ("--allow-insecure-entitlement=network.host", "--oci-worker-gc-keepstorage=1000,0,8000"),
        ),
        *((BuilderSettings(storage=Storage(claimed="10G"), **own), ()) for own in OWN),
    ],
)
def test_flags_that_follow_from_the_settings(settings: BuilderSettings, flags: tuple[str, ...]) -> None:
    own = settings.buildkitd_flags
    assert buildkitd.add_defaults(settings).buildkitd_flags == (own or flags)


def test_pods_keep_to_one_architecture() -> None:
    settings = BuilderSettings(replicas=2)
    assert plan.plan_lasting_node("kube0", (), MIXED, settings).architecture == "amd64"
    assert plan.plan_lasting_node("kube0", (), MIXED, settings).platforms == ()
    assert plan.plan_lasting_node("kube0", (ARM64,), MIXED, settings).architecture == "arm64"
    both = plan.plan_lasting_node("kube0", (ARM64, AMD64), MIXED, settings)
    assert (both.architecture, both.platforms, both.emulated) == ("arm64", (ARM64, AMD64), (AMD64,))
    assert both.replicas == 2


def test_a_platform_goes_to_the_node_that_suits_it_best() -> None:
    nodes = (
        node("any", runs=(AMD64, ARM64)),
        node("arm", ARM64, architecture="arm64"),
        node("unknown"),
    )
    chosen = plan.narrow(Plan(nodes=nodes), (AMD64, ARM64))
    assert {each.name: each.platforms for each in chosen.nodes} == {"any": (AMD64,), "arm": (ARM64,)}
    (left,) = plan.narrow(Plan(nodes=nodes[:1]), (AMD64, RISCV64)).nodes
    assert (left.platforms, left.emulated) == ((AMD64, RISCV64), (RISCV64,))
    with pytest.raises(InputError, match="no node of the builder builds linux/riscv64"):
        plan.narrow(Plan(nodes=nodes[1:2]), (RISCV64,))


def test_a_platform_on_several_nodes_is_balanced_by_key_and_by_their_pods() -> None:
    nodes = (node("a", AMD64), node("b", AMD64, replicas=3), node("c", ARM64))
    keys = [f"repo-{index}" for index in range(400)]
    chosen = [plan.narrow(Plan(nodes=nodes), (AMD64,), key=key).nodes[0].name for key in keys]
    assert chosen == [plan.narrow(Plan(nodes=nodes), (AMD64,), key=key).nodes[0].name for key in keys]
    assert set(chosen) == {"a", "b"}
    assert 0.65 < chosen.count("b") / len(chosen) < 0.85
