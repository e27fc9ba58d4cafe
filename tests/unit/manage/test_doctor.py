"""What `doctor` reports about a cluster in memory, and that it leaves nothing there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ci_buildx.builder.rbac import rights, roles
from ci_buildx.builder.rbac.checks import CheckResult, CheckStatus
from ci_buildx.builder.rbac.rights import RightsMode
from ci_buildx.kube.client import make_kube_client
from ci_buildx.manage import trial_builder
from ci_buildx.manage.doctor import DoctorReport, DoctorRequest, run_doctor
from ci_buildx.manage.trial_builder import CLOSED, OPEN, PROBE, ROLE
from ci_buildx.settings.builder import BuilderSettings, Registries
from tests.unit.memory_cluster import USER, Manifest, MemoryCluster
from tests.unit.registry.scripted import Reply, scripted

POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def examine(cluster: MemoryCluster, mode: RightsMode = RightsMode.JOBS, **asked: Any) -> DoctorReport:
    """Run doctor, without a trial builder unless that is asked for."""
    told: list[CheckResult] = []
    given: dict[str, Any] = {"builder": BuilderSettings(), "probe": False}
    request = DoctorRequest(mode=mode, **given | asked)
    report = run_doctor(cluster.settings, request, env={}, tell=told.append)
    assert tuple(told) == report.findings, "each finding is reported as it is made"
    return report


def find(report: DoctorReport, topic: str, subject: str = "") -> CheckResult:
    """The only finding about a subject."""
    (found,) = (one for one in report.findings if one.topic == topic and subject in ("", one.subject))
    return found


def allow_all_but(*verbs: str) -> Any:
    """An authorizer that allows everything but some verbs."""

    def allows(attributes: Mapping[str, str]) -> bool:
        return attributes["verb"] not in verbs

    return allows


def answer_probes(pod: Manifest) -> Manifest | None:
    """The status of a probe pod in a cluster that enforces NetworkPolicies; a builder's pod starts as usual."""
    role = pod["metadata"]["labels"].get(ROLE)
    if role is None:
        return None
    if role != PROBE:
        return {"phase": "Running", "podIP": "10.1.2.3"}
    said = f"{OPEN} \n{CLOSED} nc: timed out\nregistry.local \nclosed.local nc: bad address\n"
    ended = {"name": "probe", "state": {"terminated": {"exitCode": 0, "message": said}}}
    return {"phase": "Succeeded", "containerStatuses": [ended]}


# Rights


def test_an_administrator_has_more_than_a_job_needs(memory_cluster: MemoryCluster) -> None:
    report = examine(memory_cluster)
    assert report.healthy
    assert "more than a job requires" in find(report, "rights", "namespaces of jobs").detail
    assert find(report, "server").status is CheckStatus.OK


def test_missing_rights_come_with_the_yaml_that_grants_them(memory_cluster: MemoryCluster) -> None:
    memory_cluster.allows = allow_all_but("create")
    report = examine(memory_cluster)
    assert not report.healthy
    assert any(one.topic == "rights" and one.status is CheckStatus.MISSING for one in report.findings)
    assert "kind: ClusterRole" in report.apply
    assert USER.rpartition(":")[2] in report.apply


def test_a_job_that_may_create_any_namespace_is_not_confined(memory_cluster: MemoryCluster) -> None:
    memory_cluster.allows = lambda attributes: not (attributes["namespace"] == "" and attributes["resource"] == "jobs")
    report = examine(memory_cluster)
    assert find(report, "policy", rights.INSIDE).status is CheckStatus.MISSING
    assert "the admission policies that restrict a job to its own are not in force" in find(report, "policy").detail
    memory_cluster.refuse("POST", "/namespaces$", message="denied by the policy kube-builder-jobs")
    assert find(examine(memory_cluster), "policy", rights.INSIDE).status is CheckStatus.OK
    assert memory_cluster.list_names("namespaces") == ["ci", "default"], "the attempt is a dry run"


