from typing import Any

import pytest

from ci_buildx.builder.boot.diagnose import diagnose
from ci_buildx.builder.boot.observation import Autoscaler, PodCase, PodStage
from ci_buildx.errors import BootError, PodLost
from tests.unit.builder.boot.cases import (
    case,
    deleted,
    disrupted,
    event,
    pod,
    running,
    scheduled,
    terminated,
    unschedulable,
    waiting,
)

IMAGE = 'rpc error: code = {code} desc = failed to pull and unpack image "registry.example/x:1": {cause}'
ABSENT = IMAGE.format(code="NotFound", cause="registry.example/x:1: not found")
DENIED = IMAGE.format(
    code="Unknown", cause="pull access denied, repository does not exist or may require authorization"
)
NO_ANSWER = IMAGE.format(code="Unknown", cause="dial tcp 192.0.2.1:443: i/o timeout")
NO_SECRET = "Unable to retrieve some image pull secrets (one, two); attempting to pull the image may not succeed."
BACK_OFF = 'Back-off pulling image "registry.example/x:1"'
NO_MATCH = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
NO_PORT = (
    "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't match "
    "Pod's node affinity/selector."
)
NO_ROOM = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector."
TAINTED = (
    "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
    "1 node(s) had untolerated taint {only: ci}."
)
QUOTA = 'Error creating: pods "b-x" is forbidden: exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0'
SECURITY = (
    'Error creating: pods "b-x" is forbidden: violates PodSecurity "restricted:latest": '
    'privileged (container "buildkitd" must not set securityContext.privileged=true)'
)
WEBHOOK = 'Error creating: admission webhook "policy.example" denied the request: no privileged pods'
POLICY = (
    "Error creating: pods \"b-x\" is forbidden: ValidatingAdmissionPolicy 'no-root' with binding 'no-root' "
    "denied request: no privileged pods"
)
ACCOUNT = (
    'Error creating: pods "b-x" is forbidden: error looking up service account ns/nobody: '
    'serviceaccount "nobody" not found'
)
NO_ANSWER_OF_WEBHOOK = (
    'Error creating: Internal error occurred: failed calling webhook "policy.example": failed to call webhook: '
    'Post "https://192.0.2.1:9/": dial tcp 192.0.2.1:9: connect: connection refused'
)
NO_RUNTIME = 'Error creating: pods "b-x" is forbidden: pod rejected: RuntimeClass "holographic" not found'
UNBOUND = (
    "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found. preemption: 0/2 nodes are "
    "available: 2 Preemption is not helpful for scheduling."
)
NO_CLAIM = '0/2 nodes are available: persistentvolumeclaim "state" not found. not found'
NO_KEYS = 'secret "x" not found'
LATE_KEYS = 'MountVolume.SetUp failed for volume "certificates" : secret "buildkit-keys" not found'
REFUSED = 'Error creating: pods "b-x" is forbidden: '
UNSET = f"{REFUSED}failed quota: q: must specify limits.cpu for: {{0}}; limits.memory for: {{0}}"
OVER = f"{REFUSED}exceeded quota: q, requested: {{}}, used: {{}}, limited: {{}}"
ROOTLESS = (
    f'{REFUSED}violates PodSecurity "restricted:latest": seccompProfile (pod or container "buildkitd" must not set '
    'securityContext.seccompProfile.type to "Unconfined")'
)
LIMIT = 'Error creating: pods "b-x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 8Gi'


