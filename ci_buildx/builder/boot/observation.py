"""What is known about a pod that is starting or in use, and verdicts on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from ci_buildx.builder.labels import NODE
from ci_buildx.builder.pods import Object, PodView, find_condition, is_ready, read_pod
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
    this process, ``vanished`` that the pod object is deleted (``pod`` is then its last state).
    """

    workload: str
    pod: Object | None
    events: tuple[Object, ...] = ()
    job: Object | None = None
    now: float = 0.0
    autoscaler: Autoscaler = Autoscaler.UNKNOWN
    served: bool = False
    answered: bool = False
    vanished: bool = False

    @property
    def subject(self) -> str:
        """Return the name of the pod or job for errors."""
        return f"pod {self.pod['metadata']['name']}" if self.pod else f"job {self.workload}"

    def make_failure(self, reason: str, detail: str, fix: str = "") -> Verdict:
        """Return the verdict that the pod cannot start; ``reason`` is Kubernetes' word."""
        return Verdict(PodStage.FAILED, reason, BootError(self.subject, reason, _join_lines(detail), fix=fix))

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
    """

    pods: dict[str, Object] = field(default_factory=dict)
    vanished: dict[str, Object] = field(default_factory=dict)
    events: dict[str, dict[str, Object]] = field(default_factory=dict)
    jobs: dict[str, Object] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
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
                self.served.add(name)
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
        views = [read_pod(pod) for pod in self.pods.values() if _read_node(pod) == node]
        return tuple(sorted(views, key=lambda pod: pod.name))

    def has_unplaced(self) -> bool:
        """Return whether the scheduler has found no cluster node for a pod."""
        return any(find_condition(pod, "PodScheduled").get("status") == "False" for pod in self.pods.values())

    def list_cases(self, node: str, workload: str, now: float) -> list[PodCase]:
        """Return a case for each pod of a node, or one for the Job while it has no pod."""
        present = [pod for pod in self.pods.values() if _read_node(pod) == node]
        gone = [pod for pod in self.vanished.values() if _read_node(pod) == node]
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
        name = pod["metadata"]["name"] if pod is not None else ""
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
            served=name in self.served,
            answered=name in self.answered,
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


def _read_node(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(NODE, ""))
