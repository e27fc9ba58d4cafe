"""Checks of `doctor`: pure verdicts on the API server's answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from ci_buildx.builder import cluster_facts
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.pods import describe_failure
from ci_buildx.builder.rbac.rights import AccessQuestion, RoleRule
from ci_buildx.model.record import dataclass
from ci_buildx.model.timestamps import parse_timestamp

_OLDEST = (1, 29)
"""Oldest Kubernetes whose Jobs have all fields that builders use (batch/v1 backoffLimitPerIndex, on by default)."""
_WITH_POLICIES = (1, 30)
_TUNNELS_BY_CREATE = (1, 35)
_LEVEL = "pod-security.kubernetes.io/enforce"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class CheckStatus(StrEnum):
    """``MISSING``: required, but missing. ``WARNING``: worse without it. ``UNKNOWN``: reading is not allowed."""

    OK = "ok"
    MISSING = "missing"
    WARNING = "warning"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One line of doctor's report: the ``subject`` of a ``topic``, and the finding."""

    topic: str
    status: CheckStatus
    detail: str
    subject: str = ""


def check_server(version: tuple[int, int], user: str) -> CheckResult:
    """Report the API server's version and the current user."""
    number = ".".join(map(str, version))
    verb = "create" if version >= _TUNNELS_BY_CREATE else "get"
    if version < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        return CheckResult(
            topic="server", status=CheckStatus.WARNING, detail=f"Kubernetes {number} is older than {oldest}: not tested"
        )
    policies = "" if version >= _WITH_POLICIES else "; no admission policies: a namespace for each job requires 1.30"
    detail = f"Kubernetes {number}, tunnels require the verb {verb}{policies}; you are {user}"
    return CheckResult(topic="server", status=CheckStatus.OK, detail=detail)


def check_rights(
    rule: RoleRule, answers: Mapping[AccessQuestion, bool], questions: Iterable[AccessQuestion]
) -> CheckResult:
    """Check one rule of a role; report all of its verbs, or those that are refused."""
    refused = _collect_refused(answers, questions)
    subject = ", ".join(f"{name}.{rule.group}" if rule.group else name for name in rule.resources)
    subject += f" {' and '.join(rule.names)}" if rule.names else ""
    if not refused:
        return CheckResult(
            topic="rights", subject=subject, status=CheckStatus.OK, detail=f"{', '.join(rule.verbs)}: {rule.why}"
        )
    status = CheckStatus.MISSING if rule.vital else CheckStatus.WARNING
    return CheckResult(
        topic="rights", subject=subject, status=status, detail=f"not {_list_verbs(rule, refused)}: {rule.why}"
    )


def describe_lack(rule: RoleRule, answers: Mapping[AccessQuestion, bool], questions: Iterable[AccessQuestion]) -> str:
    """Return the refused verbs and resources of a rule, such as ``create, get jobs.batch``; "" if none is refused."""
    refused = _collect_refused(answers, questions)
    verbs = dict.fromkeys(verb for each in refused.values() for verb in each)
    names = (f"{name}.{rule.group}" if rule.group else name for name in refused)
    return f"{', '.join(verbs)} {', '.join(names)}" if refused else ""


def _collect_refused(
    answers: Mapping[AccessQuestion, bool], questions: Iterable[AccessQuestion]
) -> dict[str, list[str]]:
    """Return the refused verbs by resource."""
    refused: dict[str, list[str]] = {}
    for question in questions:
        if not answers[question]:
            refused.setdefault(question.resource, []).append(question.verb)
    return refused


def _list_verbs(rule: RoleRule, refused: Mapping[str, Sequence[str]]) -> str:
    """Return the refused verbs, by resource if they differ."""
    alike = len(refused) == len(rule.resources) and len(set(map(tuple, refused.values()))) == 1
    if alike:
        return ", ".join(next(iter(refused.values())))
    return "; ".join(f"{', '.join(verbs)} {name}" for name, verbs in refused.items())


