"""Commands on lasting builders, on a cluster in memory: what they return, and what is in the cluster afterwards."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest

from ci_buildx.builder import labels
from ci_buildx.builder.lifecycle import records
from ci_buildx.buildkit.messages import PruneRequest, UsageRecord
from ci_buildx.errors import BootError, Forbidden, InputError, Invalid, TeardownError
from ci_buildx.kube.client import make_kube_client
from ci_buildx.manage import builders, create, logs, reap, survey
from ci_buildx.manage.builders import RemovalRequest, RetainedVolumes
from ci_buildx.manage.logs import LogExtract
from ci_buildx.manage.survey import BuilderView, CacheUsage, ReplicaStatus
from ci_buildx.manage.target import read_current
from ci_buildx.model import platform
from ci_buildx.settings.builder import NetworkIsolation, Registries, Storage
from tests.unit.lasting import PODS, create_builder, make_target
from tests.unit.memory_cluster import MemoryCluster
from tests.unit.scripted_buildkitd import VERSION

AMD64, ARM64 = platform.parse_platform("linux/amd64"), platform.parse_platform("linux/arm64")
RECORDS = (
    UsageRecord(id="large", size=100, description="[2/2] RUN make"),
    UsageRecord(id="small", size=1, description="[1/2] FROM base"),
)


def list_views(cluster: MemoryCluster, **how: bool) -> list[BuilderView]:
    """Run `ls`; it must not warn."""
    warnings: list[str] = []
    views = builders.list_builder_views(make_target(cluster), env={}, timeout=10, warn=warnings.append, **how)
    assert warnings == []
    return views


def count_pods(cluster: MemoryCluster, node: str = "kube0") -> int:
    return len([name for name in cluster.list_names("pods") if name.startswith(node)])


# create


def test_create_makes_a_secret_and_a_deployment_whose_pods_start(memory_cluster: MemoryCluster) -> None:
    shown = io.StringIO()
    assert create_builder(memory_cluster, shown=shown, bootstrap=True, replicas=2) == "kube"
    assert (memory_cluster.list_names("secrets"), memory_cluster.list_names("deployments")) == (
        ["kube-keys"],
        ["kube0"],
    )
    notes = memory_cluster.find("deployments")["metadata"]["annotations"]
    assert (notes[labels.REPLICAS], notes[labels.RUNS]) == ("2", "linux/amd64")
    assert "node kube0 in namespace ci: linux/amd64: by default" in shown.getvalue()
    assert "kube0: kube0-0 on node worker-amd64, kube0-1 on node worker-amd64: ready after" in shown.getvalue()


def test_a_name_is_made_if_none_is_given(memory_cluster: MemoryCluster) -> None:
    name = create_builder(memory_cluster, name="")
    assert name.startswith("builder-")
    assert memory_cluster.list_names("deployments") == [f"{name}0"]


def test_nodes_are_added_changed_and_removed(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster)
    create_builder(memory_cluster, append=True, node="arm", platforms=(ARM64,))
    assert memory_cluster.list_names("deployments") == ["arm", "kube0"]
    shown = io.StringIO()
    create_builder(memory_cluster, shown=shown, node="kube0", replicas=3, image="moby/buildkit:other")
    assert "changing node kube0 of builder kube" in shown.getvalue()
    assert count_pods(memory_cluster) == 3
    kept = create.remove_node(make_target(memory_cluster), "arm", env={})
    assert kept == RetainedVolumes(location=kept.location, claims=())
    assert memory_cluster.list_names("deployments") == ["kube0"]
    with pytest.raises(
        InputError, match="'kube0' is the last node of builder 'kube'; remove both with kube-builder rm kube"
    ):
        create.remove_node(make_target(memory_cluster), "kube0", env={})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "builder 'kube' already exists in namespace 'ci'; add a node with --append"),
        ({"append": True, "node": "kube0"}, "namespace 'ci' already contains an object named 'kube0'"),
        ({"node": "other"}, "builder 'kube' has no node 'other'; it has kube0"),
    ],
)
def test_a_name_that_is_taken_or_unknown(memory_cluster: MemoryCluster, asked: dict[str, object], message: str) -> None:
    create_builder(memory_cluster)
    before = set(memory_cluster.objects)
    with pytest.raises(InputError, match=message):
        create_builder(memory_cluster, **asked)  # type: ignore[arg-type]
    assert set(memory_cluster.objects) == before


def test_a_missing_namespace_is_a_bad_value(memory_cluster: MemoryCluster) -> None:
    with pytest.raises(InputError, match="namespace 'none' not found; create it, or name another"):
        create_builder(memory_cluster, namespace="none")


def test_a_builder_whose_node_is_refused_leaves_nothing(memory_cluster: MemoryCluster) -> None:
    memory_cluster.refuse("POST", "/deployments$", status=422, reason="Invalid", message="too large")
    with pytest.raises(Invalid, match="too large"):
        create_builder(memory_cluster, registries=Registries(insecure=("registry.local",)))
    assert memory_cluster.list_names("secrets") + memory_cluster.list_names("configmaps") == []


def test_a_builder_that_does_not_start_stays_to_be_inspected(memory_cluster: MemoryCluster) -> None:
    waiting = {"reason": "InvalidImageName", "message": "couldn't parse image name"}
    status = {"phase": "Pending", "containerStatuses": [{"name": "buildkitd", "state": {"waiting": waiting}}]}
    memory_cluster.boot = lambda _: status
    with pytest.raises(BootError, match="InvalidImageName") as caught:
        create_builder(memory_cluster, bootstrap=True)
    assert caught.value.__notes__ == ["builder kube was kept: see kube-builder inspect kube, remove it with rm"]
    (view,) = list_views(memory_cluster)
    assert [(seat.status, "InvalidImageName" in seat.error) for seat in view.seats] == [(ReplicaStatus.ERROR, True)]


def test_use_makes_it_the_current_builder(memory_cluster: MemoryCluster, tmp_path: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    create_builder(memory_cluster, env=env, use=True)
    create_builder(memory_cluster, name="other")
    current = read_current(memory_cluster.settings, env)
    assert current is not None
    assert (current.builder, current.namespace) == ("kube", "ci")
    builders.use_builder(make_target(memory_cluster, "other"), env=env, everywhere=False)
    current = read_current(memory_cluster.settings, env)
    assert current is not None
    assert current.builder == "other"
    builders.remove_builders(make_target(memory_cluster), ["other"], RemovalRequest(), env=env)
    assert read_current(memory_cluster.settings, env) is None, "a builder that is gone is nobody's current one"


# ls, inspect


def test_each_running_pod_is_asked_what_it_is(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster)
    create_builder(memory_cluster, name="stopped")
    builders.stop_builder(make_target(memory_cluster, "stopped"), env={})
    views = list_views(memory_cluster)
    assert [(view.record.name, view.seats[0].status) for view in views] == [
        ("kube", ReplicaStatus.RUNNING),
        ("stopped", ReplicaStatus.STOPPED),
    ]
    (seat,) = views[0].seats
    assert (seat.name, seat.version, seat.runs) == ("kube0-0", VERSION, (AMD64,))
    assert views[1].seats[0].name == "stopped0"


def test_pods_that_do_not_run_have_a_state_of_their_own(memory_cluster: MemoryCluster) -> None:
    memory_cluster.boot = lambda _: {"phase": "Pending"}
    create_builder(memory_cluster)
    assert [seat.status for view in list_views(memory_cluster) for seat in view.seats] == [ReplicaStatus.STARTING]
    pod = memory_cluster.find("pods")
    pod["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
    assert [seat.status for view in list_views(memory_cluster) for seat in view.seats] == [ReplicaStatus.STOPPING]
    memory_cluster.remove(f"{PODS}/kube0-0")
    assert [seat.status for view in list_views(memory_cluster) for seat in view.seats] == [ReplicaStatus.STARTING]
    condition = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    memory_cluster.find("deployments")["status"] = {"conditions": [condition]}
    (seat,) = list_views(memory_cluster)[0].seats
    assert (seat.status, seat.error) == (ReplicaStatus.ERROR, "exceeded quota")


def test_a_user_who_may_not_read_the_keys_sees_the_pods(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster)
    memory_cluster.refuse("GET", "/secrets/kube-keys", message="secrets is forbidden")
    (view,) = list_views(memory_cluster)
    assert [seat.status for seat in view.seats] == [ReplicaStatus.RUNNING]
    assert "secrets is forbidden" in view.error


def test_a_builder_that_cannot_be_read_does_not_hide_the_others(memory_cluster: MemoryCluster) -> None:
    memory_cluster.put("/api/v1/namespaces/other", {"kind": "Namespace", "metadata": {"name": "other"}})
    create_builder(memory_cluster)
    create_builder(memory_cluster, name="closed", namespace="other")
    memory_cluster.refuse("GET", "/namespaces/other/pods", message="pods is forbidden")
    assert [(view.record.name, bool(view.error), len(view.seats)) for view in list_views(memory_cluster)] == [
        ("kube", False, 1),
        ("closed", True, 0),
    ]


def test_without_the_right_to_list_all_namespaces_the_contexts_is_searched(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster)
    memory_cluster.refuse("GET", "^/apis/apps/v1/deployments$", message="cannot list at the cluster scope")
    warnings: list[str] = []
    views = builders.list_builder_views(make_target(memory_cluster), env={}, timeout=10, warn=warnings.append)
    assert [view.record.name for view in views] == ["kube"]
    assert warnings[0].startswith("only namespace ci was searched: ")
    with pytest.raises(InputError, match="builder 'none' not found in namespace 'ci'; set --namespace: other"):
        builders.stop_builder(make_target(memory_cluster, "none"), env={})


def test_a_name_in_several_namespaces_must_be_chosen_from(memory_cluster: MemoryCluster) -> None:
    for namespace in ("one", "two"):
        memory_cluster.put(f"/api/v1/namespaces/{namespace}", {"kind": "Namespace", "metadata": {"name": namespace}})
        create_builder(memory_cluster, namespace=namespace)
    with pytest.raises(InputError, match="several namespaces have a builder 'kube': one, two"):
        builders.stop_builder(make_target(memory_cluster), env={})
    with pytest.raises(InputError, match="builder 'none' not found in any namespace"):
        builders.stop_builder(make_target(memory_cluster, "none"), env={})


def test_inspect_starts_a_stopped_builder_if_that_is_wanted(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster)
    builders.stop_builder(make_target(memory_cluster), env={})
    shown = io.StringIO()
    target = make_target(memory_cluster)
    view, _ = builders.inspect_builder(target, env={}, timeout=10, bootstrap=False, display_stream=shown)
    assert [seat.status for seat in view.seats] == [ReplicaStatus.STOPPED]
    view, expiry = builders.inspect_builder(target, env={}, timeout=10, bootstrap=True, display_stream=shown)
    assert [seat.status for seat in view.seats] == [ReplicaStatus.RUNNING]
    assert expiry > 1_900_000_000
    assert "starting builder kube" in shown.getvalue()
    assert "kube0 was stopped" in shown.getvalue()


def test_a_builder_that_does_not_start_ends_inspect_with_the_reason(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster)
    builders.stop_builder(make_target(memory_cluster), env={})
    status = {"reason": "InvalidImageName", "message": "couldn't parse image name"}
    memory_cluster.boot = lambda _: {
        "phase": "Pending",
        "containerStatuses": [{"name": "buildkitd", "state": {"waiting": status}}],
    }
    with pytest.raises(BootError, match="InvalidImageName"):
        builders.inspect_builder(
            make_target(memory_cluster), env={}, timeout=10, bootstrap=True, display_stream=io.StringIO()
        )


# stop, scale


def test_scale_and_stop_set_the_number_of_pods(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster)
    create_builder(memory_cluster, append=True, node="more")
    target = make_target(memory_cluster)
    builders.scale_builder(target, 2, "", env={})
    assert (count_pods(memory_cluster), count_pods(memory_cluster, "more")) == (2, 2)
    builders.scale_builder(target, 1, "more", env={})
    assert (count_pods(memory_cluster), count_pods(memory_cluster, "more")) == (2, 1)
    builders.stop_builder(target, env={})
    assert memory_cluster.list_names("pods") == []
    notes = memory_cluster.find("deployments", "kube0")["metadata"]["annotations"]
    assert notes[labels.REPLICAS] == "2", "as many start again"


# rm


def test_rm_removes_every_object_and_reports_each_name(memory_cluster: MemoryCluster) -> None:
    for name in ("kube", "other"):
        create_builder(memory_cluster, name=name)
    removed: list[str] = []
    target = make_target(memory_cluster)
    with pytest.raises(InputError, match="builder 'none' not found"):
        builders.remove_builders(target, ["kube", "none", "other"], RemovalRequest(say=removed.append), env={})
    assert removed == ["kube", "other"], "a failure does not stop the others"
    assert [place for place in memory_cluster.objects if place.startswith("/api/v1/namespaces/ci/")] == []
    assert memory_cluster.list_names("deployments") == []


def test_several_builders_that_stay_are_named_together(memory_cluster: MemoryCluster) -> None:
    for name in ("kube", "other"):
        create_builder(memory_cluster, name=name)
    memory_cluster.refuse("DELETE", "/deployments", message="denied")
    with pytest.raises(TeardownError, match="failed to remove kube, other") as caught:
        builders.remove_builders(make_target(memory_cluster), ["kube", "other"], RemovalRequest(), env={})
    assert [note.partition(":")[0] for note in caught.value.__notes__] == ["kube", "other"]
    assert memory_cluster.list_names("secrets") == ["kube-keys", "other-keys"], "it identifies what is left"


def test_only_builders_without_pods_are_inactive(memory_cluster: MemoryCluster) -> None:
    for name in ("active", "stopped"):
        create_builder(memory_cluster, name=name)
    builders.stop_builder(make_target(memory_cluster, "stopped"), env={})
    removed: list[str] = []
    builders.remove_inactive_builders(make_target(memory_cluster), RemovalRequest(say=removed.append), env={})
    assert removed == ["stopped"]
    assert memory_cluster.list_names("deployments") == ["active0"]


def test_volumes_can_outlive_their_builder(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster, storage=Storage(claimed="1Gi"))
    template = memory_cluster.find("statefulsets")["spec"]["volumeClaimTemplates"][0]
    claim = {
        "kind": "PersistentVolumeClaim",
        "metadata": {**template["metadata"], "name": "state-kube0-0", "namespace": "ci"},
    }
    memory_cluster.put("/api/v1/namespaces/ci/persistentvolumeclaims/state-kube0-0", claim)
    told: list[RetainedVolumes] = []
    builders.remove_builders(
        make_target(memory_cluster), ["kube"], RemovalRequest(keep_state=True, tell=told.append), env={}
    )
    assert [str(one) for one in told] == [
        "kept in namespace ci: persistentvolumeclaims state-kube0-0; a new node of the same name reuses them"
    ]
    assert memory_cluster.list_names("persistentvolumeclaims") == ["state-kube0-0"]
    create_builder(memory_cluster, storage=Storage(claimed="1Gi"))
    builders.remove_builders(make_target(memory_cluster), ["kube"], RemovalRequest(), env={})
    assert memory_cluster.list_names("persistentvolumeclaims") == []


# du, prune, logs


def test_du_lists_the_records_of_all_pods(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster, replicas=2)
    memory_cluster.script.records = RECORDS
    found = survey.read_usage(make_target(memory_cluster), (), env={}, timeout=10)
    assert [(one.pod, one.record.id) for one in found] == [
        ("kube0-0", "small"),
        ("kube0-0", "large"),
        ("kube0-1", "small"),
        ("kube0-1", "large"),
    ]


def test_prune_reports_each_record_that_is_deleted(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster)
    memory_cluster.script.records = RECORDS
    told: list[CacheUsage] = []
    request = PruneRequest(filter=("until=24h",), all=True)
    survey.prune_caches(make_target(memory_cluster), request, env={}, timeout=10, tell=told.append)
    assert [one.record.id for one in told] == ["large", "small"]
    assert memory_cluster.script.pruned == [request]


def test_without_a_running_pod_there_is_no_cache_to_look_at(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster)
    builders.stop_builder(make_target(memory_cluster), env={})
    with pytest.raises(
        InputError, match="no pod of builder 'kube' is running; start it with kube-builder inspect --bootstrap kube"
    ):
        survey.read_usage(make_target(memory_cluster), (), env={}, timeout=10)


def test_logs_name_the_pod_if_there_are_several(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster)
    memory_cluster.logs = "one\ntwo"
    told: list[tuple[str, str]] = []
    target = make_target(memory_cluster)
    logs.run_logs(target, LogExtract(node="kube0"), env={}, tell=lambda pod, line: told.append((pod, line)))
    assert told == [("", "one"), ("", "two")]
    builders.scale_builder(target, 2, "", env={})
    told.clear()
    logs.run_logs(target, LogExtract(tail=2), env={}, tell=lambda pod, line: told.append((pod, line)))
    assert sorted(told) == [("kube0-0", "one"), ("kube0-0", "two"), ("kube0-1", "one"), ("kube0-1", "two")]
    builders.stop_builder(target, env={})
    with pytest.raises(
        InputError, match="builder 'kube' has no pods; start it with kube-builder inspect --bootstrap kube"
    ):
        logs.run_logs(target, LogExtract(), env={}, tell=lambda *_: None)


# Builders of jobs


JOB = "kube-builder-app-1"


@pytest.fixture
def job_builder(memory_cluster: MemoryCluster) -> MemoryCluster:
    """The cluster with a job's builder in a namespace of its own, which expired long ago."""
    marks = {labels.MANAGED_BY: labels.MANAGER, labels.BUILDER: JOB}
    notes = {labels.EXPIRES: "2026-01-01T00:00:00Z"}
    memory_cluster.put(
        f"/api/v1/namespaces/{JOB}",
        {"kind": "Namespace", "metadata": {"name": JOB, "labels": marks, "annotations": notes, "uid": "n"}},
    )
    template = {"metadata": {"labels": {**marks, labels.NODE: "amd64"}}, "spec": {}}
    metadata = {"name": "buildkit-amd64", "namespace": JOB, "labels": {**marks, labels.NODE: "amd64"}, "uid": "j"}
    memory_cluster.put(
        f"/apis/batch/v1/namespaces/{JOB}/jobs/buildkit-amd64",
        {"metadata": metadata, "spec": {"template": template}},
    )
    return memory_cluster


