"""Kubernetes objects of a lasting builder: pure functions, like those of a job's builder.

A node is a Deployment, or a StatefulSet if it claims a volume, with the node's own name, as Docker documents its
kubernetes driver (buildx 0.38.2, ``driver/kubernetes/manifest``). Everything is owned by the builder's Secret: the
cluster deletes what is left when the Secret is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ci_buildx.builder import labels
from ci_buildx.builder.builder import BuilderLocation, Manifest, Workload
from ci_buildx.builder.manifests import objects, podspec
from ci_buildx.builder.manifests.certificates import Certificates
from ci_buildx.builder.manifests.draft import OF_DEPLOYMENT, OF_STATEFUL_SET, BuilderSpec
from ci_buildx.builder.plan import NodePlan
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings, LoadBalance, Reclaim


def choose_kind(settings: BuilderSettings) -> Workload:
    """Return the kind of workload that runs a node's pods."""
    return Workload.STATEFUL_SET if settings.storage.claimed else Workload.DEPLOYMENT


def make_labels(location: BuilderLocation, node: str = "") -> dict[str, str]:
    """Return the labels of all objects of a builder, or of one of its nodes."""
    found = {
        labels.MANAGED_BY: labels.MANAGER,
        labels.BUILDER: location.name,
        labels.LIFETIME: location.lifetime.value,
    }
    return found | ({labels.NODE: node} if node else {})


def make_secret(draft: BuilderSpec, certificates: Certificates, expires: str) -> Manifest:
    """Return the Secret with the builder's record and keys, valid until ``expires`` (RFC 3339)."""
    made = objects.make_job_secret(draft, certificates, ())
    made["metadata"]["annotations"] = {**draft.identity.annotations, labels.CERTIFICATES_EXPIRE: expires}
    # Mutable, because keys are renewed in place: a second Secret of that name could belong to someone else.
    return {key: value for key, value in made.items() if key != "immutable"}


def make_workload(draft: BuilderSpec, node: NodePlan, given: Mapping[str, str], owner: Mapping[str, str]) -> Manifest:
    """Return the Deployment or StatefulSet of a node; ``given`` are the driver options as the user wrote them."""
    stateful = choose_kind(draft.settings) is Workload.STATEFUL_SET
    selected = make_labels(draft.location, node.name)
    metadata = {
        "name": node.name,
        "labels": {**dict(draft.settings.labels), **selected},
        "annotations": {**dict(draft.settings.annotations), **make_annotations(node, draft.settings, given)},
        "ownerReferences": [dict(owner)],
    }
    spec: Manifest = {
        "replicas": node.replicas,
        "selector": {"matchLabels": selected},
        "template": make_template(draft, node),
    }
    if stateful:
        spec |= _make_claim_templates(draft, node)
    else:
        spec["progressDeadlineSeconds"] = max(1, round(draft.settings.timeout))
    name = "StatefulSet" if stateful else "Deployment"
    return {"apiVersion": "apps/v1", "kind": name, "metadata": metadata, "spec": spec}


def make_template(draft: BuilderSpec, node: NodePlan) -> Manifest:
    """Return the pod template of a node."""
    tenure = OF_STATEFUL_SET if choose_kind(draft.settings) is Workload.STATEFUL_SET else OF_DEPLOYMENT
    return podspec.make_pod_template(draft, node, tenure)


def make_config_map(draft: BuilderSpec, node: NodePlan, owner: Mapping[str, str]) -> Manifest:
    """Return the ConfigMap with the files of a node's buildkitd."""
    made = objects.make_job_config_map(draft, [owner])
    made["metadata"] = {
        "name": draft.location.make_config_name(node.name),
        "labels": make_labels(draft.location, node.name),
        "ownerReferences": [dict(owner)],
    }
    return {key: value for key, value in made.items() if key != "immutable"}


def make_pull_secret(draft: BuilderSpec, login: Secret, owner: Mapping[str, str]) -> Manifest:
    """Return the Secret with which nodes pull their images; it is mutable, because nodes add logins to it."""
    made = objects.make_job_pull_secret(draft, login, [owner])
    return {key: value for key, value in made.items() if key != "immutable"}


def make_annotations(node: NodePlan, settings: BuilderSettings, given: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations from which a node is read back."""
    flags = list(settings.buildkitd_flags)
    found = {
        labels.PLATFORMS: ",".join(map(str, node.platforms)),
        labels.REASON: node.reason,
        labels.REPLICAS: str(node.replicas),
        labels.LOADBALANCE: "" if node.loadbalance is LoadBalance.STICKY else node.loadbalance.value,
        labels.MAX_BUILDS: str(node.max_builds) if node.max_builds else "",
        labels.RECLAIM: settings.storage.reclaim.value if settings.storage.reclaim is Reclaim.RETAIN else "",
        labels.TIMEOUT: "" if settings.timeout == BuilderSettings().timeout else f"{settings.timeout:g}s",
        labels.DEFAULT_LOAD: "true" if settings.default_load else "",
        **_make_scaling_notes(node),
        labels.DRIVER_OPTS: json.dumps(_show_options(given), sort_keys=True) if given else "",
        labels.BUILDKITD_FLAGS: json.dumps(flags) if flags else "",
    }
    return {name: value for name, value in found.items() if value}


def _make_scaling_notes(node: NodePlan) -> dict[str, str]:
    """Return the annotations from which the range of an elastic node's replicas is read back."""
    if node.scaling is None:
        return {}
    wanted = f"{node.scaling.least}..{node.scaling.most}"
    return {labels.REPLICA_RANGE: wanted, labels.IDLE_TIMEOUT: f"{node.scaling.idle:g}s"}


def _make_claim_templates(draft: BuilderSpec, node: NodePlan) -> Manifest:
    """Return the StatefulSet's fields for volumes and for starting all pods at once.

    Each pod has a volume that outlives it: removing a builder may keep its state.
    """
    kept = {labels.RECLAIM: Reclaim.RETAIN.value} if draft.settings.storage.reclaim is Reclaim.RETAIN else {}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": podspec.VOLUME, "labels": make_labels(draft.location, node.name) | kept},
        "spec": podspec.make_claim_spec(draft.settings.storage),
    }
    return {"serviceName": node.name, "podManagementPolicy": "Parallel", "volumeClaimTemplates": [claim]}


def _show_options(given: Mapping[str, str]) -> dict[str, str]:
    """Return options for an annotation, which everyone can read: values of variables, possibly secret, are masked."""
    return {name: "***" if name.startswith("env.") else value for name, value in given.items()}