def check_pod_security(namespace: Mapping[str, Any] | None, *, rootless: bool = False) -> CheckResult:
    """Check whether a namespace admits BuildKit's pod; ``namespace`` is None if it cannot be read."""
    if namespace is None:
        return CheckResult(
            topic="pod security", status=CheckStatus.UNKNOWN, detail="no permission to read the namespace's labels"
        )
    name, marks = namespace["metadata"]["name"], namespace["metadata"].get("labels") or {}
    level = marks.get(_LEVEL, "")
    if level == "baseline" and rootless:
        detail = (
            "enforces baseline: a rootless BuildKit is admitted only with seccomp and AppArmor profiles of the node's"
        )
        return CheckResult(topic="pod security", subject=name, status=CheckStatus.WARNING, detail=detail)
    if level in ("baseline", "restricted"):
        detail = f"enforces {level}: BuildKit's pod is refused; label it {_LEVEL}=privileged"
        return CheckResult(topic="pod security", subject=name, status=CheckStatus.MISSING, detail=detail)
    detail = "enforces privileged, which admits BuildKit" if level else "no level is set: the cluster's default applies"
    return CheckResult(topic="pod security", subject=name, status=CheckStatus.OK, detail=detail)


def check_own_pod_security(level: str) -> CheckResult:
    """Report the PodSecurity level with which a job labels its own namespace."""
    detail = f"a job's own namespace is labelled {_LEVEL}={level} by the job"
    return CheckResult(topic="pod security", subject="namespaces of jobs", status=CheckStatus.OK, detail=detail)


def check_architectures(nodes: Sequence[Mapping[str, Any]] | None) -> CheckResult:
    """Report the architectures that can be built natively."""
    if nodes is None:
        detail = "listing nodes is not allowed: scheduling decides, and platforms that cannot be scheduled are emulated"
        return CheckResult(topic="architectures", status=CheckStatus.WARNING, detail=detail)
    counted = cluster_facts.ClusterFacts(nodes=tuple(cluster_facts.read_node(node) for node in nodes)).count({})
    if not counted:
        detail = f"none of {len(nodes)} nodes accepts ordinary pods: not ready, cordoned or tainted"
        return CheckResult(topic="architectures", status=CheckStatus.WARNING, detail=detail)
    shown = ", ".join(f"{name} on {_count_nodes(count)}" for name, count in sorted(counted.items()))
    return CheckResult(topic="architectures", status=CheckStatus.OK, detail=f"native: {shown}; others by emulation")


def check_runtime_handlers(nodes: Sequence[Mapping[str, Any]] | None) -> CheckResult:
    """Report the runtimes for a pod template's runtimeClassName (core/v1 NodeRuntimeHandler, Kubernetes 1.30)."""
    topic = "runtime handlers"
    if nodes is None:
        return CheckResult(topic=topic, status=CheckStatus.UNKNOWN, detail="listing nodes is not allowed")
    counted: dict[str, int] = {}
    for node in nodes:
        for handler in (node.get("status") or {}).get("runtimeHandlers") or ():
            name = handler.get("name") or "the default"
            counted[name] = counted.get(name, 0) + 1
    shown = ", ".join(f"{name} on {_count_nodes(count)}" for name, count in sorted(counted.items()))
    return CheckResult(topic=topic, status=CheckStatus.OK, detail=shown or "nodes report none")


def check_user_namespaces(nodes: Sequence[Mapping[str, Any]] | None) -> CheckResult:
    """Check whether pods can have user namespaces (core/v1 NodeRuntimeHandlerFeatures, Kubernetes 1.30).

    With them, root in a pod is unprivileged on the cluster node.
    """
    topic = "user namespaces"
    if nodes is None:
        detail = "listing nodes is not allowed: builders use them only with driver-opt user-namespaces=true"
        return CheckResult(topic=topic, status=CheckStatus.UNKNOWN, detail=detail)
    found = [fact for fact in map(cluster_facts.read_node, nodes) if fact.usable]
    able = [fact for fact in found if fact.user_namespaces]
    if len(able) == len(found) and found:
        return CheckResult(
            topic=topic,
            status=CheckStatus.OK,
            detail="every node's runtime supports them: root in a pod is not root on the node",
        )
    detail = f"{len(able)} of {_count_nodes(len(found))} report them: elsewhere BuildKit is root on its node"
    return CheckResult(topic=topic, status=CheckStatus.WARNING, detail=detail)


