"""What is known about a pod that is starting or in use, and verdicts on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from ci_buildx.builder.labels import NODE
from ci_buildx.builder.pods import (
    Object,
    PodView,
    find_condition,
    find_state,
    find_termination,
    is_ready,
    read_daemon_status,
    read_pod,
)
from ci_buildx.errors import BootError, KubeBuilderError
from ci_buildx.model.record import dataclass, field, replace

UNSCHEDULABLE = "Unschedulable"
"""Reason of a BootError after which another node may emulate the platforms."""


class PodStage(StrEnum):
    """Stage of a pod: not ready yet, ready, or failed."""

    WAITING = "waiting"
    READY = "ready"
    FAILED = "failed"


class Autoscaler(StrEnum):
    """Whether an autoscaler adds cluster nodes for pods that do not fit."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdict on a pod: ``reason`` names what is waited for; ``error`` is set if waiting is pointless.

    ``scaling`` means that a cluster node is being added for the pod, which takes longer than any boot. ``fix`` is for
    the case that the time is over before the pod starts.
    """

    stage: PodStage
    reason: str = ""
    error: KubeBuilderError | None = None
    scaling: bool = False
    fix: str = "raise driver-opt timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodCase:
    """Everything known about one pod of a workload.

    ``pod`` is None while the Job has none. ``events`` are those about the pod and the Job, oldest first. ``now`` is the
    cluster's clock in epoch seconds. ``served`` means that buildkitd in it was up, ``answered`` that it has answered
    this process, ``restarted`` that it has ended since that answer, ``left`` that this process lost a build in it and
    may use it again, ``outdated`` that its status is older than that answer, ``retried`` that another pod of the node
    was lost before, ``vanished`` that the pod object is deleted (``pod`` is then its last state).
    """

    workload: str
    pod: Object | None
    events: tuple[Object, ...] = ()
    job: Object | None = None
    now: float = 0.0
    autoscaler: Autoscaler = Autoscaler.UNKNOWN
    served: bool = False
    answered: bool = False
    restarted: bool = False
    left: bool = False
    outdated: bool = False
    retried: bool = False
    vanished: bool = False

    @property
    def subject(self) -> str:
        """Return the name of the pod or job for errors."""
        return f"pod {self.pod['metadata']['name']}" if self.pod else f"job {self.workload}"

    def make_failure(self, reason: str, detail: str, fix: str = "", *, repeatable: bool = False) -> Verdict:
        """Return the verdict that the pod cannot start; ``reason`` is Kubernetes' word."""
        error = BootError(self.subject, reason, _join_lines(detail), fix=fix, repeatable=repeatable)
        return Verdict(PodStage.FAILED, reason, error)

    def make_waiting(self, reason: str, *, scaling: bool = False) -> Verdict:
        """Return the verdict that the pod may still start."""
        return Verdict(PodStage.WAITING, f"{self.subject}: {_join_lines(reason)}", scaling=scaling)

    def make_late(self, reason: str, fix: str) -> Verdict:
        """Return the verdict that the pod waits for something that may never come; ``fix`` is for that case."""
        return replace(self.make_waiting(reason), fix=fix)

    def list_recent(self, *reasons: str) -> list[Object]:
        """Return the events with one of ``reasons``, oldest first."""
        return [event for event in self.events if event.get("reason") in reasons]

    def was_refused_since(self, moment: str) -> bool:
        """Return whether a pod of the workload was refused at ``moment`` (RFC 3339, whole seconds) or later."""
        return any(read_event_time(event)[:19] >= moment[:19] for event in self.list_recent("FailedCreate"))


def read_event_time(event: Object) -> str:
    """Return when an event last happened: RFC 3339 in UTC, which sorts as text."""
    series = (event.get("series") or {}).get("lastObservedTime")
    told = series or event.get("lastTimestamp") or event.get("eventTime")
    return str(told or event["metadata"].get("creationTimestamp") or "")


def count_events(events: list[Object]) -> int:
    """Return how often something happened; the API counts repetitions of an event in one object."""
    return sum((event.get("series") or {}).get("count") or event.get("count") or 1 for event in events)


def _join_lines(text: str) -> str:
    return " ".join(text.split())


_KEPT_EVENTS = 200