def test_a_namespace_that_is_missing_or_may_not_be_read(memory_cluster: MemoryCluster) -> None:
    builder = BuilderSettings(namespace="none")
    missing = find(examine(memory_cluster, RightsMode.NAMESPACE, builder=builder), "rights", "none")
    assert (missing.status, missing.detail) == (
        CheckStatus.MISSING,
        "namespace 'none' not found; create it or omit --namespace",
    )
    memory_cluster.refuse("GET", "/namespaces/ci$")
    report = examine(memory_cluster, RightsMode.NAMESPACE, builder=BuilderSettings(namespace="ci"))
    assert report.healthy


def test_in_a_namespace_listing_everywhere_is_optional(memory_cluster: MemoryCluster) -> None:
    memory_cluster.allows = lambda attributes: attributes["namespace"] == "ci"
    report = examine(memory_cluster, RightsMode.NAMESPACE, builder=BuilderSettings(namespace="ci"))
    assert "kind: ClusterRole" in report.apply


@pytest.mark.parametrize("mode", [RightsMode.REAPER, RightsMode.LISTING, RightsMode.LOOKING])
def test_each_mode_asks_for_its_own_rights(memory_cluster: MemoryCluster, mode: RightsMode) -> None:
    assert examine(memory_cluster, mode).healthy
    memory_cluster.allows = lambda _: False
    report = examine(memory_cluster, mode)
    assert [one for one in report.findings if one.topic == "rights"]
    if mode is RightsMode.REAPER:
        assert not [one for one in report.findings if one.topic == "storage"], "nodes and storage are others' concern"


def test_accounts_that_others_can_act_as(memory_cluster: MemoryCluster) -> None:
    """Only an administrator can read the role bindings of the accounts' namespace."""
    name = roles.ACCOUNTS
    memory_cluster.put(f"/api/v1/namespaces/{name}", {"kind": "Namespace", "metadata": {"name": name}})
    memory_cluster.put(f"{POLICIES}/kube-builder-jobs", {"metadata": {"name": "kube-builder-jobs"}, "spec": {}})
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}]
    memory_cluster.put(f"{RBAC}/namespaces/{name}/roles/own", {"metadata": {"name": "own"}, "rules": rules})
    memory_cluster.put(f"{RBAC}/clusterroles/edit", {"metadata": {"name": "edit"}, "rules": rules})
    for number, (kind, role) in enumerate((("Role", "own"), ("ClusterRole", "edit"), ("ClusterRole", "gone"))):
        binding = {
            "metadata": {"name": f"b{number}", "namespace": name},
            "roleRef": {"kind": kind, "name": role},
            "subjects": [{"kind": "User", "name": "somebody"}],
        }
        memory_cluster.put(f"{RBAC}/namespaces/{name}/rolebindings/b{number}", binding)
    told = [one.detail for one in examine(memory_cluster).findings if one.topic == "accounts"]
    assert [detail.partition(", and so act")[0] for detail in told] == [
        "RoleBinding b0 lets User somebody create pods",
        "RoleBinding b1 lets User somebody create pods",
    ]
    memory_cluster.refuse("GET", "/clusterroles/edit$")
    told = [one.detail for one in examine(memory_cluster).findings if one.topic == "accounts"]
    assert "do what its role allows, which you have no permission to read" in told[1]


def lacks(report: DoctorReport) -> dict[str, tuple[str, ...]]:
    return {one.commands: one.lack for one in report.commands if one.lack}


def test_what_each_command_lacks(memory_cluster: MemoryCluster) -> None:
    assert lacks(examine(memory_cluster)) == {}
    memory_cluster.allows = lambda asked: asked["namespace"] == "ci" and asked["group"] != "apps"
    report = examine(memory_cluster, RightsMode.NAMESPACE, builder=BuilderSettings(namespace="ci"))
    assert report.healthy, "builds in the namespace need no more"
    verbs = "create, get, list, watch, patch, delete, deletecollection"
    assert lacks(report) == {
        "build, with a namespace of its own": (
            "create, get namespaces",
            "create rolebindings.rbac.authorization.k8s.io",
            "bind clusterroles.rbac.authorization.k8s.io",
        ),
        "create, stop, scale, rm": (f"{verbs} deployments.apps, statefulsets.apps",),
        "ls in all namespaces": ("list deployments.apps, statefulsets.apps",),
        "reap": ("list, get, delete namespaces",),
    }
    places = {one.commands: one.namespace for one in report.commands}
    assert (places["create, stop, scale, rm"], places["reap"]) == ("ci", "")


