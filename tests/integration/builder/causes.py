"""Causes for which a builder's pod cannot start, or is lost, and how each is made for real on a cluster."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ci_buildx.builder.boot.watch import Boot
from ci_buildx.builder.builder import PORT, Builder
from ci_buildx.builder.pods import PodView
from ci_buildx.errors import BootError, KubeError, PodLost
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.builder import Confinement
from devcluster import layout
from tests.integration.builder.conftest import PATIENCE, Yard, eventually

Spec = dict[str, Any]
AT_ONCE = 5
"""Builders that fail beside each other: most of their pods never run."""
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where a cause is made: the cluster, its registries, and the webhooks that were started."""

    env: Mapping[str, str]
    yard: Yard
    webhooks: Mapping[str, Mapping[str, Any]]

    def create(self, path: str, body: Spec) -> str:
        """Make a cluster-wide object that goes at the end; its name."""
        name = str(body["metadata"]["name"])
        self.yard.kube.create(path, body)
        self.yard.objects.append(f"{path}/{name}")
        return name

    def lend(self, path: str, part: str, fields: tuple[str, ...], key: str) -> None:
        """One ``key`` in each of some maps of an object, until the end."""
        self.yard.kube.patch(path, {part: {field: {key: "1"} for field in fields}})
        self.yard.undo.append(lambda: self.yard.kube.patch(path, {part: {field: {key: None} for field in fields}}))


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One cause and what is said of it.

    ``reasons`` are Kubernetes' words, of which one is named; ``detail`` and ``fix`` are parts of the error, ``known``
    (default: ``detail``) is what the cluster itself says as soon as it knows. ``settings`` or ``prepare`` shape the
    builder, ``alter`` its pods, as a pod template may. ``strike`` is done to a pod that is up, and where it is not
    to be ``lost``, to one that is starting. ``heals``: it is given time, for what heals by itself.
    """

    name: str
    reasons: tuple[str, ...]
    detail: str
    fix: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Scene], Mapping[str, Any]] | None = None
    alter: Callable[[Spec], None] | None = None
    strike: Callable[[Scene, PodView], object] | None = None
    known: str = ""
    heals: bool = False
    lost: bool = False


@dataclass(frozen=True, kw_only=True)
class Named:
    """What was said, and how many seconds after the cluster had said it first."""

    error: BootError | PodLost
    after: float


def name_all(scene: Scene, causes: tuple[Cause, ...]) -> dict[str, Named | BaseException]:
    """Make all of them, a few at a time; what was said of each."""

    def work(cause: Cause) -> Named | BaseException:
        try:
            return name(scene, cause)
        except Exception as failure:
            return failure

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip((cause.name for cause in causes), pool.map(work, causes), strict=True))


def name(scene: Scene, cause: Cause) -> Named:
    """Make one of them and wait until it is named."""
    settings = {**cause.settings, **(cause.prepare(scene) if cause.prepare else {})}
    blueprint = scene.yard.blueprint(**settings)
    builder = scene.yard.make(blueprint, alter=_in_pods(cause.alter) if cause.alter else None)
    with told(scene.yard.kube, builder) as heard, scene.yard.boot(builder) as boot:
        error = _error(scene, cause, boot, builder)
        moment = time.monotonic()
        return Named(error=error, after=moment - heard.first(cause.known or cause.detail, moment))


def _in_pods(alter: Callable[[Spec], None]) -> Callable[[Spec], None]:
    return lambda job: alter(job["spec"]["template"]["spec"])


def _error(scene: Scene, cause: Cause, boot: Boot, builder: Builder) -> BootError | PodLost:
    (node,) = builder.plan.nodes
    try:
        if cause.strike is not None and not cause.lost:
            cause.strike(scene, boot.wait_until_scheduled(node))
        (pod,) = boot.wait_until_ready(node)
        assert cause.lost, f"{pod.name} came up"
        if cause.strike is not None:
            cause.strike(scene, pod)
    except BootError as failure:
        return failure
    deadline = time.monotonic() + PATIENCE
    while (error := boot.judge_pod(node).error) is None:
        assert time.monotonic() < deadline, "the pod was not lost"
        time.sleep(0.1)
    assert isinstance(error, PodLost)
    return error


class told:  # noqa: N801 - reads as a function
    """Everything that the cluster tells of a builder's pods and events, and when."""

    def __init__(self, kube: KubeClient, builder: Builder) -> None:
        self._kube = kube
        self._place = builder.location
        self._lines: list[tuple[float, str]] = []
        self._end = threading.Event()

    def __enter__(self) -> told:
        for plural in ("pods", "events"):
            threading.Thread(target=self._follow, args=(self._place.make_core_path(plural),), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()

    def first(self, text: str, otherwise: float) -> float:
        """When ``text`` was told first (time.monotonic)."""
        return next((moment for moment, line in list(self._lines) if text in line), otherwise)

    def _follow(self, path: str) -> None:
        with suppress(KubeError):
            for event in self._kube.watch(path, deadline=time.monotonic() + 300, stop=self._end):
                self._lines.append((time.monotonic(), json.dumps(event.object, ensure_ascii=False).replace('\\"', '"')))


def mount(name: str, source: Spec) -> Callable[[Spec], None]:
    """The pods have one more volume."""

    def alter(spec: Spec) -> None:
        spec["volumes"].append({"name": name, **source})
        spec["containers"][0]["volumeMounts"].append({"name": name, "mountPath": f"/{name}"})

    return alter


def ask(variable: Spec) -> Callable[[Spec], None]:
    """The container has one more variable."""
    return lambda spec: spec["containers"][0].setdefault("env", []).append(variable)


def put(**fields: Any) -> Callable[[Spec], None]:
    """Fields of the pods' spec."""
    return lambda spec: spec.update(fields)


def limited(kind: str, plural: str, spec: Spec) -> Callable[[Scene], Mapping[str, Any]]:
    """The builder is in a namespace that holds this object."""

    def prepare(scene: Scene) -> Mapping[str, Any]:
        namespace = scene.yard.namespace()
        body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "few"}, "spec": spec}
        scene.yard.kube.create(f"/api/v1/namespaces/{namespace}/{plural}", body)
        return {"namespace": namespace}

    return prepare


