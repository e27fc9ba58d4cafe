"""What RBAC cannot express: admission policies, and the binding of a job's role to its own account.

RBAC knows names, not prefixes, and for ``create`` not even names. Policies are admissionregistration.k8s.io/v1
(Kubernetes 1.30 and later; expressions in CEL, k8s.io/apiserver v0.34.2 ``pkg/cel``): pure functions, rendered into
docs/rbac.

An account without rights in any other namespace binds the role itself. It may create namespaces and, there, bind one
ClusterRole to itself; the policy in docs/rbac/jobs.yaml restricts it to namespaces that are named as builders' and have
its own name as creator. A job learns that it has such an account from the policy's refusal of a namespace without that
name, so accounts with rights everywhere make no extra call.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TypeVar

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Manifest
from ci_buildx.builder.identity import EXPIRY_MARGIN, PREFIX
from ci_buildx.builder.rbac.rights import INSIDE, RBAC_GROUP
from ci_buildx.errors import Conflict, Forbidden
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.refusal import is_rbac_refusal

JOB_GROUPS = ("system:serviceaccounts:kube-builder", "kube-builder:jobs")
"""Groups restricted as jobs: service accounts of the namespace kube-builder, and users of an identity provider."""
_API = "admissionregistration.k8s.io/v1"

# By prefix, by manager, and by its own name as builder label: the conditions of reap's selection, too.
_IS_BUILDERS = (
    f"variables.name.startsWith('{PREFIX}')"
    f" && variables.marks[?'{labels.MANAGED_BY}'].orValue('') == '{labels.MANAGER}'"
    f" && variables.marks[?'{labels.BUILDER}'].orValue('') == variables.name"
)
_IS_SIGNED = f"variables.notes[?'{labels.CREATOR}'].orValue('') == request.userInfo.username"
_HAS_NO_OTHER_NOTES = (
    f"variables.notes.all(k, k.startsWith('{labels.DOMAIN}')"
    " || k == 'kubectl.kubernetes.io/last-applied-configuration')"
)
_MOST_MARKS = 32
_LONGEST_NOTE = 4096
# Sweeps and reapers list the namespaces of all builders: none must make that list too large to read.
_IS_SMALL = (
    f"variables.marks.size() <= {_MOST_MARKS} && variables.notes.size() <= {_MOST_MARKS}"
    f" && variables.notes.all(k, variables.notes[k].size() <= {_LONGEST_NOTE})"
)
_LONGEST_LIFE = 31 * 24
"""Hours of the longest lifetime: then the reaper removes what a stolen token has left running."""
_EXPIRES = f"variables.notes[?'{labels.EXPIRES}'].orValue('')"
_EXPIRES_SOON = (
    f"({_EXPIRES}.matches('^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}Z$')"
    f" && timestamp({_EXPIRES}) <= timestamp(variables.it.metadata.creationTimestamp)"
    f" + duration('{_LONGEST_LIFE * 3600 + EXPIRY_MARGIN}s'))"
)
_IS_DELETED = "request.operation == 'DELETE'"
# Other policies of a cluster select namespaces by label: a job must not choose which of them apply to it.
_HAS_NO_OTHER_LABELS = (
    f"variables.marks.all(k, k.startsWith('{labels.DOMAIN}') || k.startsWith('pod-security.kubernetes.io/')"
    f" || k in ['{labels.MANAGED_BY}', 'kubernetes.io/metadata.name'])"
)


def is_job() -> str:
    """Return the CEL condition that the user is an account of a job."""
    return _is_one_of(JOB_GROUPS)


def is_user(name: str) -> str:
    """Return the CEL condition that the user is ``name``."""
    return f"request.userInfo.username == {json.dumps(name, ensure_ascii=False)}"


def make_job_policies(a_job: str, suffix: str = "") -> list[Manifest]:
    """Return policies that restrict jobs to namespaces named, labelled and signed as their own.

    The right to work inside a namespace can be granted only there. ``a_job`` is the CEL condition for the restricted
    users; ``suffix`` distinguishes these policies from other accounts'.
    """
    namespaces = make_policy(
        f"kube-builder-jobs{suffix}",
        make_rule("namespaces", "CREATE", "DELETE"),
        conditions={"a-job": a_job},
        variables=_make_metadata_variables("request.operation == 'DELETE' ? oldObject : object"),
        validations=(
            (_IS_BUILDERS, f"a job may create and delete only namespaces named {PREFIX}… and labelled as a builder's"),
            (
                _IS_SIGNED,
                f"annotation {labels.CREATOR} must name the user who creates or deletes the namespace",
            ),
            # Distributions add labels and annotations of their own later, which must not keep a job from deleting it.
            (
                f"{_IS_DELETED} || {_HAS_NO_OTHER_LABELS}",
                "a job's namespace may have only labels of kube-builder and PodSecurity",
            ),
            (f"{_IS_DELETED} || {_HAS_NO_OTHER_NOTES}", "a job's namespace may have only annotations of kube-builder"),
            (
                f"{_IS_DELETED} || {_EXPIRES_SOON}",
                f"annotation {labels.EXPIRES} must be a time in the next {_LONGEST_LIFE // 24} days (--lifetime)",
            ),
            (
                f"{_IS_DELETED} || {_IS_SMALL}",
                (
                    f"a job's namespace may have at most {_MOST_MARKS} labels, and as many annotations of at most"
                    f" {_LONGEST_NOTE} characters"
                ),
            ),
        ),
    )
    bindings = make_policy(
        f"{INSIDE}{suffix}",
        make_rule("rolebindings", "CREATE", "UPDATE", group=RBAC_GROUP),
        # Applies to everyone who binds the role: an account that got it by mistake is restricted, too.
        conditions={"a-job-or-its-role": f"object.roleRef.name == '{INSIDE}' || {a_job}"},
        variables=_make_metadata_variables("namespaceObject"),
        validations=(
            (
                f"object.roleRef.kind == 'ClusterRole' && object.roleRef.name == '{INSIDE}'",
                f"a job may bind only {INSIDE}",
            ),
            (
                f"{_IS_BUILDERS} && {_IS_SIGNED}",
                f"{INSIDE} may be bound only in a builder's namespace, by the user who created it",
            ),
            (
                "object.?subjects.orValue([]).all(s, s.kind == 'User' && s.name == request.userInfo.username)",
                "a job may grant access only to itself",
            ),
        ),
    )
    return [*namespaces, *bindings]


def make_reaper_policy(user: str) -> list[Manifest]:
    """Return the policy that lets the reaper's ``user`` delete only builders' namespaces that have an expiry."""
    return make_policy(
        "kube-builder-reaper",
        make_rule("namespaces", "DELETE"),
        conditions={"the-reaper": is_user(user)},
        variables=_make_metadata_variables("oldObject"),
        validations=(
            (
                f"{_IS_BUILDERS} && '{labels.EXPIRES}' in variables.notes",
                "the reaper may delete only builders' namespaces",
            ),
        ),
    )


def make_policy(
    name: str,
    *rules: Manifest,
    variables: dict[str, str],
    validations: tuple[tuple[str, str], ...],
    conditions: dict[str, str] | None = None,
    selector: Manifest | None = None,
) -> list[Manifest]:
    """Return a policy that denies when in doubt, and its binding to the whole cluster."""
    chosen = {"namespaceSelector": selector} if selector else {}
    conditional = {"matchConditions": _make_variables(conditions)} if conditions else {}
    spec: Manifest = {
        "failurePolicy": "Fail",
        "matchConstraints": {**chosen, "resourceRules": list(rules)},
        **conditional,
        "variables": _make_variables(variables),
        "validations": [
            {"expression": expression, "message": message, "reason": "Forbidden"} for expression, message in validations
        ],
    }
    return [
        {"apiVersion": _API, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec},
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]


def make_rule(resources: str | tuple[str, ...], *operations: str, group: str = "") -> Manifest:
    """Return a rule that selects the requests to which a policy applies."""
    chosen = [resources] if isinstance(resources, str) else list(resources)
    return {"apiGroups": [group], "apiVersions": ["v1"], "resources": chosen, "operations": list(operations)}


def _make_variables(expressions: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "expression": expression} for name, expression in expressions.items()]


def _is_one_of(groups: tuple[str, ...]) -> str:
    return " || ".join(f"'{group}' in request.userInfo.groups" for group in groups)


def _make_metadata_variables(namespace: str) -> dict[str, str]:
    """Return CEL variables for the name, labels and annotations of ``namespace``."""
    return {
        "it": namespace,
        "name": "variables.it.metadata.name",
        "marks": "variables.it.metadata.?labels.orValue({})",
        "notes": "variables.it.metadata.?annotations.orValue({})",
    }


T = TypeVar("T")

_PATIENCE = 10.0
"""Seconds until every API server knows a new binding; each learns of it by its own watch."""
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


def is_asked_to_sign(refusal: Forbidden) -> bool:
    """Return whether a namespace was refused because it does not name its creator."""
    return labels.CREATOR in refusal.message


def add_creator(kube: KubeClient, namespace: Manifest) -> Manifest:
    """Return ``namespace`` with the name of the user of ``kube`` as its creator. Raises KubeError."""
    metadata = namespace["metadata"]
    notes = {**metadata["annotations"], labels.CREATOR: ask_user_name(kube)}
    return {**namespace, "metadata": {**metadata, "annotations": notes}}


def ask_user_name(kube: KubeClient) -> str:
    """Return the user's name as the API server knows it (authentication.k8s.io/v1, Kubernetes 1.28).

    Raises KubeError.
    """
    api = "authentication.k8s.io/v1"
    answer = kube.create(f"/apis/{api}/selfsubjectreviews", {"apiVersion": api, "kind": "SelfSubjectReview"})
    return str(((answer.get("status") or {}).get("userInfo") or {}).get("username", ""))


def bind_own_role(kube: KubeClient, namespace: Manifest) -> None:
    """Bind a job's role to the user who signed ``namespace``. Raises KubeError."""
    metadata = namespace["metadata"]
    binding = {
        "apiVersion": f"{RBAC_GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": INSIDE, "labels": metadata["labels"]},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": INSIDE},
        "subjects": [{"apiGroup": RBAC_GROUP, "kind": "User", "name": labels.read_creator(namespace)}],
    }
    try:
        kube.create(f"/apis/{RBAC_GROUP}/v1/namespaces/{metadata['name']}/rolebindings", binding)
    except Conflict:
        return


def retry_while_forbidden(act: Callable[[], T]) -> T:
    """Repeat ``act`` while it is forbidden, until a new binding must have arrived. Raises KubeError."""
    deadline = time.monotonic() + _PATIENCE
    pause = _FIRST_PAUSE
    while True:
        try:
            return act()
        except Forbidden as failure:
            if not is_rbac_refusal(failure) or time.monotonic() >= deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
