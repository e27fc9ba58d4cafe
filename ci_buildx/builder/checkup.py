"""What `doctor` finds out about a cluster: pure verdicts on what the API server said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from ci_buildx.builder import facts
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.rights import Question, Rule
from ci_buildx.model.record import dataclass

_OLDEST = (1, 29)
"""The oldest Kubernetes whose Jobs have all that a builder's use (batch/v1 backoffLimitPerIndex, on by default)."""
_WITH_POLICIES = (1, 30)
_TUNNELS_BY_CREATE = (1, 35)
_LEVEL = "pod-security.kubernetes.io/enforce"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class Status(StrEnum):
    """``MISSING``: needed, and not there. ``WARNING``: worse without it. ``UNKNOWN``: may not be looked at."""

    OK = "ok"
    MISSING = "missing"
    WARNING = "warning"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the check-up: ``subject`` of a ``topic``, and what about it."""

    topic: str
    status: Status
    detail: str
    subject: str = ""


def server(version: tuple[int, int], user: str) -> Finding:
    """The API server's version, and who asks."""
    number = ".".join(map(str, version))
    verb = "create" if version >= _TUNNELS_BY_CREATE else "get"
    if version < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        return Finding(
            topic="server", status=Status.WARNING, detail=f"Kubernetes {number} is older than {oldest}: not tried"
        )
    policies = "" if version >= _WITH_POLICIES else "; no admission policies: a namespace for each job needs 1.30"
    detail = f"Kubernetes {number}, tunnels ask for the verb {verb}{policies}; you are {user}"
    return Finding(topic="server", status=Status.OK, detail=detail)


def rights(rule: Rule, answers: Mapping[Question, bool], questions: Iterable[Question]) -> Finding:
    """One rule of a role: all of its verbs, or those that are refused."""
    refused: dict[str, list[str]] = {}
    for question in questions:
        if not answers[question]:
            refused.setdefault(question.resource, []).append(question.verb)
    subject = ", ".join(f"{name}.{rule.group}" if rule.group else name for name in rule.resources)
    subject += f" {' and '.join(rule.names)}" if rule.names else ""
    if not refused:
        return Finding(topic="rights", subject=subject, status=Status.OK, detail=f"{', '.join(rule.verbs)}: {rule.why}")
    status = Status.MISSING if rule.vital else Status.WARNING
    return Finding(topic="rights", subject=subject, status=status, detail=f"not {_verbs(rule, refused)}: {rule.why}")


def _verbs(rule: Rule, refused: Mapping[str, Sequence[str]]) -> str:
    """The refused verbs, by resource where they differ."""
    alike = len(refused) == len(rule.resources) and len(set(map(tuple, refused.values()))) == 1
    if alike:
        return ", ".join(next(iter(refused.values())))
    return "; ".join(f"{', '.join(verbs)} {name}" for name, verbs in refused.items())


def pod_security(namespace: Mapping[str, Any] | None, *, rootless: bool = False) -> Finding:
    """Whether a namespace admits BuildKit's pod; None where it may not be read."""
    if namespace is None:
        return Finding(topic="pod security", status=Status.UNKNOWN, detail="the namespace's labels may not be read")
    name, marks = namespace["metadata"]["name"], namespace["metadata"].get("labels") or {}
    level = marks.get(_LEVEL, "")
    if level == "baseline" and rootless:
        detail = (
            "enforces baseline: a rootless BuildKit is admitted only with seccomp and AppArmor profiles of the node's"
        )
        return Finding(topic="pod security", subject=name, status=Status.WARNING, detail=detail)
    if level in ("baseline", "restricted"):
        detail = f"enforces {level}: BuildKit's pod is refused; label it {_LEVEL}=privileged"
        return Finding(topic="pod security", subject=name, status=Status.MISSING, detail=detail)
    detail = "enforces privileged, which admits BuildKit" if level else "no level is set: the cluster's default holds"
    return Finding(topic="pod security", subject=name, status=Status.OK, detail=detail)


def own_pod_security(level: str) -> Finding:
    """What a job labels its own namespace as."""
    detail = f"a job's own namespace is labelled {_LEVEL}={level} by the job"
    return Finding(topic="pod security", subject="namespaces of jobs", status=Status.OK, detail=detail)


def architectures(nodes: Sequence[Mapping[str, Any]] | None) -> Finding:
    """What can be built natively."""
    if nodes is None:
        detail = "listing nodes is not allowed: scheduling finds out, and what cannot be scheduled is emulated"
        return Finding(topic="architectures", status=Status.WARNING, detail=detail)
    counted = facts.ClusterFacts(nodes=tuple(facts.read_node(node) for node in nodes)).count({})
    if not counted:
        detail = f"none of {len(nodes)} nodes takes ordinary pods: not ready, cordoned or tainted"
        return Finding(topic="architectures", status=Status.WARNING, detail=detail)
    shown = ", ".join(f"{name} on {_nodes(count)}" for name, count in sorted(counted.items()))
    return Finding(topic="architectures", status=Status.OK, detail=f"native: {shown}; others by emulation")