def restricted(scene: Scene) -> Mapping[str, Any]:
    """In a namespace for harmless pods only."""
    return {"namespace": scene.yard.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})}


def reviewed(webhook: str) -> Callable[[Scene], Mapping[str, Any]]:
    """In a namespace whose pods a webhook must admit."""

    def prepare(scene: Scene) -> Mapping[str, Any]:
        namespace = scene.yard.namespace()
        chosen = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        hook = {
            "name": f"{webhook}.example.com",
            "clientConfig": dict(scene.webhooks[webhook]),
            "rules": [rule],
            "namespaceSelector": chosen,
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 5,
        }
        scene.create(
            f"{ADMISSION}/validatingwebhookconfigurations", {"metadata": {"name": namespace}, "webhooks": [hook]}
        )
        return {"namespace": namespace}

    return prepare


def ruled(scene: Scene) -> Mapping[str, Any]:
    """In a namespace for which a policy of the cluster admits no privileged pods."""
    namespace = scene.yard.namespace()
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    allowed = "!object.spec.containers.exists(c, c.?securityContext.privileged.orValue(false))"
    scene.create(
        f"{ADMISSION}/validatingadmissionpolicies",
        {
            "metadata": {"name": namespace},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [rule]},
                "validations": [{"expression": allowed, "message": "no privileged pods here"}],
            },
        },
    )
    scene.create(
        f"{ADMISSION}/validatingadmissionpolicybindings",
        {
            "metadata": {"name": namespace},
            "spec": {
                "policyName": namespace,
                "validationActions": ["Deny"],
                "matchResources": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                },
            },
        },
    )
    # The API server compiles a new policy a moment after it has taken it.
    _wait_until_refused(scene, namespace)
    return {"namespace": namespace}


def _wait_until_refused(scene: Scene, namespace: str) -> None:
    container = {"name": "c", "image": "busybox", "securityContext": {"privileged": True}}
    pod = {"metadata": {"name": "try"}, "spec": {"containers": [container]}}

    def refused() -> bool:
        try:
            scene.yard.kube.create(f"/api/v1/namespaces/{namespace}/pods", pod, dryRun="All")
        except KubeError as failure:
            return "no privileged pods here" in failure.message
        return False

    eventually("the policy", refused)


def claimed(spec: Spec) -> Callable[[Scene], Mapping[str, Any]]:
    """In a namespace with the claim ``state``."""

    def prepare(scene: Scene) -> Mapping[str, Any]:
        namespace = scene.yard.namespace()
        wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, **spec}
        body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "state"}, "spec": wanted}
        scene.yard.kube.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", body)
        return {"namespace": namespace}

    return prepare


