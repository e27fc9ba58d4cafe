"""What can be said about a pod that is to come up, or that is in use."""

from __future__ import annotations

from enum import StrEnum

from ci_buildx.builder.pods import Object
from ci_buildx.errors import BootError, KubeBuilderError
from ci_buildx.model.record import dataclass

UNSCHEDULABLE = "Unschedulable"
"""The reason of a BootError after which another node may emulate the platforms."""


class Stage(StrEnum):
    """Where a pod is."""

    WAITING = "waiting"
    READY = "ready"
    FAILED = "failed"


class Autoscaler(StrEnum):
    """Whether the cluster makes nodes for pods that do not fit."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reason`` says what is waited for; ``error`` is set when nothing can be waited for any more.

    ``scaling`` says that the cluster is making a node for the pod: that takes longer than any boot.
    """

    stage: Stage
    reason: str = ""
    error: KubeBuilderError | None = None
    scaling: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything known about one pod of a workload.

    ``pod`` is None while the Job has none. ``events`` are those about pod and Job, oldest first. ``now`` is the
    cluster's clock in epoch seconds. ``served`` says that buildkitd in it has answered, ``vanished`` that the pod
    object is gone (``pod`` is then its last state).
    """

    workload: str
    pod: Object | None
    events: tuple[Object, ...] = ()
    job: Object | None = None
    now: float = 0.0
    autoscaler: Autoscaler = Autoscaler.UNKNOWN
    served: bool = False
    vanished: bool = False

    @property
    def subject(self) -> str:
        """What an error names."""
        return f"pod {self.pod['metadata']['name']}" if self.pod else f"job {self.workload}"

    def failed(self, reason: str, detail: str, fix: str = "") -> Verdict:
        """It cannot start: ``reason`` is Kubernetes' word."""
        return Verdict(Stage.FAILED, reason, BootError(self.subject, reason, _one_line(detail), fix=fix))

    def waiting(self, reason: str, *, scaling: bool = False) -> Verdict:
        """It may still start."""
        return Verdict(Stage.WAITING, f"{self.subject}: {_one_line(reason)}", scaling=scaling)

    def recent(self, *reasons: str) -> list[Object]:
        """The events with one of these reasons."""
        return [event for event in self.events if event.get("reason") in reasons]

    def refused_since(self, moment: str) -> bool:
        """Whether a pod of the workload was refused at ``moment`` (RFC 3339, whole seconds) or later."""
        return any(moment_of(event)[:19] >= moment[:19] for event in self.recent("FailedCreate"))


def moment_of(event: Object) -> str:
    """When an event happened last: RFC 3339 in UTC sorts as text."""
    series = (event.get("series") or {}).get("lastObservedTime")
    told = series or event.get("lastTimestamp") or event.get("eventTime")
    return str(told or event["metadata"].get("creationTimestamp") or "")


def times_seen(events: list[Object]) -> int:
    """How often something happened: the API counts repetitions of an event in one object."""
    return sum((event.get("series") or {}).get("count") or event.get("count") or 1 for event in events)


def _one_line(text: str) -> str:
    return " ".join(text.split())
