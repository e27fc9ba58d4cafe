"""What has been seen of a builder so far: the state behind :class:`ci_buildx.builder.boot.Boot`, without I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ci_buildx.builder.labels import NODE
from ci_buildx.builder.pods import Object, PodView, condition, is_ready, view
from ci_buildx.builder.verdict import Autoscaler, Case, moment_of
from ci_buildx.model.record import dataclass, field

_KEPT_EVENTS = 200


@dataclass(slots=True)
class Observation:
    """Pods by name, those that vanished, events by the name of what they are about, Jobs by node."""

    pods: dict[str, Object] = field(default_factory=dict)
    vanished: dict[str, Object] = field(default_factory=dict)
    events: dict[str, dict[str, Object]] = field(default_factory=dict)
    jobs: dict[str, Object] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)
    autoscaler: Autoscaler = Autoscaler.UNKNOWN
    monotonic: Callable[[], float] = time.monotonic
    _offset: tuple[float, float] | None = None

    def note_pod(self, pod: Object, job: Object | None, *, gone: bool) -> None:
        """Take in a pod's new state, and its Job's where that was asked for."""
        name, node = pod["metadata"]["name"], _node(pod)
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
        """Take in an event, or its repetition. Of what floods, the latest are kept."""
        about = self.events.setdefault(_subject(event.get("involvedObject") or {}), {})
        uid = event["metadata"].get("uid", event["metadata"]["name"])
        about.pop(uid, None)
        about[uid] = event
        if len(about) > _KEPT_EVENTS:
            del about[next(iter(about))]

    def views(self, node: str) -> tuple[PodView, ...]:
        """The pods of a node, by name."""
        views = [view(pod) for pod in self.pods.values() if _node(pod) == node]
        return tuple(sorted(views, key=lambda pod: pod.name))

    def has_unplaced(self) -> bool:
        """Whether the scheduler has found no node for a pod."""
        return any(condition(pod, "PodScheduled").get("status") == "False" for pod in self.pods.values())

    def cases(self, node: str, workload: str, now: float) -> list[Case]:
        """A case for each pod of a node, and one for the Job while it has none."""
        present = [pod for pod in self.pods.values() if _node(pod) == node]
        gone = [pod for pod in self.vanished.values() if _node(pod) == node]
        if not present and not gone:
            return [self._case(workload, None, now, node)]
        return [
            *(self._case(workload, pod, now, node) for pod in present),
            *(self._case(workload, pod, now, node, vanished=True) for pod in gone),
        ]

    def unmade(self, node: str, workload: str, now: float) -> Case:
        """The case of a pod that the workload has not made."""
        return self._case(workload, None, now, node)

    def clock(self, server_time: float | None) -> float:
        """Epoch seconds of the server's clock now: its last answer and what has passed since it was first seen."""
        moment = self.monotonic()
        if server_time is None:
            return time.time()
        if self._offset is None or self._offset[0] != server_time:
            self._offset = (server_time, moment)
        return server_time + moment - self._offset[1]

    def _case(self, workload: str, pod: Object | None, now: float, node: str, *, vanished: bool = False) -> Case:
        name = pod["metadata"]["name"] if pod is not None else ""
        subjects = [workload, name, *(_claims(pod) if pod else self._replica_sets(workload))]
        about = [event for subject in subjects if subject for event in self.events.get(subject, {}).values()]
        about = [event for event in about if pod is None or not _of_another(event, pod)]
        return Case(
            workload=workload,
            pod=pod,
            events=tuple(sorted(about, key=moment_of)),
            job=self.jobs.get(node),
            now=now,
            autoscaler=self.autoscaler,
            served=name in self.served,
            vanished=vanished,
        )

    def _replica_sets(self, workload: str) -> list[str]:
        """What a Deployment leaves the making of its pods to, where that has anything to tell."""
        return [
            name
            for name, about in self.events.items()
            if name.startswith(f"{workload}-")
            and any(event["involvedObject"].get("kind") == "ReplicaSet" for event in about.values())
        ]


def _claims(pod: Object) -> list[str]:
    """The volume claims that a pod needs."""
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if volume.get("persistentVolumeClaim")]


def _subject(about: Mapping[str, Any]) -> str:
    """The name of what an event is about; of a ReplicaSet its Deployment's: a hash is appended to that."""
    name = str(about.get("name", ""))
    return name.rpartition("-")[0] if about.get("kind") == "ReplicaSet" else name


def _of_another(event: Object, pod: Object) -> bool:
    """Whether it is about an earlier pod of the same name: a StatefulSet's pods inherit theirs."""
    about, metadata = event.get("involvedObject") or {}, pod["metadata"]
    told = about.get("kind") == "Pod" and about.get("name") == metadata["name"]
    return bool(told and about.get("uid") and metadata.get("uid") and about["uid"] != metadata["uid"])


def _node(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(NODE, ""))
