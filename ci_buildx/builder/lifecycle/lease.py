"""A sign of life that a job gives beside its builder: a Lease, by which a reaper knows of a job that was killed.

The cluster ends a builder at its deadline whatever happens; with a Lease that is not renewed any more it is over
minutes after its job. All times are the API server's: a runner's clock may be wrong.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from ci_buildx.builder import labels
from ci_buildx.builder.builder import BuilderLocation, Manifest
from ci_buildx.builder.identity import PREFIX
from ci_buildx.builder.pods import compute_age
from ci_buildx.errors import Conflict, Forbidden, KubeBuilderError, NotFound
from ci_buildx.kube.client import KubeClient

INTERVAL = 30.0
"""Seconds between two signs."""
SILENCE = 300
"""Seconds without a sign after which a job counts as killed: more than a restart of the API server takes."""
GROUP = "/apis/coordination.k8s.io/v1"

_PART = "heartbeat"


class LeaseRenewal:
    """Entered, it renews the Lease of the builder at ``location`` until it is left.

    It costs the job nothing but a call now and then, in a thread of its own, and is no reason to fail: where it is
    not allowed, the deadline must do. ``marks`` are the builder's labels, ``owner`` is what the Lease goes with.
    """

    def __init__(
        self,
        kube: KubeClient,
        location: BuilderLocation,
        *,
        marks: Mapping[str, str],
        owner: Callable[[], Mapping[str, str] | None] = lambda: None,
        interval: float = INTERVAL,
    ) -> None:
        self._kube = kube
        self._location = location
        self._marks = marks
        self._owner = owner
        self._interval = interval
        self._end = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._renew_forever, daemon=True, name="heartbeat").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A renewal under way does no harm: the Lease goes with the namespace, or with its owner.
        self._end.set()

    def _renew_forever(self) -> None:
        begun = False
        answered = self._read_clocks()
        while not self._end.is_set():
            try:
                begun = self._sign(_format_time(self._compute_now(answered)), begun=begun)
                answered = self._read_clocks()
            except Conflict:
                if not begun:
                    # One of our own, made by a request whose answer was lost: it is renewed at once.
                    begun = True
                    continue
            except NotFound:
                begun = False  # Somebody has removed it; or the builder is gone.
            except Forbidden:
                if not begun:
                    return
                # What could be made may be renewed again: a reaper would take a job for dead that only fell silent.
            except KubeBuilderError:
                pass  # It is tried the next time.
            self._end.wait(self._interval)

    def _sign(self, now: str, *, begun: bool) -> bool:
        """Renew the Lease, or make it first. That it is there now."""
        if begun:
            self._kube.patch(
                f"{_make_path(self._location)}/{make_lease_name(self._location)}", {"spec": {"renewTime": now}}
            )
        else:
            owner = self._owner()
            made = make_lease(self._location, now, marks=self._marks, owners=[owner] if owner else [])
            self._kube.create(_make_path(self._location), made)
        return True

    def _read_clocks(self) -> tuple[float, float]:
        """The server's clock and ours, at its last answer."""
        return self._kube.server_time or time.time(), time.monotonic()

    def _compute_now(self, answered: tuple[float, float]) -> float:
        return answered[0] + time.monotonic() - answered[1]


def make_lease(
    location: BuilderLocation, renewed: str, *, marks: Mapping[str, str], owners: Iterable[Mapping[str, str]] = ()
) -> Manifest:
    """The Lease of a builder, renewed at ``renewed`` (RFC 3339 with microseconds)."""
    metadata: Manifest = {"name": make_lease_name(location), "labels": dict(marks)}
    if references := [dict(owner) for owner in owners]:
        metadata["ownerReferences"] = references
    spec = {"holderIdentity": location.name, "leaseDurationSeconds": SILENCE, "renewTime": renewed}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def make_lease_name(location: BuilderLocation) -> str:
    """What a builder's Lease is called."""
    return location.make_object_name(_PART)


def select_silent_builders(leases: Iterable[Mapping[str, Any]], now: float) -> dict[BuilderLocation, str]:
    """The builders whose jobs have given no sign for longer than their Leases allow, and when the last one was.

    ``now`` is the server's clock in epoch seconds. A Lease that is not provably a builder's own, or that cannot be
    read, says nothing.
    """
    found = {}
    for each in leases:
        location = _read_location(each)
        renewed = _find_overdue(each.get("spec") or {}, now)
        if location is not None and renewed:
            found[location] = renewed
    return found


def _read_location(found: Mapping[str, Any]) -> BuilderLocation | None:
    metadata = found["metadata"]
    builder, namespace = (metadata.get("labels") or {}).get(labels.BUILDER, ""), metadata.get("namespace", "")
    location = BuilderLocation(name=builder, namespace=namespace, exclusive=namespace == builder)
    ours = builder.startswith(PREFIX) and labels.belongs_to(found, builder)
    return location if ours and metadata.get("name") == make_lease_name(location) else None


def _find_overdue(spec: Mapping[str, Any], now: float) -> str:
    """The time of the last sign where that is too long ago, else ""."""
    text, allowed = spec.get("renewTime"), spec.get("leaseDurationSeconds")
    if not isinstance(text, str) or not isinstance(allowed, int) or allowed < 1:
        return ""
    return text if text.endswith("Z") and compute_age(text, now) > allowed else ""


def _make_path(location: BuilderLocation) -> str:
    return f"{GROUP}/namespaces/{location.namespace}/leases"


def _format_time(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1e6):06}Z"