FAILURES: list[tuple[PodCase, str, str]] = [
    (case(scheduled(phase="Failed", reason="OutOfpods", message="Node is full")), "OutOfpods", "build again"),
    (case(waiting("ErrImagePull", ABSENT)), "ErrImagePull", "name, tag and platform"),
    (case(waiting("ErrImagePull", DENIED)), "ErrImagePull", "login"),
    (
        case(waiting("ErrImagePull", DENIED, secrets=("one",))),
        "ErrImagePull",
        "Secret one does not permit the pull: check driver-opt image-pull-secrets",
    ),
    (
        case(
            waiting("ErrImagePull", DENIED, secrets=("one", "two")),
            event("FailedToRetrieveImagePullSecret", NO_SECRET),
            event("Failed", f"Failed to pull image: {DENIED}", count=2),
        ),
        "ErrImagePull",
        "there is no Secret one, two: check driver-opt image-pull-secrets",
    ),
    (case(waiting("ImagePullBackOff", f"{BACK_OFF}: ErrImagePull: {ABSENT}")), "ImagePullBackOff", "name, tag"),
    (
        case(waiting("ImagePullBackOff", BACK_OFF), event("Failed", f"Failed to pull image: {ABSENT}")),
        "ImagePullBackOff",
        "name, tag",
    ),
    (
        case(waiting("ImagePullBackOff", BACK_OFF), event("Failed", f"Failed to pull image: {NO_ANSWER}", count=3)),
        "ImagePullBackOff",
        "does not respond",
    ),
    (case(waiting("InvalidImageName", "couldn't parse image name")), "InvalidImageName", "driver-opt image"),
    (
        case(waiting("CreateContainerConfigError", NO_KEYS), event("Failed", f"Error: {NO_KEYS}", count=3)),
        "CreateContainerConfigError",
        "create the Secret or ConfigMap that the pod refers to",
    ),
    (
        case(waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")),
        "CreateContainerConfigError",
        "rootless=true",
    ),
    (case(waiting("CreateContainerError", "no such device")), "CreateContainerError", "runtime"),
    (
        case(waiting("CreateContainerError", 'cannot load seccomp profile "/x.json": no such file or directory')),
        "CreateContainerError",
        "seccomp-profile",
    ),
    (
        case(pod(phase="Failed", reason="AppArmor", message="Cannot enforce AppArmor: not enabled on the host")),
        "AppArmor",
        "apparmor-profile",
    ),
    (case(None, event("FailedCreate", QUOTA)), "QuotaExceeded", "ResourceQuota"),
    (case(None, event("FailedCreate", SECURITY)), "PodSecurity", "enforce=privileged"),
    (case(None, event("FailedCreate", WEBHOOK)), "AdmissionWebhook", "webhook"),
    (case(None, event("FailedCreate", POLICY)), "AdmissionPolicy", "policy"),
    (case(None, event("FailedCreate", LIMIT)), "LimitRange", "LimitRange"),
    (case(None, event("FailedCreate", ACCOUNT)), "ServiceAccount", "serviceaccount"),
    (case(None, event("FailedCreate", NO_ANSWER_OF_WEBHOOK, count=3)), "AdmissionWebhook", "does not respond"),
    (case(None, event("FailedCreate", NO_RUNTIME, count=3)), "RuntimeClass", "runtime class"),
    (
        case(None, event("FailedCreate", "Error creating: what nobody knows", count=3)),
        "FailedCreate",
        "rejects the pod",
    ),
    (
        case(unschedulable(UNBOUND), event("ProvisioningFailed", "storageclass x not found")),
        "ProvisioningFailed",
        "class",
    ),
    (case(unschedulable(UNBOUND), event("FailedBinding", "no storage class is set")), "FailedBinding", "storage-class"),
    (case(unschedulable(UNBOUND), event("ProvisioningFailed", "busy", count=3)), "ProvisioningFailed", "class"),
    (case(unschedulable(NO_CLAIM)), "Unschedulable", "create the claim: not found"),
    (
        case(terminated(reason="StartError", exitCode=128, message="exec: not found")),
        "StartError",
        "not be a BuildKit image",
    ),
    (case(unschedulable(NO_MATCH), autoscaler=Autoscaler.ABSENT), "Unschedulable", "nodeselector"),
    (
        case(unschedulable("0/2 nodes are available: 2 Insufficient cpu."), autoscaler=Autoscaler.ABSENT),
        "Unschedulable",
        "requests",
    ),
    (
        case(unschedulable(NO_MATCH, since="2026-05-01T11:59:50Z"), autoscaler=Autoscaler.UNKNOWN),
        "Unschedulable",
        "nodeselector",
    ),
    (
        case(unschedulable(NO_MATCH), event("NotTriggerScaleUp", "pod didn't trigger scale-up")),
        "Unschedulable",
        "nodeselector",
    ),
    (
        case(
            unschedulable(NO_MATCH),
            event("TriggeredScaleUp", "pool 1->2"),
            event("NotTriggerScaleUp", "1 in backoff after failed scale-up"),
        ),
        "Unschedulable",
        "nodeselector",
    ),
    (case(scheduled(), event("FailedMount", 'secret "keys" not found', count=3)), "FailedMount", "volume"),
    (case(scheduled(), event("FailedCreatePodSandBox", "no IP left", count=4)), "FailedCreatePodSandBox", "network"),
    (case(terminated(reason="OOMKilled", exitCode=137)), "OOMKilled", "limits.memory"),
    (case(terminated(reason="Error", exitCode=1, message="buildkitd: no\n")), "Error", "buildkitd-config"),
    (case(terminated(reason="Error", exitCode=1, message="--help, -h  show help")), "Error", "buildkitd-flags"),
    (
        case(pod(phase="Failed", reason="Evicted", message="low on resource: ephemeral-storage")),
        "Evicted",
        "requests.ephemeral-storage",
    ),
]


@pytest.mark.parametrize(("given", "reason", "fix"), FAILURES)
def test_what_cannot_heal_fails_by_name(given: PodCase, reason: str, fix: str) -> None:
    verdict = diagnose(given)
    assert verdict.stage is PodStage.FAILED
    assert isinstance(verdict.error, BootError)
    assert verdict.error.reason == reason
    assert fix in verdict.error.fix
    assert "\n" not in str(verdict.error)


@pytest.mark.parametrize(
    ("message", "fix"),
    [
        (
            UNSET.format("buildkitd"),
            "set driver-opts limits.cpu, limits.memory: the namespace's ResourceQuota requires them",
        ),
        (UNSET.format("mesh"), "set these resources of container mesh in driver-opt pod-template"),
        (OVER.format("pods=1", "pods=1", "pods=1"), "request fewer platforms or replicas, or raise the namespace's"),
        (
            OVER.format("limits.cpu=4,pods=1", "limits.cpu=4,pods=1", "x"),
            "set smaller driver-opts limits.cpu, or raise",
        ),
        (OVER.format("cpu=4", "cpu=4", "cpu=4"), "set smaller driver-opts requests.cpu, or raise"),
        (OVER.format("requests.storage=9Gi", "x", "x"), "persistent-volume-claim.requests.storage"),
        (OVER.format("services=1", "x", "x"), "raise the namespace's ResourceQuota"),
        (SECURITY, "BuildKit is privileged: label the namespace"),
        (ROOTLESS, "enforce=baseline with driver-opts seccomp-profile="),
        (LIMIT, "within the namespace's LimitRange"),
        (
            f"{LIMIT.partition(',')[0]}. No limit is specified",
            "set driver-opts limits.*: the namespace's LimitRange requires them",
        ),
        (f"{REFUSED}cpu max limit to request ratio per Container is 2, but provided ratio is 4", "LimitRange"),
    ],
)
def test_a_refusal_is_answered_with_what_cures_it(message: str, fix: str) -> None:
    error = diagnose(case(None, event("FailedCreate", message))).error
    assert error is not None
    assert fix in error.fix


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (case(waiting("CreateContainerConfigError", NO_KEYS)), NO_KEYS),
        (
            case(
                waiting("ErrImagePull", DENIED, secrets=("one",)),
                event("FailedToRetrieveImagePullSecret", NO_SECRET),
                event("Failed", f"Failed to pull image: {DENIED}"),
            ),
            "ErrImagePull",
        ),
        (case(None, event("FailedCreate", ACCOUNT.replace("nobody", "default"), count=9)), "still rejected"),
        (case(None, event("FailedCreate", f"{REFUSED}status unknown for quota: q", count=9)), "still rejected"),
        (case(None), "job buildkit-amd64: is waiting for its pods"),
        (case(None, job={"spec": {"suspend": True}}), "suspended"),
        (case(None, event("FailedCreate", "Error creating: serviceaccount not found")), "serviceaccount not found"),
        (case(None, event("FailedCreate", ACCOUNT.replace("nobody", "default"))), "default"),
        (case(None, event("FailedCreate", NO_ANSWER_OF_WEBHOOK, count=2)), "failed calling webhook"),
        (case(unschedulable(UNBOUND), autoscaler=Autoscaler.ABSENT), "unbound immediate PersistentVolumeClaims"),
        (case(unschedulable(UNBOUND), event("ProvisioningFailed", "busy")), "ProvisioningFailed: busy"),
        (case(waiting("ErrImagePull", NO_ANSWER)), "i/o timeout"),
        (case(waiting("ErrImagePull", IMAGE.format(code="x", cause="404 not found: i/o timeout"))), "i/o timeout"),
        (case(waiting("ContainerCreating"), event("Pulling", 'Pulling image "x"')), 'pulling image "x"'),
        (case(waiting("ContainerCreating")), "creating the container on cluster node n1"),
        (case(scheduled(), event("FailedMount", 'secret "keys" not found')), "FailedMount"),
        (case(scheduled(), event("FailedMount", LATE_KEYS, count=9)), LATE_KEYS),
        (case(scheduled(), event("FailedMount", LATE_KEYS, count=9), event("FailedMount", "x", count=2)), "x"),
        (case(running()), "buildkitd is starting"),
        (case(unschedulable(NO_MATCH, since="2026-05-01T12:00:09Z"), autoscaler=Autoscaler.ABSENT), "Unschedulable"),
        (case(unschedulable(NO_MATCH, since="2026-05-01T12:00:01Z")), "Unschedulable"),
        (case(unschedulable(NO_MATCH), autoscaler=Autoscaler.PRESENT), "Unschedulable"),
        (
            case(unschedulable(NO_MATCH), event("TriggeredScaleUp", "pool 1->2"), autoscaler=Autoscaler.ABSENT),
            "TriggeredScaleUp: pool 1->2",
        ),
        (case(unschedulable(NO_MATCH), event("Nominated", "nodeclaim/x")), "Nominated"),
    ],
)
def test_what_may_heal_is_waited_for(given: PodCase, text: str) -> None:
    verdict = diagnose(given)
    assert verdict.stage is PodStage.WAITING
    assert verdict.error is None
    assert text in verdict.reason