def test_a_jobs_builder_is_listed_on_request_and_only_removed(job_builder: MemoryCluster) -> None:
    assert list_views(job_builder) == []
    assert [view.record.name for view in list_views(job_builder, jobs=True)] == [JOB]
    target = make_target(job_builder, JOB)
    with pytest.raises(InputError, match=f"builder '{JOB}' belongs to a job and cannot be stopped"):
        builders.stop_builder(target, env={})
    with pytest.raises(InputError, match="only the job plans its nodes"):
        create.remove_node(target, "amd64", env={})
    builders.remove_builders(target, [JOB], RemovalRequest(), env={})
    assert job_builder.list_names("namespaces") == ["ci", "default"]


def test_reap_removes_what_has_expired(job_builder: MemoryCluster) -> None:
    settings = job_builder.settings
    assert reap.run_reap(settings, env={}, dry_run=True) == [JOB]
    assert JOB in job_builder.list_names("namespaces")
    assert reap.run_reap(settings, env={}) == [JOB]
    assert reap.run_reap(settings, env={}) == []
    assert job_builder.list_names("namespaces") == ["ci", "default"]


def test_reap_names_what_stays_after_all_were_tried(job_builder: MemoryCluster) -> None:
    job_builder.refuse("DELETE", f"/namespaces/{JOB}$", message="denied by policy")
    with pytest.raises(TeardownError, match=rf"not removed: {JOB}: .*denied by policy") as caught:
        reap.run_reap(job_builder.settings, env={})
    assert caught.value.left == (JOB,)


