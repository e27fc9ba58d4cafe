"""Kubernetes objects of a job's builder: pure functions of names, plan and settings."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence

from ci_buildx.builder import labels
from ci_buildx.builder.builder import CA_FILE, CLIENT_CERTIFICATE_FILE, CLIENT_KEY_FILE, PORT, Manifest
from ci_buildx.builder.manifests import buildkitd, podspec, registries
from ci_buildx.builder.manifests.certificates import Certificates
from ci_buildx.builder.manifests.draft import OF_JOB, BuilderSpec
from ci_buildx.builder.plan import NodePlan
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import LoadBalance, NetworkIsolation

LOGIN_FILE = ".dockerconfigjson"
"""Key in a Secret for image pulls (k8s.io/api v0.34.2, ``core/v1/types.go``, DockerConfigJsonKey)."""

_KEPT_AFTER_END = 600
"""Seconds for which a Job that has ended can still be inspected."""


def make_namespace(draft: BuilderSpec) -> Manifest:
    """Return the builder's own namespace.

    Its PodSecurity level admits BuildKit, whatever the cluster's default is, and nothing more.
    """
    level = buildkitd.choose_pod_security(draft.settings)
    levels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}
    metadata = _make_metadata(draft, draft.location.namespace, extra_labels=levels)
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def make_job(draft: BuilderSpec, node: NodePlan) -> Manifest:
    """Return a node's Job; the cluster ends it after ``lifetime`` and later deletes it with all that it owns."""
    spec = {
        "parallelism": node.replicas,
        "completions": node.replicas,
        "activeDeadlineSeconds": draft.settings.lifetime,
        "ttlSecondsAfterFinished": _KEPT_AFTER_END,
        **_make_failure_limits(node, draft.replacements),
        "template": podspec.make_pod_template(draft, node, OF_JOB),
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": make_workload_metadata(draft, node), "spec": spec}


def make_workload_metadata(draft: BuilderSpec, node: NodePlan) -> Manifest:
    """Return a workload's metadata: the user's labels and annotations, and those to find and read it by."""
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
    """Return the annotations of a node's Job from which its plan is read back."""
    notes = {
        labels.PLATFORMS: ",".join(map(str, node.platforms)),
        labels.EMULATED: ",".join(map(str, node.emulated)),
        labels.LOADBALANCE: "" if node.loadbalance is LoadBalance.STICKY else node.loadbalance.value,
        labels.MAX_BUILDS: str(node.max_builds) if node.max_builds else "",
        labels.REASON: node.reason,
    }
    return {key: value for key, value in notes.items() if value}


def make_job_secret(draft: BuilderSpec, certificates: Certificates, owners: Sequence[Mapping[str, str]]) -> Manifest:
    """Return one Secret with both sides' keys, so that they exist together or not at all.

    The pods mount only the server's files. ``owners`` are the Jobs: the keys are deleted with the last of them.
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
    """Return the ConfigMap for buildkitd: the user's buildkitd.toml and what the options add."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _make_metadata(draft, draft.location.make_object_name("config"), owners=owners),
        "immutable": True,
        "data": buildkitd.make_files(draft.settings),
    }


def make_job_pull_secret(draft: BuilderSpec, login: Secret, owners: Sequence[Mapping[str, str]]) -> Manifest:
    """Return the Secret for pulling the builder's images; ``login`` is a docker configuration."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _make_metadata(draft, draft.location.make_object_name(podspec.PULL), owners=owners),
        "type": "kubernetes.io/dockerconfigjson",
        "immutable": True,
        "data": {LOGIN_FILE: base64.b64encode(login.reveal()).decode()},
    }


def make_network_policy(
    draft: BuilderSpec, isolation: NetworkIsolation, owners: Sequence[Mapping[str, str]]
) -> Manifest:
    """Return a NetworkPolicy that admits only mTLS to the pods, from labelled runners if there are any.

    The kubelet's connections (probes, tunnels) do not count as network traffic.
    """
    runners = {"podSelector": {"matchLabels": dict(isolation.runners)}, "namespaceSelector": {}}
    rule: Manifest = {"ports": [{"port": PORT, "protocol": "TCP"}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _make_metadata(draft, draft.location.make_object_name("network"), owners=owners),
        "spec": {
            "podSelector": {"matchLabels": {labels.BUILDER: draft.identity.name}},
            "policyTypes": ["Ingress"],
            "ingress": [{**rule, "from": [runners]} if isolation.runners else rule],
        },
    }


def make_owned_objects(
    draft: BuilderSpec, owners: Sequence[Mapping[str, str]], *, certificates: Certificates, pull_login: Secret | None
) -> Iterator[tuple[str, Manifest]]:
    """Yield the objects that the Jobs own with the API path of their collection, in the order of creation.

    The Secret with the keys is the last.
    """
    location, secrets = draft.location, draft.location.make_core_path("secrets")
    if pull_login is not None:
        yield secrets, make_job_pull_secret(draft, pull_login, owners)
    if draft.settings.network is not None:
        yield location.policies_path, make_network_policy(draft, draft.settings.network, owners)
    if buildkitd.make_files(draft.settings):
        yield location.make_core_path("configmaps"), make_job_config_map(draft, owners)
    yield secrets, make_job_secret(draft, certificates, owners)


def make_job_owner_reference(created_job: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return an owner reference to a Job as returned by the API server."""
    metadata = created_job["metadata"]
    return {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}


def _make_failure_limits(node: NodePlan, replacements: int) -> Manifest:
    """Return limits on the pods that replace lost ones: builds that are not repeated have no use for them.

    Of several pods, one that fails must not end the others. A pod whose cluster node does not answer stays terminating
    without an end, so it is replaced before it has failed.
    """
    policy = {"podReplacementPolicy": "TerminatingOrFailed" if replacements else "Failed"}
    if node.replicas == 1:
        return {**policy, "backoffLimit": replacements}
    return {**policy, "completionMode": "Indexed", "backoffLimitPerIndex": replacements}


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