@pytest.mark.parametrize(
    ("message", "labels", "fix"),
    [
        (
            NO_ROOM,
            ["kubernetes.io/arch"],
            "lower driver-opts requests.* or add cluster nodes: none has enough free resources",
        ),
        (
            NO_ROOM,
            ["kubernetes.io/arch", "disk"],
            "lower driver-opts requests.* or add cluster nodes: none has enough free resources",
        ),
        (
            TAINTED,
            ["kubernetes.io/arch"],
            "tolerate the taints with driver-opt tolerations: the matching cluster nodes are tainted",
        ),
        (
            TAINTED,
            ["disk"],
            "check driver-opt nodeselector: no cluster node has these labels, or all that do are tainted",
        ),
        (
            NO_PORT,
            ["kubernetes.io/arch"],
            ("omit hostNetwork and hostPort, or wait: another pod uses the port on the matching cluster nodes"),
        ),
        (
            "0/2 nodes are available: 1 node(s) were unschedulable.",
            [],
            "uncordon or add cluster nodes: the matching ones are cordoned",
        ),
        (NO_MATCH, ["disk"], "check driver-opt nodeselector: no cluster node has these labels"),
        ("0/0 nodes are available: no nodes available to schedule pods.", [], "add nodes to the cluster: it has none"),
    ],
)
def test_on_several_architectures_the_cause_is_what_the_user_can_change(
    message: str, labels: list[str], fix: str
) -> None:
    pending = unschedulable(message)
    pending["spec"]["nodeSelector"] = dict.fromkeys(labels, "x")
    error = diagnose(case(pending, autoscaler=Autoscaler.ABSENT)).error
    assert error is not None
    assert error.fix == fix


