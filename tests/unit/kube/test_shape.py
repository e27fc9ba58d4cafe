"""Whatever an API server answers is refused, or read without an internal error."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ci_buildx.builder import labels, pods
from ci_buildx.builder.boot.diagnose import diagnose
from ci_buildx.builder.boot.observation import Observation
from ci_buildx.builder.builder import CA_FILE, CLIENT_CERTIFICATE_FILE, CLIENT_KEY_FILE, Workload
from ci_buildx.builder.cluster_facts import ClusterFacts, list_ranges
from ci_buildx.builder.cluster_facts import read_node as read_cluster_node
from ci_buildx.builder.lifecycle import find, lease, reap
from ci_buildx.builder.lifecycle.records import read_node as read_stored_node
from ci_buildx.builder.lifecycle.teardown import explain_stuck
from ci_buildx.errors import KubeBuilderError
from ci_buildx.kube.shape import find_fault

NOW = 1_777_636_810.0
NOON = "2026-05-01T12:00:00Z"
METADATA = {
    "name": "buildkit-amd64",
    "namespace": "builds",
    "uid": "7a6c",
    "resourceVersion": "12",
    "creationTimestamp": NOON,
    "labels": {labels.NODE: "amd64", labels.BUILDER: "kube-builder-x", labels.MANAGED_BY: labels.MANAGER},
    "annotations": {labels.PLATFORMS: "linux/amd64", labels.DRIVER_OPTS: "{}", labels.REPLICAS: "2"},
    "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "buildkit-amd64", "uid": "1"}],
    "finalizers": ["kubernetes.io/pvc-protection"],
    "managedFields": [{"manager": "kube-builder", "operation": "Update", "fieldsV1": {"f:metadata": {}}}],
}
ENDED = {
    "exitCode": 1,
    "reason": "Error",
    "message": "x",
    "startedAt": NOON,
    "finishedAt": NOON,
    "containerID": "c://1",
}
CONDITIONS = [
    {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3",
        "lastTransitionTime": NOON,
    },
    {"type": "Ready", "status": "True", "reason": "", "message": "", "lastTransitionTime": NOON},
    {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "x"},
]
POD_SPEC = {
    "nodeName": "n1",
    "restartPolicy": "Always",
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "containers": [{"name": "buildkitd", "image": "x", "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}}],
    "initContainers": [{"name": "mesh", "image": "x", "restartPolicy": "Always"}],
    "volumes": [{"name": "state", "persistentVolumeClaim": {"claimName": "state"}}, {"name": "tmp", "emptyDir": {}}],
    "imagePullSecrets": [{"name": "login"}],
}
POD = {
    "metadata": METADATA,
    "spec": POD_SPEC,
    "status": {
        "phase": "Pending",
        "podIP": "10.0.0.1",
        "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": CONDITIONS,
        "nominatedNodeName": "n2",
        "containerStatuses": [
            {
                "name": "buildkitd",
                "ready": False,
                "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "x"}},
                "lastState": {"terminated": ENDED},
            },
            {"name": "side", "ready": True, "started": True, "restartCount": 0, "state": {"running": {}}},
        ],
        "initContainerStatuses": [{"name": "mesh", "started": True, "ready": True, "state": {"terminated": ENDED}}],
    },
}
EVENT = {
    "metadata": {"name": "x.1", "namespace": "builds", "uid": "9", "creationTimestamp": NOON},
    "involvedObject": {"kind": "Pod", "name": "buildkit-amd64", "uid": "7a6c"},
    "reason": "FailedMount",
    "message": "x",
    "type": "Warning",
    "count": 3,
    "lastTimestamp": NOON,
    "eventTime": NOON,
    "series": {"count": 2, "lastObservedTime": NOON},
}
KUBE_NODE = {
    "metadata": METADATA,
    "spec": {
        "taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}],
        "unschedulable": True,
        "podCIDRs": ["10.1.0.0/24"],
        "cidrs": ["10.2.0.0/16"],
    },
    "status": {
        "conditions": CONDITIONS,
        "nodeInfo": {"architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "v1.34.2"},
        "runtimeHandlers": [{"name": "", "features": {"userNamespaces": True}}],
    },
}
WORKLOAD = {
    "metadata": METADATA,
    "spec": {"parallelism": 1, "replicas": 1, "suspend": True, "template": {"metadata": METADATA, "spec": POD_SPEC}},
    "status": {"ready": 1, "readyReplicas": 1, "conditions": [{"type": "Failed", "status": "True", "reason": "x"}]},
}
LEASE = {"metadata": METADATA, "spec": {"leaseDurationSeconds": 60, "renewTime": "2026-05-01T11:00:00.000000Z"}}
NAMESPACE = {
    "metadata": {**METADATA, "deletionTimestamp": NOON},
    "spec": {"finalizers": ["kubernetes"]},
    "status": {"phase": "Terminating", "conditions": [{**CONDITIONS[0], "type": "NamespaceFinalizersRemaining"}]},
}
SECRET = {
    "kind": "Secret",
    "metadata": METADATA,
    "data": dict.fromkeys((CA_FILE, CLIENT_CERTIFICATE_FILE, CLIENT_KEY_FILE), "eA=="),
}

VALUES: tuple[Any, ...] = (None, 5, -1, 1.5, True, "", "x", [], ["x"], [5], [None], [{}], {}, {"x": 1}, {"x": {}})


def read_pod(pod: Any) -> None:
    pods.read_pod(pod)
    pods.list_blocking_statuses(pod)
    seen = Observation()
    seen.note_event(copy.deepcopy(EVENT))
    seen.note_pod(pod, copy.deepcopy(WORKLOAD), gone=False)
    seen.has_unplaced()
    for case in seen.list_cases("amd64", "buildkit-amd64", NOW):
        diagnose(case)


def read_event(event: Any) -> None:
    seen = Observation()
    seen.note_event(event)
    seen.note_event(copy.deepcopy(EVENT))
    seen.note_pod(copy.deepcopy(POD), None, gone=False)
    for case in seen.list_cases("amd64", "buildkit-amd64", NOW):
        diagnose(case)
    diagnose(seen.make_unmade_case("amd64", "buildkit-amd64", NOW))


def read_job(job: Any) -> None:
    read_stored_node(Workload.JOB, job)
    read_stored_node(Workload.DEPLOYMENT, job)
    seen = Observation()
    seen.note_pod(copy.deepcopy(POD), job, gone=True)
    for case in seen.list_cases("amd64", "buildkit-amd64", NOW):
        diagnose(case)


def read_kube_node(node: Any) -> None:
    list_ranges([node], ClusterFacts(nodes=(read_cluster_node(node),)))


def read_namespace(namespace: Any) -> None:
    explain_stuck(namespace)
    if reap.is_builder_namespace(namespace):
        reap.is_stuck(namespace, NOW)


READERS: list[tuple[str, Any, Callable[[Any], object]]] = [
    ("pod", POD, read_pod),
    ("event", EVENT, read_event),
    ("node", KUBE_NODE, read_kube_node),
    ("workload", WORKLOAD, read_job),
    ("lease", LEASE, lambda found: lease.select_silent_builders([found], NOW)),
    ("namespace", NAMESPACE, read_namespace),
    ("secret", SECRET, find.read_keys),
]


def list_places(value: Any) -> Iterator[tuple[str | int, ...]]:
    """The paths of all values inside of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (key,)
        yield from ((key, *rest) for rest in list_places(one))


