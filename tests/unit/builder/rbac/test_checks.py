"""What doctor makes of a cluster's answers, and the pods by which it looks from inside."""

from __future__ import annotations

from typing import Any

import pytest

from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.rbac import checks, rights
from ci_buildx.builder.rbac.checks import CheckResult, CheckStatus
from ci_buildx.builder.rbac.rights import AccessQuestion, RoleRule
from ci_buildx.manage import trial_builder
from ci_buildx.manage.trial_builder import RegistryTarget

OK, MISSING, WARNING, UNKNOWN = CheckStatus


def node(architecture: str, *, user_namespaces: bool = True, ready: str = "True") -> dict[str, Any]:
    features = {"features": {"userNamespaces": user_namespaces}}
    return {
        "metadata": {"name": architecture, "labels": {"kubernetes.io/arch": architecture}},
        "status": {"conditions": [{"type": "Ready", "status": ready}], "runtimeHandlers": [{"name": "", **features}]},
    }


def storage_class(name: str, *, default: bool = False) -> dict[str, Any]:
    notes = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": notes}}


def namespace(level: str = "") -> dict[str, Any]:
    return {"metadata": {"name": "ci", "labels": {"pod-security.kubernetes.io/enforce": level} if level else {}}}


def schedule(*, suspend: bool = False) -> dict[str, Any]:
    return {
        "metadata": {"name": "kube-builder-reaper", "namespace": "kube-system"},
        "spec": {"schedule": "*/10 * * * *", "suspend": suspend},
    }


RAN, WORKED = "2026-05-01T12:05:00Z", "2026-05-01T12:05:07Z"


def ran(*, succeeded: str = "", active: bool = False) -> dict[str, Any]:
    status = {"lastScheduleTime": RAN, "active": [{}] if active else []}
    return schedule() | {"status": status | ({"lastSuccessfulTime": succeeded} if succeeded else {})}


def reaper_pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "kube-builder-reaper-1-x", "creationTimestamp": RAN}, "status": status}


def container(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "reap", "state": state}]}


PULLING = reaper_pod(**container(waiting={"reason": "ErrImagePull", "message": "r.io/kb:1: not\nfound"}))
CRASHED = reaper_pod(**container(terminated={"exitCode": 3, "reason": "Error", "message": "boom"}))
STARTING = reaper_pod(**container(waiting={"reason": "ContainerCreating"}))
NOWHERE = reaper_pod(
    conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2"}]
)


def judge(job: dict[str, Any], *pods: dict[str, Any], readable: bool = True) -> CheckResult:
    return checks.check_reaper([job], {}, {"kube-system": list(pods) if readable else None})


@pytest.mark.parametrize(
    ("finding", "status", "said"),
    [
        (judge(ran(active=True), PULLING), WARNING, "reaper-1-x fails: ErrImagePull: r.io/kb:1: not found, none has"),
        (judge(ran(active=True, succeeded="2026-04-30T00:00:00Z"), PULLING), WARNING, "ErrImagePull"),
        (judge(ran(), CRASHED), WARNING, "Error: exit code 3: boom, none has succeeded"),
        (judge(ran(active=True), NOWHERE), WARNING, "Unschedulable: 0/2"),
        (judge(ran(active=True), STARTING), OK, "a run is under way, none has succeeded"),
        (judge(ran(), readable=False), WARNING, f"its run of {RAN} did not succeed, none has succeeded"),
        (judge(ran(active=True), readable=False), UNKNOWN, "may not list its pods"),
        (judge(ran(succeeded=WORKED)), OK, f"the last success was at {WORKED}"),
        (judge(ran(succeeded="2026-04-30T00:00:00Z")), WARNING, "the last success was at 2026-04-30T00:00:00Z"),
        (judge(schedule()), OK, "it has not run yet"),
    ],
)  # fmt: skip
def test_a_reaper_is_judged_by_its_runs(finding: CheckResult, status: CheckStatus, said: str) -> None:
    assert (finding.status, said in finding.detail) == (status, True), finding


def planned(isolation: str, *, user_namespace: bool = False) -> NodePlan:
    return NodePlan(name="any", architecture=None, isolation=isolation, user_namespace=user_namespace)