def test_what_preemption_could_do_is_left_out() -> None:
    error = diagnose(
        case(unschedulable(f"{NO_MATCH} {UNBOUND[UNBOUND.index('preemption') :]}"), autoscaler=Autoscaler.ABSENT)
    )
    assert error.error is not None
    assert error.error.message.endswith(f"Unschedulable: {NO_MATCH}")


def test_ready() -> None:
    assert diagnose(case(running(ready=True))).stage is PodStage.READY


def test_the_daemons_last_lines_are_shown_in_one() -> None:
    error = diagnose(case(terminated(reason="Error", exitCode=2, message="one\n\ntwo\n"))).error
    assert error is not None
    assert "exit code 2: one | two" in error.message


def test_a_signal_is_named_and_old_log_lines_are_not_blamed() -> None:
    error = diagnose(case(terminated(reason="Error", exitCode=137, message="level=info msg=x"), served=True)).error
    assert error is not None
    assert error.message.endswith("was lost: Error: buildkitd was killed by signal 9")


def test_of_a_go_stack_only_the_complaint_is_shown() -> None:
    words = "level=info msg=x\nbuildkitd: toml: cannot decode\nmain.main\n\tmain.go:495\n"
    error = diagnose(case(terminated(reason="Error", exitCode=1, message=words))).error
    assert error is not None
    assert error.message.endswith("exit code 1: toml: cannot decode")