RUNTIME = f"holographic-{secrets.token_hex(3)}"
CLAIM = mount("claimed", {"persistentVolumeClaim": {"claimName": "state"}})


def unknown_runtime(scene: Scene) -> Mapping[str, Any]:
    """A RuntimeClass whose handler no node has."""
    scene.create("/apis/node.k8s.io/v1/runtimeclasses", {"metadata": {"name": RUNTIME}, "handler": "holographic"})
    return {}


def drain(scene: Scene, pod: PodView) -> object:
    """What `kubectl drain` asks for."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod.name, "namespace": pod.namespace}}
    return scene.yard.kube.create(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction", body)


def delete(scene: Scene, pod: PodView) -> object:
    """What somebody does by hand."""
    return scene.yard.kube.delete(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}")


PLACES = {when: f"tests.kube-builder.dev/place-{secrets.token_hex(4)}" for when in ("starting", "up")}
"""What a node has one of, so that two pods cannot be there."""


def one_place(when: str) -> Callable[[Scene], Mapping[str, Any]]:
    """A node has one place (an extended resource: kubelets leave alone what they do not know)."""

    def prepare(scene: Scene) -> Mapping[str, Any]:
        scene.lend(
            f"/api/v1/nodes/{layout.default_name()}-amd64/status", "status", ("capacity", "allocatable"), PLACES[when]
        )
        return {}

    return prepare


def take(when: str, *, slow: bool = False) -> Callable[[Spec], None]:
    """The pods need the place; ``slow`` ones start for as long as the test goes on."""

    def alter(spec: Spec) -> None:
        spec["containers"][0]["resources"] = {"limits": {PLACES[when]: "1"}}
        if slow:
            command = ["sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"]
            spec["initContainers"] = [{"name": "slow", "image": "busybox", "command": command}]

    return alter


def preempt(when: str) -> Callable[[Scene, PodView], object]:
    """A pod of higher priority needs the place."""

    def strike(scene: Scene, pod: PodView) -> object:
        container = {"name": "main", "image": "busybox", "resources": {"limits": {PLACES[when]: "1"}}}
        spec = {"priorityClassName": "system-cluster-critical", "containers": [container], "restartPolicy": "Never"}
        body = {"metadata": {"name": "preemptor"}, "spec": spec}
        return scene.yard.kube.create(f"/api/v1/namespaces/{pod.namespace}/pods", body)

    return strike


def registry(variable: str, image: str) -> Callable[[Scene], Mapping[str, Any]]:
    """An image of one of the cluster's registries."""
    return lambda scene: {"image": f"{scene.env[variable]}/{image}"}


def silent_registry(scene: Scene) -> Mapping[str, Any]:
    """A port at which nobody listens."""
    return {"image": f"{scene.env['REGISTRY'].rpartition(':')[0]}:9/none/such:1"}


def occupied(*, declared: bool) -> Callable[[Scene], Mapping[str, Any]]:
    """A pod of the amd64 node's own network listens on buildkitd's port; only what is ``declared``, schedulers know.

    The devcluster's nodes share one network, so that a node's port is taken by a pod of the other one, too.
    """

    def prepare(scene: Scene) -> Mapping[str, Any]:
        namespace = scene.yard.namespace()
        container: Spec = {"name": "main", "image": "busybox", "command": ["sleep", "600"]}
        if declared:
            container["ports"] = [{"containerPort": PORT}]
        else:
            # On loopback alone: a kubelet that reached it would find buildkitd ready.
            container["command"] = ["httpd", "-f", "-p", f"127.0.0.1:{PORT}"]
        spec = {"hostNetwork": True, "containers": [container], "terminationGracePeriodSeconds": 0}
        spec |= {"nodeSelector": {"kubernetes.io/arch": "amd64"}}
        pods = f"/api/v1/namespaces/{namespace}/pods"
        scene.yard.kube.create(pods, {"metadata": {"name": "occupant"}, "spec": spec})
        eventually("the occupant", lambda: scene.yard.kube.get(f"{pods}/occupant")["status"]["phase"] == "Running")
        return {}

    return prepare