@pytest.mark.parametrize(
    ("finding", "status", "said"),
    [
        (checks.check_server((1, 34), "bob"), OK, "Kubernetes 1.34, tunnels require the verb get; you are bob"),
        (checks.check_server((1, 35), "bob"), OK, "tunnels require the verb create"),
        (checks.check_server((1, 29), "bob"), OK, "no admission policies: a namespace for each job requires 1.30"),
        (checks.check_server((1, 24), "bob"), WARNING, "Kubernetes 1.24 is older than 1.29"),
        (checks.check_architectures(None), WARNING, "listing nodes is not allowed"),
        (
            checks.check_architectures([node("arm64"), node("amd64"), node("amd64")]),
            OK,
            "amd64 on 2 nodes, arm64 on 1 node",
        ),
        (checks.check_architectures([node("amd64", ready="False")]), WARNING, "none of 1 nodes accepts ordinary pods"),
        (checks.check_user_namespaces(None), UNKNOWN, "not allowed"),
        (checks.check_user_namespaces([node("amd64"), node("arm64")]), OK, "root in a pod is not root on the node"),
        (checks.check_user_namespaces([node("amd64"), node("arm64", user_namespaces=False)]), WARNING, "1 of 2 nodes"),
        (checks.check_user_namespaces([]), WARNING, "0 of 0 nodes"),
        (
            checks.check_user_namespaces([node("amd64"), node("arm64", user_namespaces=False, ready="False")]),
            OK,
            "root in",
        ),
        (checks.check_runtime_handlers(None), UNKNOWN, "not allowed"),
        (checks.check_runtime_handlers([node("amd64"), node("arm64")]), OK, "the default on 2 nodes"),
        (checks.check_runtime_handlers([{"metadata": {"name": "old"}}]), OK, "nodes report none"),
        (checks.check_own_pod_security("baseline"), OK, "pod-security.kubernetes.io/enforce=baseline by the job"),
        (checks.check_storage(None), UNKNOWN, "not allowed"),
        (checks.check_storage([]), WARNING, "none"),
        (
            checks.check_storage([storage_class("slow"), storage_class("fast", default=True)]),
            OK,
            "fast (default), slow",
        ),
        (checks.check_pod_security(None), UNKNOWN, "no permission to read"),
        (checks.check_pod_security(namespace()), OK, "the cluster's default applies"),
        (checks.check_pod_security(namespace("privileged")), OK, "admits BuildKit"),
        (
            checks.check_pod_security(namespace("baseline")),
            MISSING,
            "enforce=privileged",
        ),
        (checks.check_pod_security(namespace("restricted")), MISSING, "enforces restricted"),
        (checks.check_pod_security(namespace("baseline"), rootless=True), WARNING, "seccomp and AppArmor profiles"),
        (
            checks.check_isolation(NodePlan(name="a", architecture=None, user_namespace=True, isolation="inside")),
            OK,
            "inside",
        ),
        (checks.check_isolation(NodePlan(name="a", architecture=None, isolation="rootless: 1000")), OK, "1000"),
        (checks.check_isolation(NodePlan(name="a", architecture=None, isolation="root on its node")), WARNING, "root"),
        (checks.check_reaper(None), UNKNOWN, "no permission to list CronJobs"),
        (checks.check_reaper([]), WARNING, "not installed"),
        (checks.check_reaper([schedule(suspend=True)]), WARNING, "it is suspended"),
        (checks.check_reaper([schedule()]), OK, 'namespace kube-system runs at "*/10 * * * *"'),
        (checks.check_network_policy("", "timed out"), OK, "enforced: an isolated pod was not reached (timed out)"),
        (checks.check_network_policy("", ""), WARNING, "not enforced"),
        (checks.check_network_policy("no route", "no route"), UNKNOWN, "a pod did not reach another one (no route)"),
    ],
)
def test_each_answer_has_its_verdict(finding: CheckResult, status: CheckStatus, said: str) -> None:
    assert (finding.status, said in finding.detail) == (status, True), finding


def ask(rule: RoleRule, *refused: str) -> CheckResult:
    questions = tuple(rights.list_questions((rule,), "ci"))
    answers = {each: f"{each.verb} {each.resource}" not in refused for each in questions}
    return checks.check_rights(rule, answers, questions)