@pytest.mark.parametrize(
    ("given", "reason", "detail", "fix"),
    [
        (case(deleted(), served=True), "Deleted", "while in use", "what deletes pods"),
        (case(running(), served=True, vanished=True), "Deleted", "while in use", "what deletes pods"),
        (
            case(disrupted("PreemptionByScheduler"), served=True),
            "PreemptionByScheduler",
            "higher priority",
            "priority-",
        ),
        (case(disrupted("EvictionByEvictionAPI"), served=True), "EvictionByEvictionAPI", "drained", "build again"),
        (case(disrupted("DeletionByTaintManager"), served=True), "DeletionByTaintManager", "tainted", "tolerations"),
        (case(disrupted("DeletionByPodGC"), served=True), "DeletionByPodGC", "was removed", "build again"),
        (case(disrupted("TerminationByKubelet"), served=True), "TerminationByKubelet", "shut down", "build again"),
        (case(disrupted("SomethingNew"), served=True), "SomethingNew", "disrupted", ""),
        (case(terminated(reason="OOMKilled", exitCode=137), served=True), "OOMKilled", "memory", "limits.memory"),
        (
            case(terminated(reason="Error", exitCode=137), event("Evicted", "The node was low on x. "), served=True),
            "Evicted",
            "The node was low on x",
            "requests.ephemeral-storage",
        ),
        (
            case(
                deleted(),
                served=True,
                job={"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}},
            ),
            "DeadlineExceeded",
            "lifetime has ended",
            "longer lifetime",
        ),
    ],
)
def test_a_pod_in_use_is_lost_by_name(given: PodCase, reason: str, detail: str, fix: str) -> None:
    error = diagnose(given).error
    assert isinstance(error, PodLost)
    assert error.reason == reason
    assert detail in error.detail
    assert fix in error.fix


def test_a_pod_that_goes_before_it_answered_never_started() -> None:
    assert isinstance(diagnose(case(deleted())).error, BootError)


STARTING = {"name": "buildkitd", "ready": False, "state": {"waiting": {"reason": "PodInitializing"}}}
UP = {"name": "buildkitd", "ready": True, "state": {"running": {}}}


def ended(name: str, code: int, reason: str = "Error", **rest: Any) -> dict[str, Any]:
    return {"name": name, "ready": False, "state": {"terminated": {"reason": reason, "exitCode": code}}, **rest}


def held(name: str, reason: str, message: str = "", **rest: Any) -> dict[str, Any]:
    return {"name": name, "ready": False, "state": {"waiting": {"reason": reason, "message": message}}, **rest}


@pytest.mark.parametrize(
    "beside",
    [
        ended("warm-up", 0, "Completed"),
        ended("mesh-proxy", 1),
        ended("mesh-proxy", 137, "OOMKilled"),
        held("mesh-proxy", "CrashLoopBackOff", lastState={"terminated": {"reason": "OOMKilled", "exitCode": 137}}),
        held("mesh-proxy", "ImagePullBackOff", ABSENT),
        held("mesh-proxy", "CreateContainerConfigError", "runAsNonRoot"),
    ],
)
def test_what_becomes_of_a_sidecar_is_not_what_becomes_of_buildkitd(beside: dict[str, Any]) -> None:
    assert diagnose(case(scheduled(phase="Running", containerStatuses=[beside, UP]))).stage is PodStage.READY
    native = scheduled(phase="Running", initContainerStatuses=[{**beside, "started": False}], containerStatuses=[UP])
    native["spec"]["initContainers"] = [{"name": beside["name"], "restartPolicy": "Always"}]
    assert diagnose(case(native, served=True)).stage is PodStage.READY
    starting = diagnose(case(scheduled(containerStatuses=[STARTING, beside])))
    assert (starting.stage, starting.error) == (PodStage.WAITING, None)


def test_buildkitd_that_ends_beside_a_sidecar_that_goes_on_is_lost() -> None:
    sidecar = {"name": "mesh-proxy", "ready": True, "state": {"running": {}}}
    found = scheduled(phase="Running", containerStatuses=[ended("buildkitd", 137, "OOMKilled"), sidecar])
    error = diagnose(case(found, served=True)).error
    assert isinstance(error, PodLost)
    assert error.reason == "OOMKilled"


def restarted(daemon: dict[str, Any], *, policy: str = "Always") -> dict[str, Any]:
    found = scheduled(phase="Running", containerStatuses=[daemon])
    found["spec"]["restartPolicy"] = policy
    return found


def run(seconds: int) -> dict[str, Any]:
    """How a buildkitd ended that had run for so long."""
    times = {"startedAt": "2026-05-01T11:00:00Z", "finishedAt": f"2026-05-01T11:00:{seconds:02}Z"}
    return {"terminated": {"reason": "OOMKilled", "exitCode": 137, **times}}


@pytest.mark.parametrize(
    "daemon",
    [{"name": "buildkitd", "state": run(10)}, held("buildkitd", "CrashLoopBackOff", lastState=run(10))],
    ids=["terminated", "back-off"],
)
def test_a_lasting_builders_buildkitd_that_had_been_up_is_started_again(daemon: dict[str, Any]) -> None:
    """By the step of another build it ended; a build that was under way in it is lost, one that comes waits."""
    verdict = diagnose(case(restarted(daemon), served=True))
    assert (verdict.stage, verdict.error) == (PodStage.WAITING, None)
    assert verdict.reason.endswith("OOMKilled: buildkitd or a step ran out of memory; the cluster node restarts it")
    assert isinstance(diagnose(case(restarted(daemon), served=True, answered=True)).error, PodLost)


@pytest.mark.parametrize(
    "found",
    [
        restarted({"name": "buildkitd", "state": run(9)}),
        restarted(held("buildkitd", "CrashLoopBackOff", lastState=run(3))),
        restarted(held("buildkitd", "CrashLoopBackOff")),
        restarted({"name": "buildkitd", "state": {"terminated": {"exitCode": 1}}}),
        restarted({"name": "buildkitd", "state": run(59)}, policy="Never"),
    ],
)
def test_a_buildkitd_that_never_was_up_or_is_not_started_again_fails(found: dict[str, Any]) -> None:
    assert diagnose(case(found)).stage is PodStage.FAILED


def test_of_a_pod_that_has_ended_buildkitds_end_is_told_and_not_a_sidecars() -> None:
    statuses = [ended("mesh-proxy", 7), ended("buildkitd", 1, message="x"), ended("mesh-log", 137, "OOMKilled")]
    error = diagnose(case(scheduled(phase="Failed", containerStatuses=statuses))).error
    assert error is not None
    assert "buildkitd ended with exit code 1" in error.message


@pytest.mark.parametrize(
    ("status", "reason", "detail", "fix"),
    [
        (held("vault", "ErrImagePull", ABSENT), "ErrImagePull", "container vault: ", "the image of container vault"),
        (
            held("vault", "CrashLoopBackOff", restartCount=3, lastState={"terminated": {"exitCode": 7}}),
            "Error",
            "container vault ended with exit code 7",
            "check container vault",
        ),
        (
            held("vault", "CreateContainerConfigError", "container has runAsNonRoot and image will run as root"),
            "CreateContainerConfigError",
            "container vault: ",
            "runAsNonRoot",
        ),
    ],
)
def test_a_container_that_keeps_the_pod_from_starting_is_named(
    status: dict[str, Any], reason: str, detail: str, fix: str
) -> None:
    error = diagnose(case(scheduled(initContainerStatuses=[status], containerStatuses=[STARTING]))).error
    assert isinstance(error, BootError)
    assert error.reason == reason
    assert detail in error.detail
    assert fix in error.fix
    assert "driver-opt image" not in str(error)


def test_an_init_container_that_has_done_its_part_says_nothing() -> None:
    found = scheduled(initContainerStatuses=[ended("vault", 0, "Completed")], containerStatuses=[STARTING])
    assert (diagnose(case(found)).stage, diagnose(case(found)).error) == (PodStage.WAITING, None)


def test_an_init_container_may_fail_until_what_it_needs_is_up() -> None:
    found = scheduled(initContainerStatuses=[held("vault", "CrashLoopBackOff", restartCount=1)])
    verdict = diagnose(case(found))
    assert verdict.error is None
    assert "container vault: CrashLoopBackOff" in verdict.reason
    for_good = scheduled(phase="Failed", initContainerStatuses=[ended("vault", 1)], containerStatuses=[STARTING])
    error = diagnose(case(for_good)).error
    assert error is not None
    assert "container vault ended with exit code 1" in error.message


@pytest.mark.parametrize(
    ("served", "hook", "state", "stage"),
    [
        (True, {"preStop": {"exec": {}}}, "running", PodStage.READY),
        (True, {"preStop": {"exec": {}}}, "waiting", PodStage.READY),
        (False, {"preStop": {"exec": {}}}, "running", PodStage.FAILED),
        (True, {"preStop": {"exec": {}}}, "terminated", PodStage.FAILED),
        (True, None, "running", PodStage.FAILED),
    ],
)
def test_a_pod_in_use_that_drains_is_not_lost_yet(
    served: bool, hook: dict[str, Any] | None, state: str, stage: PodStage
) -> None:
    subject = scheduled(phase="Running", containerStatuses=[{"name": "buildkitd", "state": {state: {}}}])
    subject["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
    subject["spec"]["containers"] = [{"name": "buildkitd", "lifecycle": hook}]
    assert diagnose(case(subject, served=served)).stage is stage


def test_keys_that_never_come_have_their_own_fix() -> None:
    """As those of a lasting builder whose Secret was deleted: more time would not help."""
    late = diagnose(case(scheduled(), event("FailedMount", LATE_KEYS, count=9)))
    assert late.fix.endswith("create the builder again")
    assert diagnose(case(scheduled(), event("FailedMount", "x"))).fix == "raise driver-opt timeout"