def runtime_handlers(nodes: Sequence[Mapping[str, Any]] | None) -> Finding:
    """What runtimes a pod template's runtimeClassName can lead to (core/v1 NodeRuntimeHandler, Kubernetes 1.30)."""
    topic = "runtime handlers"
    if nodes is None:
        return Finding(topic=topic, status=Status.UNKNOWN, detail="listing nodes is not allowed")
    counted: dict[str, int] = {}
    for node in nodes:
        for handler in (node.get("status") or {}).get("runtimeHandlers") or ():
            name = handler.get("name") or "the default"
            counted[name] = counted.get(name, 0) + 1
    shown = ", ".join(f"{name} on {_nodes(count)}" for name, count in sorted(counted.items()))
    return Finding(topic=topic, status=Status.OK, detail=shown or "nodes report none")


def user_namespaces(nodes: Sequence[Mapping[str, Any]] | None) -> Finding:
    """Whether root in a pod can be nobody on the node (core/v1 NodeRuntimeHandlerFeatures, Kubernetes 1.30)."""
    topic = "user namespaces"
    if nodes is None:
        detail = "listing nodes is not allowed: builders have them with driver-opt user-namespaces=true only"
        return Finding(topic=topic, status=Status.UNKNOWN, detail=detail)
    found = [fact for fact in map(facts.read_node, nodes) if fact.usable]
    able = [fact for fact in found if fact.user_namespaces]
    if len(able) == len(found) and found:
        return Finding(
            topic=topic, status=Status.OK, detail="every node's runtime has them: root in a pod is not root there"
        )
    detail = f"{len(able)} of {_nodes(len(found))} report them: elsewhere BuildKit is root on its node"
    return Finding(topic=topic, status=Status.WARNING, detail=detail)


def opt_outs(unconfined: bool, host_access: bool, *, option: str = "") -> Finding:
    """Which rules of the policies on pods are lifted for the user; ``option`` ends the command that is named."""
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
        return Finding(topic=topic, status=Status.OK, detail=f"you have {' and '.join(lifted)}")
    detail = (
        "none: privileged pods need user namespaces, no pod has the host's network, ports or folders; "
        f"kube-builder doctor --roles unconfined{option}, or host-access, prints what lifts that"
    )
    return Finding(topic=topic, status=Status.OK, detail=detail)


def isolation(node: NodePlan) -> Finding:
    """What root in a builder's pod is on its node."""
    confined = node.user_namespace or node.isolation.startswith("rootless")
    return Finding(topic="isolation", status=Status.OK if confined else Status.WARNING, detail=node.isolation)


def storage(classes: Sequence[Mapping[str, Any]] | None) -> Finding:
    """What volumes a lasting builder can have; a job's needs none."""
    topic = "storage classes"
    if classes is None:
        detail = "listing them is not allowed; only lasting builders with volumes need one"
        return Finding(topic=topic, status=Status.UNKNOWN, detail=detail)
    names = [
        each["metadata"]["name"] + (" (default)" if _is_default(each) else "")
        for each in sorted(classes, key=lambda each: str(each["metadata"]["name"]))
    ]
    detail = ", ".join(names) or "none: lasting builders cannot have volumes"
    return Finding(topic=topic, status=Status.OK if names else Status.WARNING, detail=detail)


def reaper(schedules: Sequence[Mapping[str, Any]] | None) -> Finding:
    """Whether something removes what killed jobs leave. ``schedules`` are the CronJobs that are marked as ours."""
    topic = "reaper"
    if schedules is None:
        detail = "CronJobs may not be looked at; without one, each job and kube-builder reap remove what has expired"
        return Finding(topic=topic, status=Status.UNKNOWN, detail=detail)
    running = [each for each in schedules if not (each.get("spec") or {}).get("suspend")]
    if not running:
        why = "it is suspended" if schedules else "not installed"
        detail = f"{why}: only each job's own sweep and kube-builder reap remove what killed jobs leave"
        return Finding(topic=topic, status=Status.WARNING, detail=detail)
    metadata, spec = running[0]["metadata"], running[0]["spec"]
    detail = f'CronJob {metadata["name"]} in namespace {metadata["namespace"]} runs at "{spec["schedule"]}"'
    return Finding(topic=topic, status=Status.OK, detail=detail)


def network_policy(open_failed: str, fenced_failed: str) -> Finding:
    """Whether a pod that a NetworkPolicy closes could be reached, beside one that none closes: how that failed."""
    topic = "network policy"
    if open_failed:
        detail = f"a pod did not reach another one ({open_failed}): whether policies are enforced cannot be told"
        return Finding(topic=topic, status=Status.UNKNOWN, detail=detail)
    if fenced_failed:
        return Finding(
            topic=topic, status=Status.OK, detail=f"enforced: a closed pod was not reached ({fenced_failed})"
        )
    detail = "not enforced by this cluster's network: mTLS alone keeps others from buildkitd, as it does everywhere"
    return Finding(topic=topic, status=Status.WARNING, detail=detail)


def _is_default(storage_class: Mapping[str, Any]) -> bool:
    return (storage_class["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"


def _nodes(count: int) -> str:
    return f"{count} node" + ("" if count == 1 else "s")