def test_a_rule_is_met_whole_or_its_refused_verbs_are_named() -> None:
    rule = RoleRule(group="batch", resources=("jobs",), verbs=("create", "list"), why="work")
    assert ask(rule) == CheckResult(topic="rights", subject="jobs.batch", status=OK, detail="create, list: work")
    assert (ask(rule, "list jobs").status, ask(rule, "list jobs").detail) == (MISSING, "not list: work")
    named = RoleRule(resources=("configmaps",), verbs=("get",), names=("status",), why="")
    assert ask(named).subject == "configmaps status"
    several = RoleRule(resources=("pods/exec", "pods/log"), verbs=("get",), why="tunnels", vital=False)
    found = ask(several, "get pods/log")
    assert (found.status, found.subject, found.detail) == (WARNING, "pods/exec, pods/log", "not get pods/log: tunnels")
    assert ask(several, "get pods/log", "get pods/exec").detail == "not get: tunnels"


def test_names_are_asked_one_by_one() -> None:
    rule = RoleRule(resources=("clusterroles",), verbs=("bind",), names=("a", "b"), why="")
    assert [each.name for each in rights.list_questions((rule,))] == ["a", "b"]
    assert next(rights.list_questions((rule,), "x")) == AccessQuestion(
        verb="bind", resource="clusterroles", name="a", namespace="x"
    )


@pytest.mark.parametrize(
    ("registry", "plain", "expected"),
    [
        ("registry.example", False, ("registry.example", 443)),
        ("registry.example", True, ("registry.example", 80)),
        ("registry.example:5000", False, ("registry.example", 5000)),
        ("[2001:db8::1]:5000", False, ("2001:db8::1", 5000)),
        ("docker.io", False, ("registry-1.docker.io", 443)),
    ],
)
def test_where_a_registry_listens(registry: str, plain: bool, expected: tuple[str, int]) -> None:
    assert trial_builder.make_registry_target(registry, plain=plain) == RegistryTarget(
        name=registry, host=expected[0], port=expected[1]
    )


def test_what_a_pod_has_seen_comes_with_its_status() -> None:
    said = "open \nclosed nc: timed out\nregistry.example nc: bad address 'registry.example'\n"
    pod = {"status": {"containerStatuses": [{"state": {"terminated": {"message": said}}}]}}
    assert trial_builder.read_probe_results(pod) == {
        "open": "",
        "closed": "timed out",
        "registry.example": "bad address 'registry.example'",
    }
    assert trial_builder.read_probe_results({"status": {"containerStatuses": [{"state": {"running": {}}}]}}) is None
    assert trial_builder.read_probe_results({}) is None


def test_what_looks_around_is_let_in_everywhere_and_takes_no_word_for_a_program() -> None:
    place = BuilderLocation(name="kube-builder-x", namespace="ci", exclusive=False)
    target = RegistryTarget(name="$(reboot)", host="; reboot", port=1)
    job = trial_builder.make_probe_pod(place, "image", {"a": "b"}, [target], {"open": "10.0.0.1", "closed": "10.0.0.2"})
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][3:] == ["sh", "$(reboot)", "; reboot", "1"]
    assert "reboot" not in container["command"][2]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_opt_outs_are_said_and_how_to_get_them() -> None:
    none = checks.report_opt_outs(False, False, option=" --namespace ci")
    assert none.status is OK
    assert "kube-builder doctor --roles unconfined --namespace ci, or host-access, prints the opt-out" in none.detail
    assert "unconfined" in checks.report_opt_outs(True, False).detail
    assert "host-access" not in checks.report_opt_outs(True, False).detail
    assert checks.report_opt_outs(False, True).detail.startswith("you have host-access (")


def elsewhere() -> dict[str, Any]:
    found = schedule()
    return {**found, "metadata": {**found["metadata"], "namespace": "ci"}}


@pytest.mark.parametrize(
    ("finding", "status", "said"),
    [
        (checks.check_reaper([elsewhere()], {"ci": True}), OK, "in namespace ci runs at"),
        (checks.check_reaper([elsewhere()], {"ci": None}), UNKNOWN, "anyone could have made it there"),
        (
            checks.check_reaper([elsewhere()], {"ci": False}),
            WARNING,
            "CronJob ci/kube-builder-reaper deletes nothing",
        ),
        (checks.check_reaper([elsewhere(), schedule()], {"ci": None}), OK, "in namespace kube-system runs at"),
        (checks.check_reaper([elsewhere(), schedule(suspend=True)], {"ci": False}), WARNING, "it is suspended"),
    ],
)
def test_a_schedule_elsewhere_is_the_reapers_only_if_its_account_deletes(
    finding: CheckResult, status: CheckStatus, said: str
) -> None:
    assert (finding.status, said in finding.detail) == (status, True), finding


