"""The Kubernetes objects of a builder: pure functions from names, plan and settings."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from ci_buildx.builder import labels
from ci_buildx.builder.builder import CA_FILE, CLIENT_CERTIFICATE_FILE, CLIENT_KEY_FILE, PORT, Manifest
from ci_buildx.builder.manifests import buildkitd, podspec, registries
from ci_buildx.builder.manifests.certificates import Certificates
from ci_buildx.builder.manifests.draft import OF_JOB, BuilderSpec
from ci_buildx.builder.plan import NodePlan
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import LoadBalance, NetworkIsolation

LOGIN_FILE = ".dockerconfigjson"
"""The key of a Secret that images are pulled with (k8s.io/api v0.34.2, ``core/v1/types.go``, DockerConfigJsonKey)."""

_KEPT_AFTER_END = 600
"""Seconds for which a Job that has ended can still be looked at."""


def make_namespace(draft: BuilderSpec) -> Manifest:
    """The builder's own namespace. PodSecurity must let BuildKit in, whatever the default is, and nothing more."""
    level = buildkitd.choose_pod_security(draft.settings)
    levels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}
    metadata = _make_metadata(draft, draft.location.namespace, extra_labels=levels)
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def make_job(draft: BuilderSpec, node: NodePlan) -> Manifest:
    """A node's workload. The cluster itself ends it after ``lifetime`` and removes it and all it owns later."""
    spec = {
        "parallelism": node.replicas,
        "completions": node.replicas,
        "activeDeadlineSeconds": draft.settings.lifetime,
        "ttlSecondsAfterFinished": _KEPT_AFTER_END,
        "podReplacementPolicy": "Failed",
        **_make_failure_limits(node),
        "template": podspec.make_pod_template(draft, node, OF_JOB),
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": make_workload_metadata(draft, node), "spec": spec}


def make_workload_metadata(draft: BuilderSpec, node: NodePlan) -> Manifest:
    """Name, labels and annotations of a node's workload: the user's, and those that it is found and read by."""
    name, owners = draft.location.make_object_name(node.name), [draft.runner] if draft.runner else []
    metadata = _make_metadata(draft, name, extra_labels={labels.NODE: node.name}, owners=owners)
    metadata["labels"] = {**dict(draft.settings.labels), **metadata["labels"]}
    metadata["annotations"] = {
        **dict(draft.settings.annotations),
        **metadata["annotations"],
        **make_node_annotations(node),
    }
    if draft.settings.default_load:
        metadata["annotations"][labels.DEFAULT_LOAD] = "true"
    return metadata


def make_node_annotations(node: NodePlan) -> dict[str, str]:
    """The annotations of a node's Job from which its plan is read again."""
    notes = {
        labels.PLATFORMS: ",".join(map(str, node.platforms)),
        labels.EMULATED: ",".join(map(str, node.emulated)),
        labels.LOADBALANCE: "" if node.loadbalance is LoadBalance.STICKY else node.loadbalance.value,
        labels.REASON: node.reason,
    }
    return {key: value for key, value in notes.items() if value}


def make_job_secret(draft: BuilderSpec, certificates: Certificates, owners: Sequence[Mapping[str, str]]) -> Manifest:
    """Both sides' keys in one object, so that they are there together or not at all.

    The pods mount the server's files only. ``owners`` are the Jobs: the keys go when the last of them goes.
    """
    files = {
        CA_FILE: certificates.ca,
        buildkitd.CERTIFICATE_FILE: certificates.server.certificate,
        buildkitd.KEY_FILE: certificates.server.key.reveal(),
        CLIENT_CERTIFICATE_FILE: certificates.client.certificate,
        CLIENT_KEY_FILE: certificates.client.key.reveal(),
        **buildkitd.make_proxy_files(draft),
        **{name: content.reveal() for name, content in registries.list_keys(draft.settings).items()},
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _make_metadata(draft, draft.location.make_object_name("keys"), owners=owners),
        "type": "Opaque",
        "immutable": True,
        "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }


def make_job_config_map(draft: BuilderSpec, owners: Sequence[Mapping[str, str]]) -> Manifest:
    """What configures buildkitd: the user's buildkitd.toml and what the options add."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _make_metadata(draft, draft.location.make_object_name("config"), owners=owners),
        "immutable": True,
        "data": buildkitd.make_files(draft.settings),
    }


def make_job_pull_secret(draft: BuilderSpec, login: Secret, owners: Sequence[Mapping[str, str]]) -> Manifest:
    """What the nodes pull the builder's images with; ``login`` is a docker configuration."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _make_metadata(draft, draft.location.make_object_name(podspec.PULL), owners=owners),
        "type": "kubernetes.io/dockerconfigjson",
        "immutable": True,
        "data": {LOGIN_FILE: base64.b64encode(login.reveal()).decode()},
    }


def make_network_policy(draft: BuilderSpec, fence: NetworkIsolation, owners: Sequence[Mapping[str, str]]) -> Manifest:
    """Lets nothing into the pods but mTLS. What the kubelet brings (probes, tunnels) is no traffic of the network's."""
    runners = {"podSelector": {"matchLabels": dict(fence.runners)}, "namespaceSelector": {}}
    rule: Manifest = {"ports": [{"port": PORT, "protocol": "TCP"}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _make_metadata(draft, draft.location.make_object_name("fence"), owners=owners),
        "spec": {
            "podSelector": {"matchLabels": {labels.BUILDER: draft.identity.name}},
            "policyTypes": ["Ingress"],
            "ingress": [{**rule, "from": [runners]} if fence.runners else rule],
        },
    }


def make_job_owner_reference(created_job: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The reference by which an object belongs to a Job that the API server has answered with."""
    metadata = created_job["metadata"]
    return {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}


def _make_failure_limits(node: NodePlan) -> Manifest:
    """No pod is started anew: its state is lost. Of several, one that fails must not take the others along."""
    if node.replicas == 1:
        return {"backoffLimit": 0}
    return {"completionMode": "Indexed", "backoffLimitPerIndex": 0}


def _make_metadata(
    draft: BuilderSpec,
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
