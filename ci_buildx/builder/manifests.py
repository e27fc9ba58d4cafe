"""The Kubernetes objects of a builder: pure functions from names, plan and settings."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from ci_buildx.builder import confinement, daemon, labels, podspec, registries
from ci_buildx.builder.builder import CA_FILE, CLIENT_CERTIFICATE_FILE, CLIENT_KEY_FILE, PORT, Manifest
from ci_buildx.builder.certificates import Certificates
from ci_buildx.builder.draft import OF_JOB, Draft
from ci_buildx.builder.plan import NodePlan
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import LoadBalance, NetworkFence

LOGIN_FILE = ".dockerconfigjson"
"""The key of a Secret that images are pulled with (k8s.io/api v0.34.2, ``core/v1/types.go``, DockerConfigJsonKey)."""

_KEPT_AFTER_END = 600
"""Seconds for which a Job that has ended can still be looked at."""


def namespace(draft: Draft) -> Manifest:
    """The builder's own namespace. PodSecurity must let BuildKit in, whatever the default is, and nothing more."""
    level = confinement.pod_security(draft.settings)
    levels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}
    metadata = _metadata(draft, draft.location.namespace, extra_labels=levels)
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def job(draft: Draft, node: NodePlan) -> Manifest:
    """A node's workload. The cluster itself ends it after ``lifetime`` and removes it and all it owns later."""
    spec = {
        "parallelism": node.replicas,
        "completions": node.replicas,
        "activeDeadlineSeconds": draft.settings.lifetime,
        "ttlSecondsAfterFinished": _KEPT_AFTER_END,
        "podReplacementPolicy": "Failed",
        **_failure_limits(node),
        "template": podspec.template(draft, node, OF_JOB),
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": workload_metadata(draft, node), "spec": spec}


def workload_metadata(draft: Draft, node: NodePlan) -> Manifest:
    """Name, labels and annotations of a node's workload: the user's, and those that it is found and read by."""
    name, owners = draft.location.object_name(node.name), [draft.runner] if draft.runner else []
    metadata = _metadata(draft, name, extra_labels={labels.NODE: node.name}, owners=owners)
    metadata["labels"] = {**dict(draft.settings.labels), **metadata["labels"]}
    metadata["annotations"] = {**dict(draft.settings.annotations), **metadata["annotations"], **node_notes(node)}
    if draft.settings.default_load:
        metadata["annotations"][labels.DEFAULT_LOAD] = "true"
    return metadata


def node_notes(node: NodePlan) -> dict[str, str]:
    """The annotations of a node's Job from which its plan is read again."""
    notes = {
        labels.PLATFORMS: ",".join(map(str, node.platforms)),
        labels.EMULATED: ",".join(map(str, node.emulated)),
        labels.LOADBALANCE: "" if node.loadbalance is LoadBalance.STICKY else node.loadbalance.value,
        labels.REASON: node.reason,
    }
    return {key: value for key, value in notes.items() if value}


def secret(draft: Draft, certificates: Certificates, owners: Sequence[Mapping[str, str]]) -> Manifest:
    """Both sides' keys in one object, so that they are there together or not at all.

    The pods mount the server's files only. ``owners`` are the Jobs: the keys go when the last of them goes.
    """
    files = {
        CA_FILE: certificates.ca,
        daemon.CERTIFICATE_FILE: certificates.server.certificate,
        daemon.KEY_FILE: certificates.server.key.reveal(),
        CLIENT_CERTIFICATE_FILE: certificates.client.certificate,
        CLIENT_KEY_FILE: certificates.client.key.reveal(),
        **daemon.proxy_files(draft),
        **{name: content.reveal() for name, content in registries.keys(draft.settings).items()},
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(draft, draft.location.object_name("keys"), owners=owners),
        "type": "Opaque",
        "immutable": True,
        "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }


def config_map(draft: Draft, owners: Sequence[Mapping[str, str]]) -> Manifest:
    """What configures buildkitd: the user's buildkitd.toml and what the options add."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(draft, draft.location.object_name("config"), owners=owners),
        "immutable": True,
        "data": daemon.files(draft.settings),
    }


def pull_secret(draft: Draft, login: Secret, owners: Sequence[Mapping[str, str]]) -> Manifest:
    """What the nodes pull the builder's images with; ``login`` is a docker configuration."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(draft, draft.location.object_name(podspec.PULL), owners=owners),
        "type": "kubernetes.io/dockerconfigjson",
        "immutable": True,
        "data": {LOGIN_FILE: base64.b64encode(login.reveal()).decode()},
    }


def network_policy(draft: Draft, fence: NetworkFence, owners: Sequence[Mapping[str, str]]) -> Manifest:
    """Lets nothing into the pods but mTLS. What the kubelet brings (probes, tunnels) is no traffic of the network's."""
    runners = {"podSelector": {"matchLabels": dict(fence.runners)}, "namespaceSelector": {}}
    rule: Manifest = {"ports": [{"port": PORT, "protocol": "TCP"}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(draft, draft.location.object_name("fence"), owners=owners),
        "spec": {
            "podSelector": {"matchLabels": {labels.BUILDER: draft.identity.name}},
            "policyTypes": ["Ingress"],
            "ingress": [{**rule, "from": [runners]} if fence.runners else rule],
        },
    }


def owner(created_job: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The reference by which an object belongs to a Job that the API server has answered with."""
    metadata = created_job["metadata"]
    return {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}


def _failure_limits(node: NodePlan) -> Manifest:
    """No pod is started anew: its state is lost. Of several, one that fails must not take the others along."""
    if node.replicas == 1:
        return {"backoffLimit": 0}
    return {"completionMode": "Indexed", "backoffLimitPerIndex": 0}


def _metadata(
    draft: Draft,
    name: str,
    *,
    extra_labels: Mapping[str, str] | None = None,
    owners: Sequence[Mapping[str, str]] = (),
) -> Manifest:
    metadata: Manifest = {
        "name": name,
        "labels": {**draft.identity.labels, **(extra_labels or {})},
        "annotations": {**draft.identity.annotations, labels.EXPIRES: draft.expires},
    }
    if owners:
        metadata["ownerReferences"] = [dict(reference) for reference in owners]
    return metadata