def test_the_fix_is_for_this_account_and_this_mode_only(memory_cluster: MemoryCluster) -> None:
    builder = BuilderSettings(namespace="ci")
    assert examine(memory_cluster).fix == "", "a reaper that is not installed is no lack of this account's"
    memory_cluster.allows = lambda asked: asked["namespace"] == "ci"
    report = examine(memory_cluster, RightsMode.NAMESPACE, builder=builder)
    assert (report.fix, "kind: ClusterRole" in report.apply) == ("", True)
    memory_cluster.allows = lambda _: False
    fix = examine(memory_cluster, RightsMode.NAMESPACE, builder=builder).fix
    assert "kind: CronJob" not in fix
    assert "kube-builder-looking" not in fix
    assert roles.make_account_label(USER) in fix
    listing = examine(memory_cluster, RightsMode.LISTING).fix
    assert [line for line in listing.splitlines() if line.startswith("kind")] == [
        "kind: ClusterRole",
        "kind: ClusterRoleBinding",
    ]


# Cluster


def test_a_reaper_whose_pod_does_not_start_is_not_ok(memory_cluster: MemoryCluster) -> None:
    schedule = {
        "metadata": {"name": rights.REAPER, "namespace": roles.SYSTEM},
        "spec": {"schedule": "*/5 * * * *"},
        "status": {"lastScheduleTime": "2026-05-01T12:05:00Z", "active": [{}]},
    }
    job = "batch.kubernetes.io/job-name"
    waiting = {"reason": "ErrImagePull", "message": "no such host"}
    pod = {
        "metadata": {"name": "kube-builder-reaper-1-x", "labels": {job: f"{rights.REAPER}-1"}},
        "spec": {},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "reap", "state": {"waiting": waiting}}]},
    }
    other = {**pod, "metadata": {"name": "others", "labels": {job: "others-1"}}}
    memory_cluster.put(f"/api/v1/namespaces/{roles.SYSTEM}", {"metadata": {"name": roles.SYSTEM}})
    memory_cluster.put(f"/apis/batch/v1/namespaces/{roles.SYSTEM}/cronjobs/{rights.REAPER}", schedule)
    memory_cluster.put(f"/api/v1/namespaces/{roles.SYSTEM}/pods/others", other)
    memory_cluster.put(f"/api/v1/namespaces/{roles.SYSTEM}/pods/kube-builder-reaper-1-x", pod)
    found = find(examine(memory_cluster), "reaper")
    assert found.status is CheckStatus.WARNING
    assert "its pod kube-builder-reaper-1-x fails: ErrImagePull: no such host" in found.detail
    assert "kind: CronJob" not in examine(memory_cluster).apply, "it is installed"


