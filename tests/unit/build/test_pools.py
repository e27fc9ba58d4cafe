"""Builds that share a lasting builder's pods: slots, the queue, and what each of them asks the cluster."""

from __future__ import annotations

import re
import threading
import time
from typing import NoReturn

import pytest

from ci_buildx.build.context.origin import TRUST_SCOPE
from ci_buildx.builder import labels
from ci_buildx.builder.pods import PodView, choose_pod, rank_pods
from ci_buildx.buildkit.messages import SolveRequest
from ci_buildx.errors import Forbidden, InputError, QueueTimeout, SolveError
from ci_buildx.manage import reap
from ci_buildx.settings.builder import BuilderSettings, LoadBalance, ReplicaRange, Storage
from ci_buildx.settings.names import parse_sticky_key
from tests.unit.build.whole_build import WholeBuild
from tests.unit.builder.pool.samples import LEASES, Contender, connect, list_leases
from tests.unit.lasting import PODS, create_builder
from tests.unit.scripted_buildkitd import SolveFault

CHOSEN = re.compile(r"pod (\S+), one of (\d) ready, is chosen (.*)")


def list_pool_calls(build: WholeBuild) -> list[str]:
    """What is asked because pods are shared."""
    calls = (line.replace(LEASES, "leases") for line in build.cluster.asked)
    return [re.sub("leases/.*", "leases/NAME", line) for line in calls if "leases" in line or "/nodes" in line]


def occupy(build: WholeBuild, pod: str, *, most: int = 0) -> Contender:
    """Another build's slot in a pod."""
    uid = build.cluster.find("pods", pod)["metadata"]["uid"]
    view = PodView(name=pod, namespace="ci", node="kube0", host="n1", ready=True, uid=uid)
    other = Contender(connect(build.cluster), f"other-{pod}", [view], most=most)
    assert other.pool.try_at_once()
    build.cluster.asked.clear()
    return other


def test_a_builder_with_one_pod_and_no_bound_makes_no_extra_call(build: WholeBuild) -> None:
    create_builder(build.cluster)
    build.cluster.asked.clear()
    build.run(builder_name="kube")
    assert list_pool_calls(build) == []


def test_of_several_pods_a_build_takes_a_slot_and_gives_it_up(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=3)
    build.cluster.asked.clear()
    build.run(builder_name="kube")
    calls = ["GET leases", "GET /api/v1/nodes", "POST leases", "DELETE leases/NAME"]
    assert sorted(list_pool_calls(build)) == sorted(calls), "four calls for a build of less than a renewal"
    assert list_leases(build.cluster) == []
    found = CHOSEN.search(build.output)
    assert found
    assert found[2] == "3"
    assert found[3].startswith("by the sticky key ")
    assert found[3].endswith(" (first choice, 0 other builds)")


def test_a_build_that_fails_gives_its_slot_up(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=2)

    def fail(_: SolveRequest) -> NoReturn:
        raise SolveFault("UNKNOWN", "no such step")

    build.cluster.script.answer = fail
    with pytest.raises(SolveError):
        build.run(builder_name="kube")
    assert list_leases(build.cluster) == []


def test_a_busy_pod_makes_room_for_the_second_choice(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=2, max_builds=1)
    build.run(builder_name="kube")
    first = CHOSEN.findall(build.output)[0][0]
    occupy(build, first, most=1)
    build.run(builder_name="kube")
    second, _, why = CHOSEN.findall(build.output)[1]
    assert second != first
    assert f"choice 2, 0 other builds, at most 1 in all: all 1 slots of {first} are taken" in why


def test_the_bound_holds_for_a_single_pod_too(build: WholeBuild) -> None:
    create_builder(build.cluster, max_builds=1)
    occupy(build, "kube0-0", most=1)
    with pytest.raises(QueueTimeout, match="builder 'kube' has no free slot: all 1 slots are taken"):
        build.run(builder_name="kube", queue_timeout=0.0)
    assert not build.cluster.script.solved
    assert [line for line in list_pool_calls(build) if not line.startswith("GET leases")] == []


def test_a_build_waits_for_its_turn_and_the_wait_is_a_phase(build: WholeBuild) -> None:
    create_builder(build.cluster, max_builds=1)
    other = occupy(build, "kube0-0", most=1)

    def free(place: str) -> None:
        if "-ticket-" in place:
            threading.Thread(target=other.keeper.close).start()  # this thread answers for the cluster

    build.cluster.meanwhile = free
    result = build.run(builder_name="kube")
    assert "queue" in result.phases
    assert "got a slot after" in build.output
    assert list_leases(build.cluster) == []


def test_a_fork_neither_builds_nor_waits_at_a_protected_pool(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=2, max_builds=1, env={TRUST_SCOPE: "protected"})
    build.cluster.asked.clear()
    build.env[TRUST_SCOPE] = "fork:stranger/app"
    with pytest.raises(InputError, match="is not allowed for runs of trust scope 'fork:stranger/app'"):
        build.run(builder_name="kube")
    assert list_pool_calls(build) == []
    assert not [line for line in build.cluster.asked if line.startswith(("POST", "PATCH", "DELETE"))]


