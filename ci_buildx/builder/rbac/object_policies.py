"""Admission policies for the objects of kube-builder's accounts: their metadata, Secrets and NetworkPolicies.

Finalizers, owners, labels and annotations count as access here: other software acts on them.
"""

from __future__ import annotations

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Manifest
from ci_buildx.builder.rbac import admission_policies
from ci_buildx.builder.rbac.rights import RBAC_GROUP

OBJECTS = "kube-builder-objects"
WORKLOADS = (
    ("", ("pods", "pods/ephemeralcontainers", "podtemplates", "replicationcontrollers")),
    ("apps", ("deployments", "statefulsets", "daemonsets", "replicasets")),
    ("batch", ("jobs", "cronjobs")),
)
_FENCES = ("networking.k8s.io", ("networkpolicies",))
_OBJECTS = (
    *WORKLOADS,
    ("", ("namespaces", "secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts", "services")),
    ("coordination.k8s.io", ("leases",)),
    _FENCES,
    (RBAC_GROUP, ("rolebindings", "roles")),
)
_OWNERS = ("Deployment", "Job", "Pod", "Secret", "StatefulSet")
_FINALIZERS = ("foregroundDeletion", "orphan")
"""Finalizers that deletion with an option sets, and that the garbage collector removes from every kind of object."""
_CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
"""Finalizer that the cluster removes from PersistentVolumeClaims, and from nothing else."""
_PLAIN_KINDS = ("ConfigMap", "Lease", "NetworkPolicy", "PersistentVolumeClaim", "Secret")
"""Kinds whose labels and annotations are kube-builder's only.

Users label and annotate workloads and pods. Other software copies Secrets and ConfigMaps into other namespaces, or
loads them as its configuration, if they have its labels or annotations.
"""
IS_OWN_MARK = (
    f"(k.startsWith('{labels.DOMAIN}')"
    f" || k in ['{labels.MANAGED_BY}', 'kubectl.kubernetes.io/last-applied-configuration'])"
)


def make_object_policies(name: str, condition: str) -> list[Manifest]:
    """Return the policies on metadata, Secrets and NetworkPolicies of the users of ``condition`` (CEL)."""
    return admission_policies.make_policy(
        name,
        *(admission_policies.make_rule(resources, "CREATE", "UPDATE", group=group) for group, resources in _OBJECTS),
        admission_policies.make_rule(_FENCES[1], "DELETE", group=_FENCES[0]),
        conditions={"a-job": condition},
        variables={
            # Untyped, because no kind has all of these fields. A deletion has no new object, a creation no old one.
            **{
                name: f"{which} == null ? dyn({{'kind': dyn(''), 'metadata': dyn({{}})}}) : dyn({which})"
                for name, which in (("made", "object"), ("was", "oldObject"))
            },
            "templates": "[variables.made.?spec.template, variables.made.?spec.jobTemplate,"
            " variables.made.?spec.jobTemplate.spec.template, variables.made.?template]",
            "claims": "variables.made.?spec.volumeClaimTemplates.orValue([])",
            "before": "variables.was.metadata.?finalizers.orValue([])",
        },
        validations=(*_make_finalizer_rules(), *_make_metadata_rules(), *_make_fence_rules()),
    )


def _make_finalizer_rules() -> tuple[tuple[str, str], ...]:
    return (
        (
            (
                f"variables.made.metadata.?finalizers.orValue([]).all(f, f in {format_list(_FINALIZERS)}"
                f" || f == '{_CLAIM_FINALIZER}' && variables.made.kind == 'PersistentVolumeClaim'"
                " || f in variables.before)"
                " && variables.templates.all(t, t.metadata.finalizers.orValue([]).size() == 0)"
                " && variables.claims.all(t, t.?metadata.finalizers.orValue([]).size() == 0)"
                " && (variables.made.kind != 'Namespace'"
                " || variables.made.?spec.finalizers.orValue([]).all(f, f == 'kubernetes'))"
            ),
            "objects of builders must not have finalizers: nothing would remove them",
        ),
    )


def _make_metadata_rules() -> tuple[tuple[str, str], ...]:
    own = " && ".join(
        f"variables.made.metadata.?{field}.orValue({{}}).all(k, {IS_OWN_MARK}"
        f" || variables.was.metadata.?{field}[?k] == optional.of(variables.made.metadata.{field}[k]))"
        for field in ("labels", "annotations")
    )
    claims = " && ".join(
        f"variables.claims.all(t, t.?metadata.{field}.orValue({{}}).all(k, {IS_OWN_MARK}))"
        for field in ("labels", "annotations")
    )
    return (
        (
            # A Deployment's pods belong to its ReplicaSet; an elastic builder annotates the idle ones.
            (
                f"variables.made.metadata.?ownerReferences.orValue([]).all(o, o.kind in {format_list(_OWNERS)}"
                " || variables.was.metadata.?ownerReferences.orValue([]).exists(p, p.uid == o.uid))"
            ),
            f"owners of builders' objects must be of these kinds: {', '.join(_OWNERS)}",
        ),
        (
            (
                "variables.made.kind != 'Secret' || !(variables.made.?type.orValue('')"
                " in ['kubernetes.io/service-account-token', 'bootstrap.kubernetes.io/token'])"
            ),
            "Secrets of builders must not be tokens of service accounts or bootstrap tokens",
        ),
        (
            f"(!(variables.made.kind in {format_list(_PLAIN_KINDS)}) || {own}) && {claims}",
            "objects of builders, except workloads, may have only labels and annotations of kube-builder",
        ),
    )


def _make_fence_rules() -> tuple[tuple[str, str], ...]:
    """Return the rules on NetworkPolicies: they add up, so one that admits everything opens a closed namespace."""
    return (
        (
            (
                "variables.was.kind != 'NetworkPolicy'"
                f" || variables.was.metadata.?labels[?'{labels.MANAGED_BY}'].orValue('') == '{labels.MANAGER}'"
            ),
            "only NetworkPolicies of builders may be changed or deleted",
        ),
        (
            (
                "variables.made.kind != 'NetworkPolicy' || variables.made.spec.policyTypes == ['Ingress']"
                " && variables.made.spec.?egress.orValue([]).size() == 0"
                f" && '{labels.BUILDER}' in variables.made.spec.podSelector.?matchLabels.orValue({{}})"
            ),
            "NetworkPolicies of builders must restrict only ingress to builders' pods",
        ),
    )


def format_list(words: tuple[str, ...]) -> str:
    """Return ``words`` as a list in CEL."""
    return "[" + ", ".join(f"'{word}'" for word in words) + "]"
