"""A Job whose pods are refused before they exist: its FailedCreate events say why.

Wording: apiserver v0.34.2 ``admission/plugin/resourcequota/controller.go``, ``admission/plugin/webhook/errors``,
``admission/plugin/policy/validating``; pod-security-admission v0.34.2 ``admission/admission.go``.
"""

from __future__ import annotations

from ci_buildx.builder.pods import condition
from ci_buildx.builder.verdict import Case, Verdict, times_seen
from ci_buildx.model.pattern import pattern

_TRIES = 3
"""Refusals without a known cause after which nothing is waited for: the Job controller tries again ever later."""

_CAUSES = (
    (
        pattern(r"exceeded quota|failed quota"),
        "QuotaExceeded",
        "set smaller driver-opts requests.* and limits.*, or have the namespace's ResourceQuota raised",
    ),
    (
        pattern(r"violates PodSecurity"),
        "PodSecurity",
        "BuildKit is privileged: label the namespace pod-security.kubernetes.io/enforce=privileged, or name another",
    ),
    (
        pattern(r"admission webhook .* denied"),
        "AdmissionWebhook",
        "the cluster's policy refuses the pod: ask who runs that webhook",
    ),
    (
        # The namespace controllers make the account "default" a moment after the namespace.
        pattern(r"service ?account .*\"(?!default\")[^\"]+\" not found"),
        "ServiceAccount",
        "the namespace has no such account: check driver-opt serviceaccount",
    ),
    (
        pattern(r"ValidatingAdmissionPolicy .* denied"),
        "AdmissionPolicy",
        "the cluster's policy refuses the pod: ask who runs that policy",
    ),
    (
        pattern(r"(?:maximum|minimum) .* usage per|must be less than or equal to cpu limit"),
        "LimitRange",
        "set driver-opts requests.* and limits.* within the namespace's LimitRange",
    ),
    (
        pattern(r"because it is being terminated"),
        "NamespaceTerminating",
        "somebody deletes the namespace",
    ),
    (pattern(r"no PriorityClass with name"), "PriorityClass", "the cluster has no such priority class"),
)
_HEALING = (
    (
        pattern(r"failed calling webhook"),
        "AdmissionWebhook",
        "the webhook does not answer: ask who runs it",
    ),
    (
        pattern(r"RuntimeClass .* not found"),
        "RuntimeClass",
        "the cluster has no such runtime class",
    ),
)
"""Causes that may heal by themselves: they count when they have been seen _TRIES times."""
_PREFIX = "Error creating: "


def judge(case: Case) -> Verdict:
    """The verdict on a Job without pods."""
    refusals = case.recent("FailedCreate")
    if refusals:
        message = str(refusals[-1].get("message", "")).removeprefix(_PREFIX)
        settled = times_seen(refusals) >= _TRIES
        for cause, reason, fix in (*_CAUSES, *(_HEALING if settled else ())):
            if cause.search(message):
                return case.failed(reason, message, fix)
        if settled:
            return case.failed("FailedCreate", message, "the cluster refuses the pod")
        return case.waiting(f"its pod is refused so far: {message}")
    if case.job is not None:
        ended = condition(case.job, "Failed")
        if ended.get("status") == "True":
            return case.failed(str(ended.get("reason", "Failed")), str(ended.get("message", "")))
        if (case.job.get("spec") or {}).get("suspend"):
            return case.waiting("is suspended: a queue in the cluster holds it")
    return case.waiting("waits for its pods to be made")