def report_opt_outs(unconfined: bool, host_access: bool, *, option: str = "") -> CheckResult:
    """Report which rules of the pod policies are lifted for the user; ``option`` ends the suggested command."""
    topic = "opt-outs"
    lifted = [
        text
        for text, held in (
            ("unconfined (privileged pods may be root on their nodes)", unconfined),
            ("host-access (pods may have the host's network, ports and folders)", host_access),
        )
        if held
    ]
    if lifted:
        return CheckResult(topic=topic, status=CheckStatus.OK, detail=f"you have {' and '.join(lifted)}")
    detail = (
        "none: privileged pods require user namespaces, no pod has the host's network, ports or folders; "
        f"kube-builder doctor --roles unconfined{option}, or host-access, prints the opt-out"
    )
    return CheckResult(topic=topic, status=CheckStatus.OK, detail=detail)


def check_isolation(node: NodePlan) -> CheckResult:
    """Report how root in a builder's pod is isolated from its cluster node."""
    confined = node.user_namespace or node.isolation.startswith("rootless")
    return CheckResult(
        topic="isolation", status=CheckStatus.OK if confined else CheckStatus.WARNING, detail=node.isolation
    )


def check_storage(classes: Sequence[Mapping[str, Any]] | None) -> CheckResult:
    """Report the storage classes that lasting builders can use; a job's builder needs none."""
    topic = "storage classes"
    if classes is None:
        detail = "listing them is not allowed; only lasting builders with volumes need one"
        return CheckResult(topic=topic, status=CheckStatus.UNKNOWN, detail=detail)
    names = [
        each["metadata"]["name"] + (" (default)" if _is_default(each) else "")
        for each in sorted(classes, key=lambda each: str(each["metadata"]["name"]))
    ]
    detail = ", ".join(names) or "none: lasting builders cannot have volumes"
    return CheckResult(topic=topic, status=CheckStatus.OK if names else CheckStatus.WARNING, detail=detail)


def check_reaper(
    schedules: Sequence[Mapping[str, Any]] | None,
    able: Mapping[str, bool | None] | None = None,
    pods: Mapping[str, Sequence[Mapping[str, Any]] | None] | None = None,
) -> CheckResult:
    """Check whether something removes what killed jobs leave, and whether it runs.

    ``schedules`` are the CronJobs with the reaper's name, None if they cannot be read. ``able`` says, by namespace,
    whether their account may delete namespaces, None if that is unknown. Anyone can give a CronJob that name. ``pods``
    are those of their Jobs, by namespace, None if they cannot be read.
    """
    topic = "reaper"
    if schedules is None:
        detail = (
            "no permission to list CronJobs; without a reaper, each job and kube-builder reap remove expired builders"
        )
        return CheckResult(topic=topic, status=CheckStatus.UNKNOWN, detail=detail)
    known = able or {}
    real, doubtful = (
        [each for each in schedules if known.get(each["metadata"].get("namespace", ""), True) is answer]
        for answer in (True, None)
    )
    running = [each for each in real if not (each.get("spec") or {}).get("suspend")]
    if running:
        metadata, schedule = running[0]["metadata"], (running[0].get("spec") or {}).get("schedule", "")
        place = metadata.get("namespace", "")
        said = f'CronJob {metadata["name"]} in namespace {place} runs at "{schedule}"'
        status, runs = _judge_runs(running[0].get("status") or {}, (pods or {}).get(place))
        return CheckResult(topic=topic, status=status, detail=f"{said}; {runs}")
    if doubtful:
        metadata = doubtful[0]["metadata"]
        detail = (
            f"CronJob {metadata['name']} in namespace {metadata.get('namespace', '')}: anyone could have made it there;"
            " run doctor as an administrator to check its rights"
        )
        return CheckResult(topic=topic, status=CheckStatus.UNKNOWN, detail=detail)
    others = [each["metadata"].get("namespace", "") for each in schedules if each not in real]
    why = "it is suspended" if real else "not installed"
    if others and not real:
        why = f"not installed (the account of CronJob {others[0]}/{schedules[0]['metadata']['name']} deletes nothing)"
    detail = (
        f"{why}: only each job's own sweep and kube-builder reap remove leftovers of killed jobs; "
        "--roles reaper and --roles reaper-cronjob print it"
    )
    return CheckResult(topic=topic, status=CheckStatus.WARNING, detail=detail)


