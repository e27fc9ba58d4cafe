"""Pod templates of a builder's workloads, and the volume for buildkitd's state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ci_buildx.builder import labels
from ci_buildx.builder.builder import PORT, Manifest
from ci_buildx.builder.manifests import buildkitd, registries
from ci_buildx.builder.manifests.draft import BuilderSpec, WorkloadTraits
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.pods import CERTIFICATES_VOLUME, CONFIG_VOLUME, CONTAINER
from ci_buildx.settings.builder import BuilderSettings, Storage, Toleration

VOLUME = "state"
"""Name of the volume, and of a StatefulSet's claim template."""
FOLDER = "/var/lib/buildkit"
ROOTLESS_FOLDER = "/home/user/.local/share/buildkit"


def choose_state_folder(settings: BuilderSettings) -> str:
    """Return the folder of buildkitd's state.

    It is a volume: on the image's own overlay, buildkitd would copy files (the native snapshotter).
    """
    return ROOTLESS_FOLDER if settings.rootless else FOLDER


def make_claim_spec(storage: Storage) -> Manifest:
    """Return the spec of the claim that the storage settings request."""
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": storage.claimed}},
    }
    return {"storageClassName": storage.storage_class, **spec} if storage.storage_class else spec


def make_state_volume(storage: Storage, *, claimed_by_workload: bool) -> Manifest | None:
    """Return the pod's own volume; None if the workload's claim template provides it.

    A pod that does not outlive its job has a generic ephemeral volume: Kubernetes deletes the claim with the pod.
    """
    if storage.claimed:
        if claimed_by_workload:
            return None
        return {"name": VOLUME, "ephemeral": {"volumeClaimTemplate": {"spec": make_claim_spec(storage)}}}
    if storage.memory:
        return {"name": VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": storage.memory}}
    return {"name": VOLUME, "emptyDir": {}}


PULL = "pull"
"""Purpose of the Secret that is made from a registry's login, for its name."""

DRAIN = (
    # Every build holds a connection to the port (04D2 is 1234 in hex, 01 an established one) or a dial-stdio.
    "while grep -q ':04D2 [^ ]* 01 ' /proc/net/tcp /proc/net/tcp6 2>/dev/null || pidof buildctl >/dev/null; "
    "do sleep 1; done"
)
"""Shell command that ends when no build is under way; buildkitd is told to stop only then."""
_SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"


def make_pod_template(draft: BuilderSpec, node: NodePlan, tenure: WorkloadTraits) -> Manifest:
    """Return the pod template of a node's workload; ``tenure`` has the traits of its kind."""
    settings = draft.settings
    marks = {**dict(settings.labels), **draft.identity.labels, labels.NODE: node.name}
    notes = {
        _SAFE_TO_EVICT: "false",
        **buildkitd.make_metrics_annotations(settings),
        **dict(settings.annotations),
        **buildkitd.make_profile_annotations(settings, draft.server),
    }
    made: Manifest = {"metadata": {"labels": marks, "annotations": notes}, "spec": _make_pod_spec(draft, node, tenure)}
    if not settings.pod_template:
        return made
    from ci_buildx.settings.driver_opts.strategic_merge import merge_patch

    return merge_patch(made, settings.pod_template)


def _make_pod_spec(draft: BuilderSpec, node: NodePlan, tenure: WorkloadTraits) -> Manifest:
    settings = draft.settings
    grace_period = settings.grace_period
    spec: Manifest = {
        "restartPolicy": tenure.restart,
        "terminationGracePeriodSeconds": tenure.grace_period if grace_period is None else grace_period,
        # buildkitd does not use the API, and a build must not find a token.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [_make_container(draft, tenure)],
        "volumes": _make_volumes(draft, node, tenure),
        "topologySpreadConstraints": [_make_spread_constraints(draft, node)],
    }
    if node.user_namespace:
        spec["hostUsers"] = False
    if settings.rootless:
        spec["securityContext"] = {"fsGroup": buildkitd.USER}
    if settings.qemu.install:
        spec["initContainers"] = [_make_emulator_container(settings)]
    return spec | _make_placement(draft, node) | dict(settings.pod_fields)


def _make_placement(draft: BuilderSpec, node: NodePlan) -> Manifest:
    """Return the fields for scheduling and image pulls."""
    settings = draft.settings
    selector = dict(settings.nodeselector)
    if node.architecture:
        selector[labels.ARCHITECTURE] = node.architecture
    wanted: Manifest = {
        "nodeSelector": dict(sorted(selector.items())),
        "affinity": _make_affinity(node),
        "tolerations": [_make_toleration(one) for one in settings.tolerations],
        "imagePullSecrets": [{"name": name} for name in _list_pull_secrets(draft)],
    }
    return {key: value for key, value in wanted.items() if value}


def _list_pull_secrets(draft: BuilderSpec) -> tuple[str, ...]:
    settings = draft.settings
    made = (draft.location.make_object_name(PULL),) if settings.pull_login else ()
    return (*settings.pull_secrets, *made)


def _make_affinity(node: NodePlan) -> Manifest:
    """Return an affinity to the cluster nodes that can run the pod, {} if all can."""
    if not node.hosts:
        return {}
    term = {"matchExpressions": [{"key": labels.HOSTNAME, "operator": "In", "values": list(node.hosts)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def _make_toleration(one: Toleration) -> Manifest:
    fields = {"key": one.key, "operator": one.operator, "value": one.value, "effect": one.effect}
    written: Manifest = {key: value for key, value in fields.items() if value}
    return written if one.seconds is None else {**written, "tolerationSeconds": one.seconds}


def _make_spread_constraints(draft: BuilderSpec, node: NodePlan) -> Manifest:
    """Return constraints that spread replicas over cluster nodes if possible: on one they share its CPUs and disk."""
    return {
        "maxSkew": 1,
        "topologyKey": labels.HOSTNAME,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {labels.BUILDER: draft.identity.name, labels.NODE: node.name}},
    }


def _make_volumes(draft: BuilderSpec, node: NodePlan, tenure: WorkloadTraits) -> list[Manifest]:
    settings = draft.settings
    own = make_state_volume(settings.storage, claimed_by_workload=tenure.claims)
    volumes = [
        *([own] if own else []),
        {"name": CERTIFICATES_VOLUME, "secret": _make_server_files(draft)},
    ]
    if buildkitd.make_files(settings):
        name = draft.location.make_config_name(node.name)
        volumes.append({"name": CONFIG_VOLUME, "configMap": _make_config_files(settings, name)})
        keys = draft.location.make_object_name("keys")
        volumes += registries.make_volumes(settings, config_map=name, secret=keys)
    return volumes


def _make_config_files(settings: BuilderSettings, name: str) -> Manifest:
    """Return the ConfigMap volume without single registries' files, which would be trusted for all registries."""
    files, apart = buildkitd.make_files(settings), registries.list_authorities(settings)
    items = [{"key": file, "path": file} for file in files if file not in apart]
    return {"name": name, "items": items} if apart else {"name": name}


def _make_server_files(draft: BuilderSpec) -> Manifest:
    """Return the Secret volume with the server's part only: the pod never sees the client's key."""
    return {
        "secretName": draft.location.make_object_name("keys"),
        # In rootless mode, the files belong to the pod's group.
        "defaultMode": 0o440 if draft.settings.rootless else 0o400,
        "items": [{"key": file, "path": file} for file in buildkitd.SERVER_FILES],
    }


def _make_emulator_container(settings: BuilderSettings) -> Manifest:
    """Return an init container that registers QEMU with the kernel, as with ``docker run --privileged``."""
    emulators: Manifest = {
        "name": "qemu",
        "image": settings.qemu.image,
        "args": ["--install", "all"],
        "securityContext": {"privileged": True},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    # A quota may require them of every container; an init container's count only beyond the others' sum.
    if resources := _drop_empty({"requests": settings.requests, "limits": settings.limits}):
        emulators["resources"] = resources
    return emulators


def _make_container(draft: BuilderSpec, tenure: WorkloadTraits) -> Manifest:
    settings = draft.settings
    mounts = [
        {"name": VOLUME, "mountPath": choose_state_folder(settings)},
        {"name": CERTIFICATES_VOLUME, "mountPath": buildkitd.CERTIFICATE_FOLDER, "readOnly": True},
    ]
    if buildkitd.make_files(settings):
        mounts.append({"name": CONFIG_VOLUME, "mountPath": buildkitd.CONFIG_FOLDER, "readOnly": True})
        mounts += registries.make_mounts(settings)
    container: Manifest = {
        "name": CONTAINER,
        "image": settings.image,
        "args": buildkitd.make_arguments(settings),
        "ports": _list_ports(settings),
        # Cheaper each second than running buildctl. buildkitd listens a moment before its workers are up
        # (cmd/buildkitd/main.go); a build relies on the first gRPC answer instead.
        "readinessProbe": {
            "tcpSocket": {"port": PORT},
            "initialDelaySeconds": 0,
            "periodSeconds": 1,
            "failureThreshold": 3,
        },
        "securityContext": buildkitd.make_security_context(settings, draft.server),
        # The daemon's last output is in the pod's status: no right to read logs is needed.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    if tenure.drains:
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sh", "-c", DRAIN]}}}
    if variables := buildkitd.make_variables(draft):
        container["env"] = variables
    if resources := _drop_empty({"requests": settings.requests, "limits": settings.limits}):
        container["resources"] = resources
    return container


def _list_ports(settings: BuilderSettings) -> list[Manifest]:
    ports = {"mtls": PORT, **({"metrics": settings.metrics_port} if settings.metrics_port else {})}
    return [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()]


def _drop_empty(quantities: Mapping[str, Iterable[tuple[str, str]]]) -> Manifest:
    return {kind: dict(pairs) for kind, pairs in quantities.items() if pairs}