def test_pods_on_cordoned_nodes_are_passed_over(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=3)
    build.run(builder_name="kube")
    first = CHOSEN.findall(build.output)[0][0]
    node = "/api/v1/nodes/worker-arm64"
    build.cluster.put(node, build.cluster.objects[node] | {"spec": {"unschedulable": True}})
    pod = build.cluster.objects[f"{PODS}/{first}"]
    build.cluster.put(f"{PODS}/{first}", pod | {"spec": pod["spec"] | {"nodeName": "worker-arm64"}})
    build.run(builder_name="kube")
    second, _, why = CHOSEN.findall(build.output)[1]
    assert second != first
    assert why.endswith(f"skipped: {first} is on cordoned node worker-arm64")


def test_without_rights_to_leases_an_unbounded_pool_is_used_as_before(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=2)
    build.cluster.refuse("GET", "/leases$", message="may not list leases")
    build.run(builder_name="kube")
    assert "running builds are not counted" in build.output
    assert CHOSEN.findall(build.output)[0][2].endswith("'")


def test_but_a_bounded_one_is_not_used(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=2, max_builds=2)
    build.cluster.refuse("GET", "/leases$", message="may not list leases")
    with pytest.raises(Forbidden, match="may not list leases"):
        build.run(builder_name="kube")


def test_the_bound_and_the_policy_are_recorded_and_changed(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=2, max_builds=3, loadbalance=LoadBalance.LEAST)
    notes = build.cluster.find("deployments")["metadata"]["annotations"]
    assert (notes[labels.MAX_BUILDS], notes[labels.LOADBALANCE]) == ("3", "least")
    build.run(builder_name="kube")
    assert "is chosen as the least busy (0 other builds, at most 3 in all)" in build.output


def test_a_kept_builder_counts_its_first_build_too(build: WholeBuild) -> None:
    build.run(keep=True, builder=BuilderSettings(replicas=2, max_builds=1))
    assert "at most 1 in all" in build.output
    assert any(line.endswith("/leases") and line.startswith("POST") for line in build.cluster.asked)


def test_the_key_decides_between_pods_as_before(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=4)
    build.run(builder_name="kube", sticky_key=parse_sticky_key("{target}fixed", source="--sticky-key"))
    names = [f"kube0-{number}" for number in range(4)]
    assert CHOSEN.findall(build.output)[0][0] == rank_pods("fixed", names)[0]


def test_a_build_that_waits_adds_a_pod(build: WholeBuild) -> None:
    create_builder(build.cluster, max_builds=1, scaling=ReplicaRange(least=1, most=3))
    occupy(build, "kube0-0", most=1)
    build.run(builder_name="kube")
    assert "adding 1 pod: 1 waiting, at most 3 pods" in build.output
    assert CHOSEN.findall(build.output)[-1][0] == "kube0-1"
    assert build.cluster.find("deployments")["spec"]["replicas"] == 2


def test_without_the_right_to_scale_it_waits_on(build: WholeBuild) -> None:
    create_builder(build.cluster, max_builds=1, scaling=ReplicaRange(least=1, most=3))
    occupy(build, "kube0-0", most=1)
    build.cluster.refuse("PATCH", "/deployments/", applies=lambda body: "spec" in body, message="may not patch")
    with pytest.raises(QueueTimeout):
        build.run(builder_name="kube", queue_timeout=0.5)
    assert "no pods are added: " in build.output


def test_the_next_build_removes_pods_that_were_idle(build: WholeBuild) -> None:
    # A StatefulSet removes its highest numbers, here too.
    state = Storage(claimed="1Gi")
    scaling = ReplicaRange(least=1, most=3, idle=0.001)
    create_builder(build.cluster, replicas=3, max_builds=2, scaling=scaling, storage=state)
    cluster = build.cluster
    for pod in cluster.list_names("pods"):
        cluster.objects[f"{PODS}/{pod}"]["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    key = next(
        f"k{number}" for number in range(99) if choose_pod(f"k{number}", cluster.list_names("pods")) == "kube0-1"
    )

    def wait_for_removal(_: SolveRequest) -> dict[str, str]:
        deadline = time.monotonic() + 30
        while cluster.list_names("pods") != ["kube0-0", "kube0-1"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return {}

    cluster.script.answer = wait_for_removal
    build.run(builder_name="kube", sticky_key=parse_sticky_key(f"{{target}}{key}", source="--sticky-key"))
    assert cluster.find("statefulsets")["spec"]["replicas"] == 2, "the pod that builds stays, although it is not needed"
    assert "idle pods: kube0-2" in build.output


def test_the_reaper_removes_all_pods_where_the_minimum_is_none(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=1, max_builds=2, scaling=ReplicaRange(least=0, most=3, idle=0.001))
    build.run(builder_name="kube")
    cluster = build.cluster
    time.sleep(1.1)  # The server's Date has whole seconds: in the same one, the pod would not count as idle.
    found = reap.run_reap(cluster.settings, env={}, namespaces=("ci",), dry_run=True)
    assert found == ["pod kube0-0"]
    assert cluster.list_names("pods") == ["kube0-0"]
    assert reap.run_reap(cluster.settings, env={}, namespaces=("ci",)) == ["pod kube0-0"]
    assert cluster.list_names("pods") == []
    build.run(builder_name="kube")
    assert "kube0 was stopped" in build.output, "the next build starts it again"


def test_a_range_needs_a_bound(build: WholeBuild) -> None:
    with pytest.raises(InputError, match="a range of replicas requires a bound on their builds; add max-builds"):
        create_builder(build.cluster, scaling=ReplicaRange(least=1, most=3))