def _judge_runs(status: Mapping[str, Any], pods: Sequence[Mapping[str, Any]] | None) -> tuple[CheckStatus, str]:
    """Return the verdict on the runs of a CronJob by its ``status`` (batch/v1 CronJobStatus) and its Jobs' ``pods``."""
    last, succeeded = str(status.get("lastScheduleTime") or ""), str(status.get("lastSuccessfulTime") or "")
    if not last:
        return CheckStatus.OK, "it has not run yet"
    after = f", the last success was at {succeeded}" if succeeded else ", none has succeeded"
    newest = max(pods or (), key=lambda pod: str(pod["metadata"].get("creationTimestamp") or ""), default=None)
    if newest is not None and (failure := describe_failure(newest)):
        return CheckStatus.WARNING, f"its pod {newest['metadata']['name']} fails: {' '.join(failure.split())}{after}"
    if succeeded >= last:
        return CheckStatus.OK, f"the last success was at {succeeded}"
    if not status.get("active"):
        return CheckStatus.WARNING, f"its run of {last} did not succeed{after}"
    if pods is None and not succeeded:
        return CheckStatus.UNKNOWN, f"no run has succeeded since {last}, and this account may not list its pods"
    return CheckStatus.OK, f"a run is under way{after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedRole:
    """A RoleBinding in a namespace, and the ``rules`` of its role, None if they cannot be read."""

    binding: Mapping[str, Any]
    rules: Sequence[Mapping[str, Any]] | None


_SECONDS_BETWEEN = 3600.0
"""Seconds by which the namespace of accounts may be older than what is applied right after it was created."""
_TAKES = (
    ("", ("pods", "replicationcontrollers", "serviceaccounts/token"), ("create",)),
    ("", ("pods/exec", "pods/attach"), ("create", "get")),
    ("", ("pods", "pods/ephemeralcontainers", "replicationcontrollers"), ("patch", "update")),
    ("", ("secrets",), ("create", "get", "list", "patch", "update", "watch")),
    ("", ("serviceaccounts",), ("impersonate",)),
    ("apps", ("daemonsets", "deployments", "replicasets", "statefulsets"), ("create", "patch", "update")),
    ("batch", ("cronjobs", "jobs"), ("create", "patch", "update")),
    ("rbac.authorization.k8s.io", ("roles",), ("bind", "escalate")),
)
"""Rights by which a user acts as any service account of a namespace: API group, resources, verbs."""


