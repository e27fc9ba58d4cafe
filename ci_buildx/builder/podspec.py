"""The pods that run buildkitd."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ci_buildx.builder import confinement, daemon, labels, registries, state
from ci_buildx.builder.builder import PORT, Manifest
from ci_buildx.builder.draft import Draft, Tenure
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.pods import CONTAINER
from ci_buildx.settings.builder import BuilderSettings, Toleration

PULL = "pull"
"""What the Secret is for that is made from a registry's login."""

DRAIN = (
    # Every build holds a connection to the port (04D2 is 1234 in hex, 01 an established one) or a dial-stdio.
    "while grep -q ':04D2 [^ ]* 01 ' /proc/net/tcp /proc/net/tcp6 2>/dev/null || pidof buildctl >/dev/null; "
    "do sleep 1; done"
)
"""A shell's words that end when no build is under way: buildkitd hears of its end only then."""
_SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"


def template(draft: Draft, node: NodePlan, tenure: Tenure) -> Manifest:
    """The pod template of a node's workload: for a Job, a Deployment or a StatefulSet, as ``tenure`` says."""
    settings = draft.settings
    marks = {**dict(settings.labels), **draft.identity.labels, labels.NODE: node.name}
    notes = {
        _SAFE_TO_EVICT: "false",
        **dict(settings.annotations),
        **confinement.profile_annotations(settings, draft.server),
    }
    made: Manifest = {"metadata": {"labels": marks, "annotations": notes}, "spec": _spec(draft, node, tenure)}
    if not settings.pod_template:
        return made
    from ci_buildx.settings.driver.strategic import merge

    return merge(made, settings.pod_template)


def _spec(draft: Draft, node: NodePlan, tenure: Tenure) -> Manifest:
    settings = draft.settings
    grace_period = settings.grace_period
    spec: Manifest = {
        "restartPolicy": tenure.restart,
        "terminationGracePeriodSeconds": tenure.grace_period if grace_period is None else grace_period,
        # buildkitd has no business with the API, and a build must not find a token.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [_container(draft, tenure)],
        "volumes": _volumes(draft, node, tenure),
        "topologySpreadConstraints": [_spread(draft, node)],
    }
    if node.user_namespace:
        spec["hostUsers"] = False
    if settings.rootless:
        spec["securityContext"] = {"fsGroup": confinement.USER}
    if settings.qemu.install:
        spec["initContainers"] = [_emulators(settings)]
    return spec | _placement(draft, node)


def _placement(draft: Draft, node: NodePlan) -> Manifest:
    """Where the pods go, and as whom."""
    settings = draft.settings
    selector = dict(settings.nodeselector)
    if node.architecture:
        selector[labels.ARCHITECTURE] = node.architecture
    wanted: Manifest = {
        "nodeSelector": dict(sorted(selector.items())),
        "affinity": _affinity(node),
        "tolerations": [_toleration(one) for one in settings.tolerations],
        "serviceAccountName": settings.serviceaccount,
        "schedulerName": settings.schedulername,
        "priorityClassName": settings.priority_class,
        "imagePullSecrets": [{"name": name} for name in _pull_secrets(draft)],
    }
    return {key: value for key, value in wanted.items() if value}


def _pull_secrets(draft: Draft) -> tuple[str, ...]:
    settings = draft.settings
    made = (draft.location.object_name(PULL),) if settings.pull_login else ()
    return (*settings.pull_secrets, *made)