SPACE = {"metadata": {"name": "kube-builder", "creationTimestamp": "2026-01-01T00:00:00Z"}}


def granted(*rules: dict[str, list[str]], name: str = "b", **subject: str) -> checks.GrantedRole:
    who = subject or {"kind": "User", "name": "mallory"}
    return checks.GrantedRole(binding={"metadata": {"name": name}, "subjects": [who]}, rules=rules)


def rule(group: str, resource: str, verb: str) -> dict[str, list[str]]:
    return {"apiGroups": [group], "resources": [resource], "verbs": [verb]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (rule("", "pods", "create"), "create pods"),
        (rule("", "pods", "patch"), "patch pods"),
        (rule("", "pods/exec", "get"), "get pods/exec"),
        (rule("", "pods/attach", "create"), "create pods/attach"),
        (rule("", "pods/ephemeralcontainers", "update"), "update pods/ephemeralcontainers"),
        (rule("", "serviceaccounts/token", "create"), "create serviceaccounts/token"),
        (rule("", "*/token", "create"), "create serviceaccounts/token"),
        (rule("", "secrets", "list"), "list secrets"),
        (rule("", "secrets", "create"), "create secrets"),
        (rule("", "serviceaccounts", "impersonate"), "impersonate serviceaccounts"),
        (rule("apps", "deployments", "create"), "create deployments"),
        (rule("batch", "cronjobs", "update"), "update cronjobs"),
        (rule("rbac.authorization.k8s.io", "roles", "escalate"), "escalate roles"),
        (rule("rbac.authorization.k8s.io", "roles", "bind"), "bind roles"),
        (rule("*", "*", "*"), "create pods"),
    ],
)
def test_who_acts_as_accounts_is_named_with_a_right(given: dict[str, list[str]], said: str) -> None:
    harmless = rule("", "pods", "list")
    (found,) = checks.check_accounts(SPACE, [granted(harmless, given)], None)
    assert (found.status, found.subject) == (WARNING, "kube-builder")
    assert found.detail.startswith(f"RoleBinding b lets User mallory {said}, and so act as any account there")


@pytest.mark.parametrize(
    "given",
    [
        rule("", "pods", "list"),
        rule("", "pods/log", "get"),
        rule("", "configmaps", "create"),
        rule("apps", "deployments", "get"),
        rule("", "serviceaccounts", "create"),
        rule("batch", "pods", "create"),
    ],
)
def test_other_rights_beside_the_accounts_are_no_matter(given: dict[str, list[str]]) -> None:
    (found,) = checks.check_accounts(SPACE, [granted(given)], None)
    assert (found.status, found.detail) == (OK, "no RoleBinding lets anyone act as its accounts; administrators can")


def test_subjects_of_each_kind_are_named_and_what_cannot_be_read_is_said() -> None:
    account = checks.GrantedRole(
        binding={
            "metadata": {"name": "b"},
            "subjects": [
                {"kind": "ServiceAccount", "name": "bot", "namespace": "shop"},
                {"kind": "Group", "name": "system:authenticated"},
            ],
        },
        rules=None,
    )
    (found,) = checks.check_accounts(SPACE, [account], None)
    assert "lets ServiceAccount shop/bot, Group system:authenticated do what its role allows" in found.detail
    (unknown,) = checks.check_accounts(SPACE, None, None)
    assert unknown.status is UNKNOWN


@pytest.mark.parametrize(
    ("applied", "status", "said"),
    [
        ("2026-01-01T00:00:30Z", OK, "no RoleBinding"),
        ("2025-12-01T00:00:00Z", OK, "no RoleBinding"),
        ("2026-01-01T01:30:00Z", WARNING, "it existed 2 hours before the policy kube-builder-jobs"),
        ("2026-01-31T00:00:00Z", WARNING, "it existed 30 days before the policy kube-builder-jobs"),
    ],
)
def test_a_namespace_that_was_there_before_is_suspicious(applied: str, status: CheckStatus, said: str) -> None:
    policy = {"metadata": {"name": "kube-builder-jobs", "creationTimestamp": applied}}
    (found,) = checks.check_accounts(SPACE, [], policy)
    assert (found.status, said in found.detail) == (status, True), found