def test_a_reaper_elsewhere_must_be_able_to_reap(memory_cluster: MemoryCluster) -> None:
    assert find(examine(memory_cluster), "reaper").status is CheckStatus.WARNING
    assert "kind: CronJob" in examine(memory_cluster).apply
    pod = {"spec": {"serviceAccountName": "sweeper"}}
    schedule = {
        "metadata": {"name": rights.REAPER, "namespace": "ci"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": pod}}},
    }
    memory_cluster.put(f"/apis/batch/v1/namespaces/ci/cronjobs/{rights.REAPER}", schedule)
    memory_cluster.accounts_may = True
    assert find(examine(memory_cluster), "reaper").status is CheckStatus.OK
    memory_cluster.accounts_may = False
    assert find(examine(memory_cluster), "reaper").status is not CheckStatus.OK
    memory_cluster.refuse("POST", "/subjectaccessreviews$")
    assert find(examine(memory_cluster), "reaper").detail


def test_what_may_not_be_listed_is_unknown_not_missing(memory_cluster: MemoryCluster) -> None:
    memory_cluster.refuse("GET", "/nodes$|/storageclasses$|/cronjobs$")
    report = examine(memory_cluster)
    assert report.healthy
    assert {one.status for one in report.findings if one.topic in ("storage", "reaper")} <= {
        CheckStatus.UNKNOWN,
        CheckStatus.WARNING,
    }


def test_a_registry_is_asked_from_here(memory_cluster: MemoryCluster) -> None:
    with scripted() as registry:
        registry.on("GET /v2/", Reply(200))
        report = examine(memory_cluster, registries=(registry.address,))
        assert find(report, "registry").detail == "from here: it responds"
        registry.on("GET /v2/", Reply(401))
        refused = find(examine(memory_cluster, registries=(registry.address,)), "registry")
        assert refused.status is CheckStatus.WARNING
    gone = find(examine(memory_cluster, registries=("127.0.0.1:1",)), "registry")
    assert gone.status is CheckStatus.MISSING


# The trial builder


def test_a_trial_builder_shows_which_transports_work_and_is_removed(memory_cluster: MemoryCluster) -> None:
    memory_cluster.boot = answer_probes
    trial = BuilderSettings(registries=Registries(insecure=("registry.local",)))
    memory_cluster.refuse("GET", "/storageclasses$")
    report = run_doctor(
        memory_cluster.settings, DoctorRequest(mode=RightsMode.JOBS, builder=trial, registries=()), env={}
    )
    assert "on node worker-amd64 was ready after" in find(report, "builder").detail
    assert find(report, "transport", "direct").detail == "buildkitd answers"
    for tunnel in ("port-forward", "exec"):
        assert find(report, "transport", tunnel).status is CheckStatus.WARNING, "a build needs only one of them"
    assert find(report, "network policy").status is CheckStatus.OK
    assert memory_cluster.list_names("namespaces") == ["ci", "default"]


def test_pods_reach_registries_or_do_not(memory_cluster: MemoryCluster) -> None:
    memory_cluster.boot = answer_probes
    with make_kube_client(memory_cluster.settings, env={}) as kube:
        found = trial_builder.examine_cluster(
            kube, BuilderSettings(namespace="ci"), ("registry.local", "closed.local", "silent.local")
        )
    assert {one.subject: (one.status, one.detail) for one in found if one.topic == "registry"} == {
        "registry.local": (CheckStatus.OK, "from a pod: it responds"),
        "closed.local": (CheckStatus.MISSING, "from a pod: bad address"),
        "silent.local": (CheckStatus.MISSING, "from a pod: the pod did not report it"),
    }
    assert memory_cluster.list_names("jobs") == []


def test_without_the_right_to_make_network_policies_they_are_not_probed(memory_cluster: MemoryCluster) -> None:
    memory_cluster.boot = answer_probes
    memory_cluster.refuse("POST", "/networkpolicies$")
    report = examine(memory_cluster, probe=True)
    assert find(report, "network policy").status is not CheckStatus.OK


def test_a_trial_builder_that_cannot_be_made_or_started(memory_cluster: MemoryCluster) -> None:
    waiting = {"reason": "InvalidImageName", "message": "couldn't parse image name"}
    memory_cluster.boot = lambda _: {
        "phase": "Pending",
        "containerStatuses": [{"name": "buildkitd", "state": {"waiting": waiting}}],
    }
    assert "InvalidImageName" in find(examine(memory_cluster, probe=True), "builder").detail
    memory_cluster.refuse("POST", "/jobs$", message="pods are refused by a policy")
    report = examine(memory_cluster, probe=True)
    assert "pods are refused by a policy" in find(report, "rights", "a builder").detail
    assert "kind: ClusterRole" in report.apply
    assert memory_cluster.list_names("namespaces") == ["ci", "default"]


def test_what_the_trial_leaves_is_reported(memory_cluster: MemoryCluster) -> None:
    memory_cluster.boot = answer_probes
    memory_cluster.refuse("DELETE", "/namespaces/kube-builder-[^/]+$", message="denied by policy")
    report = examine(memory_cluster, probe=True)
    (left,) = (one for one in report.findings if "could not be removed" in one.detail)
    assert left.status is CheckStatus.MISSING
    assert "denied by policy" in left.detail