def _affinity(node: NodePlan) -> Manifest:
    """Only the nodes that can do what the pod needs, where others cannot."""
    if not node.hosts:
        return {}
    term = {"matchExpressions": [{"key": labels.HOSTNAME, "operator": "In", "values": list(node.hosts)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def _toleration(one: Toleration) -> Manifest:
    fields = {"key": one.key, "operator": one.operator, "value": one.value, "effect": one.effect}
    written: Manifest = {key: value for key, value in fields.items() if value}
    return written if one.seconds is None else {**written, "tolerationSeconds": one.seconds}


def _spread(draft: Draft, node: NodePlan) -> Manifest:
    """Replicas on different nodes where that can be: on one they would share its processors and disk."""
    return {
        "maxSkew": 1,
        "topologyKey": labels.HOSTNAME,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {labels.BUILDER: draft.identity.name, labels.NODE: node.name}},
    }


def _volumes(draft: Draft, node: NodePlan, tenure: Tenure) -> list[Manifest]:
    settings = draft.settings
    own = state.volume(settings.storage, claimed_by_workload=tenure.claims)
    volumes = [
        *([own] if own else []),
        {"name": "certificates", "secret": _server_files(draft)},
    ]
    if daemon.files(settings):
        name = draft.location.config_name(node.name)
        volumes.append({"name": "config", "configMap": _config_files(settings, name)})
        keys = draft.location.object_name("keys")
        volumes += registries.volumes(settings, config_map=name, secret=keys)
    return volumes


def _config_files(settings: BuilderSettings, name: str) -> Manifest:
    """All files but those of single registries, which would be trusted for everything in this folder."""
    files, apart = daemon.files(settings), registries.authorities(settings)
    items = [{"key": file, "path": file} for file in files if file not in apart]
    return {"name": name, "items": items} if apart else {"name": name}


def _server_files(draft: Draft) -> Manifest:
    """The server's part of the Secret: the pod never sees the client's key."""
    return {
        "secretName": draft.location.object_name("keys"),
        # Rootless, they belong to the pod's group.
        "defaultMode": 0o440 if draft.settings.rootless else 0o400,
        "items": [{"key": file, "path": file} for file in daemon.SERVER_FILES],
    }


def _emulators(settings: BuilderSettings) -> Manifest:
    """Registers QEMU with the kernel, as the image does for ``docker run --privileged``."""
    emulators: Manifest = {
        "name": "qemu",
        "image": settings.qemu.image,
        "args": ["--install", "all"],
        "securityContext": {"privileged": True},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    # A quota may demand them of every container; what an init container asks for counts only beyond the others' sum.
    if resources := _filled({"requests": settings.requests, "limits": settings.limits}):
        emulators["resources"] = resources
    return emulators


def _container(draft: Draft, tenure: Tenure) -> Manifest:
    settings = draft.settings
    mounts = [
        {"name": state.VOLUME, "mountPath": state.folder(settings)},
        {"name": "certificates", "mountPath": daemon.CERTIFICATE_FOLDER, "readOnly": True},
    ]
    if daemon.files(settings):
        mounts.append({"name": "config", "mountPath": daemon.CONFIG_FOLDER, "readOnly": True})
        mounts += registries.mounts(settings)
    container: Manifest = {
        "name": CONTAINER,
        "image": settings.image,
        "args": daemon.arguments(settings),
        "ports": [{"name": "mtls", "containerPort": PORT, "protocol": "TCP"}],
        # Cheaper each second than running buildctl. buildkitd listens a moment before its workers are up
        # (cmd/buildkitd/main.go); what decides for a build is the first gRPC answer.
        "readinessProbe": {
            "tcpSocket": {"port": PORT},
            "initialDelaySeconds": 0,
            "periodSeconds": 1,
            "failureThreshold": 3,
        },
        "securityContext": confinement.security_context(settings, draft.server),
        # The daemon's last words come with the pod's status: no right to read logs is needed.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    if tenure.drains:
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sh", "-c", DRAIN]}}}
    if variables := daemon.variables(draft):
        container["env"] = variables
    if resources := _filled({"requests": settings.requests, "limits": settings.limits}):
        container["resources"] = resources
    return container


def _filled(quantities: Mapping[str, Iterable[tuple[str, str]]]) -> Manifest:
    return {kind: dict(pairs) for kind, pairs in quantities.items() if pairs}
