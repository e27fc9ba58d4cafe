"""Diagnosis of workloads whose pods are refused before they exist, from their FailedCreate events.

Wording: apiserver v0.34.2 ``admission/plugin/resourcequota/controller.go``, ``admission/plugin/webhook/errors``,
``admission/plugin/policy/validating``; pod-security-admission v0.34.2 ``admission/admission.go``.
"""

from __future__ import annotations

from ci_buildx.builder.boot.observation import PodCase, Verdict, count_events
from ci_buildx.builder.pods import CONTAINER, find_condition
from ci_buildx.model.lazy import compile_lazily

_TRIES = 3
"""Refusals without a known cause before giving up; the Job controller retries at ever longer intervals."""

_CAUSES = (
    (compile_lazily(r"exceeded quota|failed quota"), "QuotaExceeded", ""),
    (compile_lazily(r"violates PodSecurity"), "PodSecurity", ""),
    (
        compile_lazily(r"admission webhook .* denied"),
        "AdmissionWebhook",
        "ask the owner of that webhook: the cluster's policy rejects the pod",
    ),
    (
        compile_lazily(r"service ?account .*\"(?!default\")[^\"]+\" not found"),
        "ServiceAccount",
        "check driver-opt serviceaccount: not found in the namespace",
    ),
    (
        compile_lazily(r"ValidatingAdmissionPolicy .* denied"),
        "AdmissionPolicy",
        "ask the owner of that policy: the cluster's policy rejects the pod",
    ),
    (
        compile_lazily(
            r"(?:maximum|minimum) .* usage per|max limit to request ratio|must be less than or equal to \w+ limit"
        ),
        "LimitRange",
        "",
    ),
    (
        compile_lazily(r"because it is being terminated"),
        "NamespaceTerminating",
        "the namespace is being deleted",
    ),
    (
        compile_lazily(r"no PriorityClass with name"),
        "PriorityClass",
        "check driver-opt priority-class: not found in the cluster",
    ),
)
_HEALING = (
    (
        compile_lazily(r"failed calling webhook"),
        "AdmissionWebhook",
        "ask the owner of the webhook: it does not respond",
    ),
    (
        compile_lazily(r"RuntimeClass .* not found"),
        "RuntimeClass",
        "create the runtime class or choose another one: not found in the cluster",
    ),
)
"""Causes that may resolve on their own; they count once they have been seen _TRIES times."""
_LATE = compile_lazily(r"service ?account .*\"default\" not found|status unknown for quota")
"""Refusals while controllers still set up a new namespace; waited for.

That takes a moment, on a busy cluster many seconds. Wording: apiserver v0.34.2 ``plugin/pkg/admission/serviceaccount``,
``admission/plugin/resourcequota/controller.go``.
"""
_PREFIX = "Error creating: "

_ASKED = compile_lazily(r"([\w./,-]+) for: ([^;]+)")
_REQUESTED = compile_lazily(r"requested: ([^\s]+?),? used:")
_OPTIONS = frozenset(
    f"{kind}.{name}" for kind in ("requests", "limits") for name in ("cpu", "memory", "ephemeral-storage")
)


def diagnose_admission(case: PodCase) -> Verdict:
    """Return the verdict on a workload that has no pods, or fewer than it should have."""
    refusals = case.list_recent("FailedCreate")
    if refusals:
        message = str(refusals[-1].get("message", "")).removeprefix(_PREFIX)
        if _LATE.search(message):
            return case.make_waiting(f"its pod is still rejected: {message}")
        settled = count_events(refusals) >= _TRIES
        for cause, reason, fix in (*_CAUSES, *(_HEALING if settled else ())):
            if cause.search(message):
                return case.make_failure(reason, message, fix or _CURES[reason](message))
        if settled:
            return case.make_failure("FailedCreate", message, "the cluster rejects the pod")
        return case.make_waiting(f"its pod is still rejected: {message}")
    if case.job is not None:
        ended = find_condition(case.job, "Failed")
        if ended.get("status") == "True":
            return case.make_failure(str(ended.get("reason", "Failed")), str(ended.get("message", "")))
        if (case.job.get("spec") or {}).get("suspend"):
            return case.make_waiting("is suspended: a queue in the cluster holds it")
    return case.make_waiting("is waiting for its pods")


def _advise_quota(message: str) -> str:
    """Return the fix for a refusal by a quota: resources that it requires, or has too little of."""
    asked = _ASKED.findall(message.partition("must specify ")[2])
    if asked:
        return _advise_unset(asked)
    found = _REQUESTED.search(message)
    wanted = [_name_option(pair.partition("=")[0]) for pair in found[1].split(",")] if found else []
    raised = "raise the namespace's ResourceQuota"
    if options := [name for name in wanted if name in _OPTIONS]:
        names = ", ".join(options)
        return f"set smaller driver-opts {names}, or raise the namespace's ResourceQuota"
    if any(name in ("pods", "count/pods") or name.startswith("count/jobs") for name in wanted):
        return f"request fewer platforms or replicas, or {raised}"
    if any("storage" in name or "persistentvolumeclaims" in name for name in wanted):
        return f"set a smaller driver-opt persistent-volume-claim.requests.storage, or {raised}"
    return raised


def _advise_unset(asked: list[tuple[str, str]]) -> str:
    """Return the fix for a quota that requires resources to be set on certain containers."""
    own = [
        _name_option(name)
        for names, containers in asked
        if CONTAINER in containers.split(",")
        for name in names.split(",")
    ]
    if own:
        return f"set driver-opts {', '.join(dict.fromkeys(own))}: the namespace's ResourceQuota requires them"
    others = dict.fromkeys(name.strip() for _, containers in asked for name in containers.split(","))
    return f"set these resources of container {', '.join(others)} in driver-opt pod-template"


def _name_option(resource: str) -> str:
    """Return the driver-opt for a quota's resource: ``cpu`` is short for ``requests.cpu``."""
    short = {"cpu", "memory", "ephemeral-storage"}
    return f"requests.{resource}" if resource in short else resource


def _advise_pod_security(message: str) -> str:
    if "privileged (" in message:
        return (
            "BuildKit is privileged: label the namespace pod-security.kubernetes.io/enforce=privileged, or name another"
        )
    return (
        "rootless requires enforce=privileged, or enforce=baseline with driver-opts "
        "seccomp-profile=localhost/FILE and apparmor-profile=default"
    )


def _advise_limit_range(message: str) -> str:
    if "No limit is specified" in message:
        return "set driver-opts limits.*: the namespace's LimitRange requires them"
    if "No request is specified" in message:
        return "set driver-opts requests.*: the namespace's LimitRange requires them"
    return "set driver-opts requests.* and limits.* within the namespace's LimitRange"


_CURES = {"QuotaExceeded": _advise_quota, "PodSecurity": _advise_pod_security, "LimitRange": _advise_limit_range}
"""Functions that derive the fix from the message, by reason."""