PULL = ("ErrImagePull", "ImagePullBackOff")
CAUSES: tuple[Cause, ...] = (
    Cause(
        name="the registry does not answer",
        reasons=PULL,
        detail="connection refused",
        fix="check the network between the cluster node and the registry: the registry does not respond",
        prepare=silent_registry,
        heals=True,
    ),
    Cause(
        name="the image does not exist",
        reasons=PULL,
        detail="not found",
        fix="check driver-opt image: name, tag and platform",
        prepare=registry("REGISTRY", "none/such:1"),
    ),
    Cause(
        name="the image is denied",
        reasons=PULL,
        detail="none/such:1",
        fix="it is not allowed to pull the image",
        prepare=registry("REGISTRY_BASIC", "none/such:1"),
        known="no basic auth credentials",
    ),
    Cause(
        name="the Secret for the image does not exist",
        reasons=PULL,
        detail="none/such:2",
        fix="check driver-opt image-pull-secrets",
        settings={"pull_secrets": ("none",)},
        prepare=registry("REGISTRY_BASIC", "none/such:2"),
        known="no basic auth credentials",
        heals=True,
    ),
    Cause(
        name="the image has no valid name",
        reasons=("InvalidImageName",),
        detail="Such:1",
        fix="check driver-opt image",
        settings={"image": "registry.example/None/Such:1"},
    ),
    Cause(
        name="the image is not BuildKit",
        reasons=("StartError", "RunContainerError", "CreateContainerError"),
        detail="--addr",
        fix="check driver-opt image: it may not be a BuildKit image",
        settings={"image": "busybox"},
        known="StartError",
    ),
    Cause(
        name="a Secret is missing",
        reasons=("CreateContainerConfigError",),
        detail='secret "none" not found',
        fix="create the Secret or ConfigMap that the pod refers to",
        alter=ask({"name": "X", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x"}}}),
        heals=True,
    ),
    Cause(
        name="the node has no such seccomp profile",
        reasons=("CreateContainerError",),
        detail="cannot load seccomp profile",
        fix="check driver-opt seccomp-profile",
        settings={"rootless": True, "confinement": Confinement(seccomp="localhost/none.json", apparmor="")},
    ),
    Cause(
        name="the node has no AppArmor",
        reasons=("AppArmor",),
        detail="AppArmor is not enabled on the host",
        fix="check driver-opt apparmor-profile",
        settings={"rootless": True, "confinement": Confinement(apparmor="localhost/buildkit")},
    ),
    Cause(
        name="a volume cannot be mounted",
        reasons=("FailedMount",),
        detail='configmap "none" not found',
        fix="a volume cannot be mounted",
        alter=mount("absent", {"configMap": {"name": "none"}}),
        heals=True,
    ),
    Cause(
        name="the sandbox cannot be made",
        reasons=("FailedCreatePodSandBox",),
        detail="no runtime for",
        fix="check the cluster node's network plugin and runtime",
        prepare=unknown_runtime,
        alter=put(runtimeClassName=RUNTIME),
        heals=True,
    ),
    Cause(
        name="quota",
        reasons=("QuotaExceeded",),
        detail="exceeded quota: few",
        fix="raise the namespace's ResourceQuota",
        prepare=limited("ResourceQuota", "resourcequotas", {"hard": {"pods": "0"}}),
    ),
    Cause(
        name="limit range",
        reasons=("LimitRange",),
        detail="maximum memory usage per Container is 1Mi",
        fix="within the namespace's LimitRange",
        settings={"limits": (("memory", "64Mi"),)},
        prepare=limited("LimitRange", "limitranges", {"limits": [{"type": "Container", "max": {"memory": "1Mi"}}]}),
    ),
    Cause(
        name="pod security",
        reasons=("PodSecurity",),
        detail='violates PodSecurity "restricted',
        fix="pod-security.kubernetes.io/enforce=privileged",
        prepare=restricted,
    ),
    Cause(
        name="a webhook says no",
        reasons=("AdmissionWebhook",),
        detail="we do not like builders",
        fix="ask the owner of that webhook",
        prepare=reviewed("refusing"),
    ),
    Cause(
        name="a webhook does not answer",
        reasons=("AdmissionWebhook",),
        detail="failed calling webhook",
        fix="ask the owner of the webhook: it does not respond",
        prepare=reviewed("silent"),
        heals=True,
    ),
    Cause(
        name="a policy says no",
        reasons=("AdmissionPolicy",),
        detail="no privileged pods here",
        fix="ask the owner of that policy",
        prepare=ruled,
    ),
    Cause(
        name="no such service account",
        reasons=("ServiceAccount",),
        detail='"nobody" not found',
        fix="check driver-opt serviceaccount",
        alter=put(serviceAccountName="nobody"),
    ),
    Cause(
        name="runtime class not found",
        reasons=("RuntimeClass",),
        detail='RuntimeClass "none" not found',
        fix="runtime class",
        alter=put(runtimeClassName="none"),
        heals=True,
    ),
    Cause(
        name="priority class not found",
        reasons=("PriorityClass",),
        detail="no PriorityClass with name none",
        fix="check driver-opt priority-class",
        alter=put(priorityClassName="none"),
    ),
    Cause(
        name="no node matches",
        reasons=("Unschedulable",),
        detail="0/2 nodes are available",
        fix="check driver-opt nodeselector",
        settings={"nodeselector": (("disk", "holographic"),)},
    ),
    Cause(
        name="no node is big enough",
        reasons=("Unschedulable",),
        detail="Insufficient memory",
        fix="lower driver-opts requests.*",
        settings={"requests": (("memory", "9Ti"),)},
    ),
    Cause(
        name="the node has less room than the scheduler saw",
        reasons=("OutOfcpu",),
        detail="enough resource",
        fix="build again: another cluster node will be used",
        settings={"requests": (("cpu", "1000"),)},
        alter=put(nodeName=f"{layout.default_name()}-amd64"),
        known="OutOfcpu",
    ),
    Cause(
        name="another pod has the port",
        reasons=("Unschedulable",),
        detail="didn't have free ports",
        fix="omit hostNetwork and hostPort",
        prepare=occupied(declared=True),
        alter=put(hostNetwork=True),
    ),
    Cause(
        name="another process has the port",
        reasons=("Error",),
        detail="address already in use",
        fix="another process on this one uses the port",
        prepare=occupied(declared=False),
        alter=put(hostNetwork=True, nodeSelector={"kubernetes.io/arch": "arm64"}),
    ),
    Cause(
        name="a claim cannot be bound",
        reasons=("ProvisioningFailed",),
        detail='storageclass.storage.k8s.io "none" not found',
        fix="check driver-opt storage-class",
        prepare=claimed({"storageClassName": "none"}),
        alter=CLAIM,
    ),
    Cause(
        name="a claim does not exist",
        reasons=("Unschedulable",),
        detail='persistentvolumeclaim "state" not found',
        fix="create the claim: not found",
        alter=CLAIM,
    ),
    Cause(
        name="the configuration is wrong",
        reasons=("Error",),
        detail="buildkitd ended with exit code 1: toml: cannot decode",
        fix="buildkitd-config",
        settings={"buildkitd_config": "[worker.oci]\n  enabled = 7\n"},
        known="exitCode",
    ),
    Cause(
        name="a flag is wrong",
        reasons=("Error",),
        detail="buildkitd rejects a flag as unknown (exit code 1)",
        fix="check buildkitd-flags",
        settings={"buildkitd_flags": ("--no-such-flag",)},
        known="exitCode",
    ),
    Cause(
        name="too little memory",
        reasons=("OOMKilled",),
        detail="ran out of memory",
        fix="raise driver-opt limits.memory",
        settings={"limits": (("memory", "10Mi"),)},
        known="OOMKilled",
    ),
    Cause(
        name="too much is written",
        reasons=("Evicted",),
        detail="ephemeral",
        fix="limits.ephemeral-storage",
        settings={"limits": (("ephemeral-storage", "16Ki"),)},
        known="Evicted",
        lost=True,
    ),
    Cause(
        name="the node is drained",
        reasons=("EvictionByEvictionAPI",),
        detail="its cluster node was drained",
        fix="build again: another cluster node will be used",
        strike=drain,
        known="EvictionByEvictionAPI",
        lost=True,
    ),
    Cause(
        name="a pod of higher priority takes its place",
        reasons=("PreemptionByScheduler",),
        detail="it was preempted by a pod with higher priority",
        fix="set driver-opt priority-class",
        prepare=one_place("up"),
        alter=take("up"),
        strike=preempt("up"),
        known="PreemptionByScheduler",
        lost=True,
    ),
    Cause(
        name="a pod of higher priority takes its place while it starts",
        reasons=("PreemptionByScheduler",),
        detail="it was preempted by a pod with higher priority",
        fix="set driver-opt priority-class",
        prepare=one_place("starting"),
        alter=take("starting", slow=True),
        strike=preempt("starting"),
        known="PreemptionByScheduler",
    ),
    Cause(
        name="somebody deletes the pod",
        reasons=("Deleted",),
        detail="while in use",
        fix="check what deletes pods",
        strike=delete,
        known="deletionTimestamp",
        lost=True,
    ),
)