@dataclass(slots=True)
class Observation:
    """What the watches have reported so far.

    ``pods`` and ``vanished`` (deleted) pods are by name, ``events`` by the name of their subject, ``jobs`` by node.
    ``served``, ``left`` and ``lost`` pods are UIDs, because a StatefulSet's pods reuse names. ``answered`` has the UIDs
    of those in use, with buildkitd's restarts at its answer. ``lost`` pods of a job's builder no longer count.
    ``retried`` are the names of nodes that have lost a pod.
    """

    pods: dict[str, Object] = field(default_factory=dict)
    vanished: dict[str, Object] = field(default_factory=dict)
    events: dict[str, dict[str, Object]] = field(default_factory=dict)
    jobs: dict[str, Object] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)
    answered: dict[str, int] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    retried: set[str] = field(default_factory=set)
    autoscaler: Autoscaler = Autoscaler.UNKNOWN
    monotonic: Callable[[], float] = time.monotonic
    _offset: tuple[float, float] | None = None

    def note_pod(self, pod: Object, job: Object | None, *, gone: bool) -> None:
        """Record a pod's new state, and its Job's if that was requested."""
        name, node = pod["metadata"]["name"], _read_node(pod)
        if gone:
            self.pods.pop(name, None)
            self.vanished[name] = pod
        else:
            self.pods[name] = pod
            if is_ready(pod):
                self.served.add(read_uid(pod))
        if job is not None:
            self.jobs[node] = job

    def note_event(self, event: Object) -> None:
        """Record an event or its repetition; keep only the latest ones of each subject."""
        about = self.events.setdefault(_name_subject(event.get("involvedObject") or {}), {})
        uid = event["metadata"].get("uid", event["metadata"]["name"])
        about.pop(uid, None)
        about[uid] = event
        if len(about) > _KEPT_EVENTS:
            del about[next(iter(about))]

    def list_pod_views(self, node: str) -> tuple[PodView, ...]:
        """Return the pods of a node, sorted by name."""
        views = [read_pod(pod) for pod in self.pods.values() if _read_node(pod) == node and not self.is_lost(pod)]
        return tuple(sorted(views, key=lambda pod: pod.name))

    def note_answer(self, name: str) -> None:
        """Record that buildkitd in a pod has answered this process."""
        if (pod := self.pods.get(name) or self.vanished.get(name)) is not None:
            uid, status = read_uid(pod), read_daemon_status(pod)
            # The status may be a second older than the answer, which a daemon that has ended did not give.
            ended = find_state(status, "running") is None and find_termination(status) is not None
            self.served.add(uid)
            self.answered[uid] = count_restarts(pod) + ended

    def note_loss(self, pod: Object, *, replaced: bool) -> None:
        """Record that this process lost a build in a pod; one that is ``replaced`` by another no longer counts."""
        uid = read_uid(pod)
        self.answered.pop(uid, None)
        self.left.add(uid)
        if replaced:
            self.lost.add(uid)

    def is_lost(self, pod: Object) -> bool:
        """Return whether a pod no longer counts."""
        return read_uid(pod) in self.lost

    def has_unplaced(self) -> bool:
        """Return whether the scheduler has found no cluster node for a pod."""
        return any(find_condition(pod, "PodScheduled").get("status") == "False" for pod in self.pods.values())

    def list_cases(self, node: str, workload: str, now: float) -> list[PodCase]:
        """Return a case for each pod of a node, or one for the Job while it has no pod."""
        present = [pod for pod in self.pods.values() if _read_node(pod) == node]
        # A StatefulSet's next pod has the same name; the last one matters as long as a build in it is under way.
        gone = [
            pod
            for name, pod in self.vanished.items()
            if _read_node(pod) == node and (name not in self.pods or read_uid(pod) in self.answered)
        ]
        if not present and not gone:
            return [self._make_case(workload, None, now, node)]
        return [
            *(self._make_case(workload, pod, now, node) for pod in present),
            *(self._make_case(workload, pod, now, node, vanished=True) for pod in gone),
        ]

    def make_unmade_case(self, node: str, workload: str, now: float) -> PodCase:
        """Return the case of a pod that the workload has not created."""
        return self._make_case(workload, None, now, node)

    def read_clock(self, server_time: float | None) -> float:
        """Return the server's clock now, in epoch seconds.

        It is the server's last answer plus the time since that answer was first seen; the local clock before any
        answer.
        """
        moment = self.monotonic()
        if server_time is None:
            return time.time()
        if self._offset is None or self._offset[0] != server_time:
            self._offset = (server_time, moment)
        return server_time + moment - self._offset[1]

    def _make_case(
        self, workload: str, pod: Object | None, now: float, node: str, *, vanished: bool = False
    ) -> PodCase:
        name, uid = (pod["metadata"]["name"], read_uid(pod)) if pod is not None else ("", "")
        answered = self.answered.get(uid)
        subjects = [workload, name, *(_list_claims(pod) if pod else self._list_replica_sets(workload))]
        about = [event for subject in subjects if subject for event in self.events.get(subject, {}).values()]
        about = [event for event in about if pod is None or not _is_about_another_pod(event, pod)]
        return PodCase(
            workload=workload,
            pod=pod,
            events=tuple(sorted(about, key=read_event_time)),
            job=self.jobs.get(node),
            now=now,
            autoscaler=self.autoscaler,
            served=uid in self.served,
            answered=answered is not None,
            restarted=pod is not None and answered is not None and count_restarts(pod) > answered,
            left=uid in self.left,
            outdated=pod is not None and answered is not None and count_restarts(pod) < answered,
            retried=node in self.retried,
            vanished=vanished,
        )

    def _list_replica_sets(self, workload: str) -> list[str]:
        """Return the Deployment's ReplicaSets that have events; they create its pods."""
        return [
            name
            for name, about in self.events.items()
            if name.startswith(f"{workload}-")
            and any((event.get("involvedObject") or {}).get("kind") == "ReplicaSet" for event in about.values())
        ]


def _list_claims(pod: Object) -> list[str]:
    """Return the names of the volume claims that a pod needs."""
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    claims = [(volume.get("persistentVolumeClaim") or {}).get("claimName", "") for volume in volumes]
    return [name for name in claims if name]


def _name_subject(about: Mapping[str, Any]) -> str:
    """Return the name of an event's subject; for a ReplicaSet its Deployment's, without the appended hash."""
    name = str(about.get("name", ""))
    return name.rpartition("-")[0] if about.get("kind") == "ReplicaSet" else name


def _is_about_another_pod(event: Object, pod: Object) -> bool:
    """Return whether the event is about an earlier pod of the same name: a StatefulSet's pods reuse names."""
    about, metadata = event.get("involvedObject") or {}, pod["metadata"]
    told = about.get("kind") == "Pod" and about.get("name") == metadata["name"]
    return bool(told and about.get("uid") and metadata.get("uid") and about["uid"] != metadata["uid"])


def read_uid(pod: Object) -> str:
    """Return what identifies a pod even if a later one has its name."""
    return str(pod["metadata"].get("uid") or pod["metadata"]["name"])


def count_restarts(pod: Object) -> int:
    """Return how often the kubelet has restarted buildkitd in a pod."""
    return int(read_daemon_status(pod).get("restartCount") or 0)


def _read_node(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(NODE, ""))