def change(stored: Any, place: tuple[str | int, ...], value: Any) -> Any:
    """A copy with one value replaced."""
    changed = json.loads(json.dumps(stored))
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


@pytest.mark.parametrize(("stored", "read"), [one[1:] for one in READERS], ids=[one[0] for one in READERS])
def test_any_change_of_a_real_object_is_refused_or_read(stored: Any, read: Callable[[Any], object]) -> None:
    assert find_fault(copy.deepcopy(stored), is_stored=True) == ""
    read(copy.deepcopy(stored))
    refused = passed = 0
    for place in list_places(stored):
        for value in VALUES:
            changed = change(stored, place, copy.deepcopy(value))
            if find_fault(changed, is_stored=True):
                refused += 1
                continue
            passed += 1
            try:
                read(changed)
            except KubeBuilderError as error:
                assert "\n" not in str(error)
            except Exception as error:
                raise AssertionError(f"{'.'.join(map(str, place))} = {value!r}") from error
    assert refused > 25 < passed


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"status": {"conditions": [{"type": "Ready"}]}}, "the object.status.conditions[0].status"),
        ({"items": [{"metadata": {"name": "x"}, "spec": {"taints": [5]}}]}, "the object.items[0].spec.taints[0]"),
        ({"metadata": {"labels": {"a": 5}}}, "the object.metadata.labels"),
        ({"kind": "Secret", "data": {"a": "b"}}, "the object.data.a"),
        ({"kind": "ConfigMap", "data": {"a": "b"}}, ""),
        ({"kind": "Status", "status": "Success"}, ""),
        ({"status": "Success"}, "the object.status"),
        ({"metadata": {"creationTimestamp": None, "labels": None}, "unknown": 5}, ""),
    ],
)
def test_the_field_is_named(document: Any, fault: str) -> None:
    assert find_fault(document) == fault