def check_accounts(
    namespace: Mapping[str, Any], granted: Sequence[GrantedRole] | None, policy: Mapping[str, Any] | None
) -> list[CheckResult]:
    """Check who can act as the service accounts of a ``namespace``, beside the cluster's administrators.

    ``granted`` are the namespace's RoleBindings, None if they cannot be read. ``policy`` is the admission policy that
    is applied with the accounts, None if there is none or it cannot be read.
    """
    topic, name = "accounts", namespace["metadata"]["name"]
    if granted is None:
        detail = "cannot read its RoleBindings: run doctor as an administrator to check who can use its accounts"
        return [CheckResult(topic=topic, subject=name, status=CheckStatus.UNKNOWN, detail=detail)]
    found = []
    for each in granted:
        if right := _find_taking_right(each.rules):
            who = ", ".join(_describe_subject(subject) for subject in each.binding.get("subjects") or ()) or "no one"
            detail = (
                f"RoleBinding {each.binding['metadata']['name']} lets {who} {right}, and so act as any account there: "
                "delete it unless they are administrators"
            )
            found.append(CheckResult(topic=topic, subject=name, status=CheckStatus.WARNING, detail=detail))
    if policy is not None:
        lead = _read_creation(policy) - _read_creation(namespace)
        if lead > _SECONDS_BETWEEN:
            detail = (
                f"it existed {_format_time(lead)} before the policy {policy['metadata']['name']}: tokens that were "
                "created in it before then are valid; delete it and apply the YAML again unless you created it"
            )
            found.append(CheckResult(topic=topic, subject=name, status=CheckStatus.WARNING, detail=detail))
    if not found:
        detail = "no RoleBinding lets anyone act as its accounts; administrators can"
        found.append(CheckResult(topic=topic, subject=name, status=CheckStatus.OK, detail=detail))
    return found


def _read_creation(stored: Mapping[str, Any]) -> int:
    return parse_timestamp(stored["metadata"].get("creationTimestamp") or "1970-01-01T00:00:00Z")


def _find_taking_right(rules: Sequence[Mapping[str, Any]] | None) -> str:
    """Return a right of ``rules`` by which a user acts as other accounts, "" if there is none."""
    if rules is None:
        return "do what its role allows, which you have no permission to read"
    for rule in rules:
        groups, resources, verbs = (rule.get(part) or () for part in ("apiGroups", "resources", "verbs"))
        for group, taken, by in _TAKES:
            if group in groups or "*" in groups:
                hit = [each for each in taken if _covers(resources, each)]
                how = [verb for verb in by if verb in verbs or "*" in verbs]
                if hit and how:
                    return f"{how[0]} {hit[0]}"
    return ""


def _covers(resources: Iterable[str], wanted: str) -> bool:
    """Return whether RBAC's ``resources`` include a resource (kubernetes 1.34, ``rbac/v1/evaluation_helpers.go``)."""
    _, _, part = wanted.partition("/")
    return any(each in ("*", wanted) or (part and each == f"*/{part}") for each in resources)


def _describe_subject(subject: Mapping[str, Any]) -> str:
    space = f"{subject['namespace']}/" if subject.get("namespace") else ""
    return f"{subject.get('kind', '')} {space}{subject.get('name', '')}"


def _format_time(seconds: float) -> str:
    hours = round(seconds / 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours" if hours > 1 else "an hour"


def check_network_policy(open_failed: str, closed_failed: str) -> CheckResult:
    """Check whether NetworkPolicies are enforced.

    ``open_failed`` is the error of reaching a pod without a policy, ``closed_failed`` that of reaching one that a
    policy closes; "" if it was reached.
    """
    topic = "network policy"
    if open_failed:
        detail = f"a pod did not reach another one ({open_failed}): cannot determine whether policies are enforced"
        return CheckResult(topic=topic, status=CheckStatus.UNKNOWN, detail=detail)
    if closed_failed:
        return CheckResult(
            topic=topic, status=CheckStatus.OK, detail=f"enforced: an isolated pod was not reached ({closed_failed})"
        )
    detail = "not enforced by this cluster's network: mTLS alone protects buildkitd"
    return CheckResult(topic=topic, status=CheckStatus.WARNING, detail=detail)


def _is_default(storage_class: Mapping[str, Any]) -> bool:
    return (storage_class["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"


def _count_nodes(count: int) -> str:
    return f"{count} node" + ("" if count == 1 else "s")