def test_the_builder_of_a_job_of_unknown_fate_is_removed_by_name(job_builder: MemoryCluster) -> None:
    assert reap.remove_job_builder(job_builder.settings, JOB, env={}) is True
    assert reap.remove_job_builder(job_builder.settings, "kube-builder-none", env={}) is False
    assert job_builder.list_names("namespaces") == ["ci", "default"]


def test_a_jobs_builder_is_found_where_it_is(job_builder: MemoryCluster) -> None:
    with make_kube_client(job_builder.settings, env={}) as kube:
        found = records.find_builder(kube, JOB)
        assert (found.location.namespace, found.location.exclusive, found.lasting) == (JOB, True, False)
        with pytest.raises(InputError, match="check the name: found neither as a namespace nor in namespace 'ci'"):
            records.find_builder(kube, "kube-builder-none")
    job_builder.refuse("GET", "/namespaces/ci/jobs")
    with make_kube_client(job_builder.settings, env={}) as kube:
        with pytest.raises(InputError, match="check the name: no namespace has this name"):
            records.find_builder(kube, "kube-builder-none")
        with pytest.raises(Forbidden):
            records.list_builders(kube, "ci", jobs=True)


# Objects that the nodes of a builder share


def test_files_of_a_node_follow_its_configuration(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster, registries=Registries(insecure=("one.local",)))
    create_builder(memory_cluster, node="kube0", registries=Registries(insecure=("two.local",)))
    (text,) = memory_cluster.find("configmaps")["data"].values()
    assert "two.local" in text
    assert "one.local" not in text


def test_the_nodes_of_a_builder_share_one_network_policy(memory_cluster: MemoryCluster) -> None:
    create_builder(memory_cluster, network=NetworkIsolation(runners=(("team", "one"),)))
    create_builder(memory_cluster, append=True, node="more", network=NetworkIsolation(runners=(("team", "two"),)))
    policy = memory_cluster.find("networkpolicies")
    assert "two" in str(policy["spec"]["ingress"])


def test_the_logins_of_all_nodes_pull_their_images(memory_cluster: MemoryCluster) -> None:
    auths = {host: {"auth": base64.b64encode(b"me:pw").decode()} for host in ("one.io", "two.io")}
    env = {"DOCKER_AUTH_CONFIG": json.dumps({"auths": auths})}
    create_builder(memory_cluster, env=env, image="one.io/buildkit", pull_login=True)
    create_builder(memory_cluster, env=env, append=True, node="more", image="two.io/buildkit", pull_login=True)
    (name,) = (name for name in memory_cluster.list_names("secrets") if name != "kube-keys")
    (content,) = memory_cluster.find("secrets", name)["data"].values()
    assert json.loads(base64.b64decode(content)) == {"auths": auths}
