"""The Kubernetes objects of a builder: pure functions from names, plan and settings."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from ci_buildx.builder import labels, podspec
from ci_buildx.builder.builder import (
    CA_FILE,
    CLIENT_CERTIFICATE_FILE,
    CLIENT_KEY_FILE,
    CONFIG_FILE,
    Location,
    Manifest,
)
from ci_buildx.builder.certificates import Certificates
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.builder.plan import NodePlan
from ci_buildx.model.record import dataclass
from ci_buildx.settings.values import BuilderSettings

_KEPT_AFTER_END = 600
"""Seconds for which a Job that has ended can still be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What all objects of a builder are made from.

    ``expires`` is RFC 3339. ``runner`` is the pod that the Jobs go with, where one owns them.
    """

    identity: JobIdentity
    location: Location
    settings: BuilderSettings
    expires: str
    runner: Mapping[str, str] | None = None


def namespace(draft: Draft) -> Manifest:
    """The builder's own namespace. BuildKit is privileged: PodSecurity must let it in, whatever the default is."""
    levels = {f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "audit", "warn")}
    metadata = _metadata(draft, draft.location.namespace, extra_labels=levels)
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def job(draft: Draft, node: NodePlan) -> Manifest:
    """A node's workload. The cluster itself ends it after ``lifetime`` and removes it and all it owns later."""
    marks = {**draft.identity.labels, labels.NODE: node.name}
    template = {
        "metadata": {
            "labels": marks,
            "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
        },
        "spec": podspec.pod_spec(draft.location, node, draft.settings),
    }
    spec = {
        "parallelism": node.replicas,
        "completions": node.replicas,
        "activeDeadlineSeconds": draft.settings.lifetime,
        "ttlSecondsAfterFinished": _KEPT_AFTER_END,
        "podReplacementPolicy": "Failed",
        **_failure_limits(node),
        "template": template,
    }
    name, owners = draft.location.object_name(node.name), [draft.runner] if draft.runner else []
    metadata = _metadata(draft, name, extra_labels={labels.NODE: node.name}, owners=owners)
    notes = {
        labels.PLATFORMS: ",".join(map(str, node.platforms)),
        labels.EMULATED: ",".join(map(str, node.emulated)),
        labels.REASON: node.reason,
    }
    metadata["annotations"] |= {key: value for key, value in notes.items() if value}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def node_notes(node: NodePlan) -> dict[str, str]:
    """The annotations of a node's Job from which its plan is read again."""
    return {
        labels.PLATFORMS: ",".join(map(str, node.platforms)),
        labels.EMULATED: ",".join(map(str, node.emulated)),
        labels.REASON: node.reason,
    }


def secret(draft: Draft, certificates: Certificates, owners: Sequence[Mapping[str, str]]) -> Manifest:
    """Both sides' keys in one object, so that they are there together or not at all.

    The pods mount the server's files only. ``owners`` are the Jobs: the keys go when the last of them goes.
    """
    files = {
        CA_FILE: certificates.ca,
        podspec.CERTIFICATE_FILE: certificates.server.certificate,
        podspec.KEY_FILE: certificates.server.key.reveal(),
        CLIENT_CERTIFICATE_FILE: certificates.client.certificate,
        CLIENT_KEY_FILE: certificates.client.key.reveal(),
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
    """The user's buildkitd.toml."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(draft, draft.location.object_name("config"), owners=owners),
        "immutable": True,
        "data": {CONFIG_FILE: draft.settings.buildkitd_config},
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
