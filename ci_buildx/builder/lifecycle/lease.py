"""A Lease that a job renews beside its builder, so that a reaper can detect killed jobs.

The cluster ends a builder at its deadline in any case; with an expired Lease it is removed minutes after its job. All
times are the API server's, because a runner's clock may be wrong.
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
"""Seconds between two renewals."""
SILENCE = 300
"""Seconds without a renewal after which a job counts as killed; longer than a restart of the API server takes."""
GROUP = "/apis/coordination.k8s.io/v1"

_PART = "heartbeat"


class LeaseRenewal:
    """Context manager that renews the Lease of the builder at ``location``.

    It costs the job only an occasional call, in its own thread, and never fails the job: without the right to renew,
    the builder's deadline must suffice. ``marks`` are the builder's labels, ``owner`` returns the reference to the
    Lease's owner, ``interval`` is in seconds.
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
        # A renewal under way is harmless: the Lease is deleted with the namespace or with its owner.
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
                    # The Lease is our own, created by a request whose answer was lost: renew it at once.
                    begun = True
                    continue
            except NotFound:
                begun = False  # It was deleted, or the builder is gone.
            except Forbidden:
                if not begun:
                    return
                # A Lease once created may become renewable; giving up would let a reaper take a live job for dead.
            except KubeBuilderError:
                pass  # Retry at the next interval.
            self._end.wait(self._interval)

    def _sign(self, now: str, *, begun: bool) -> bool:
        """Renew the Lease, or create it first; return True, because it exists now."""
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
        """Return the server's clock and the local monotonic clock, both at the server's last answer."""
        return self._kube.server_time or time.time(), time.monotonic()

    def _compute_now(self, answered: tuple[float, float]) -> float:
        return answered[0] + time.monotonic() - answered[1]


def make_lease(
    location: BuilderLocation, renewed: str, *, marks: Mapping[str, str], owners: Iterable[Mapping[str, str]] = ()
) -> Manifest:
    """Return the Lease of a builder, renewed at ``renewed`` (RFC 3339 with microseconds)."""
    metadata: Manifest = {"name": make_lease_name(location), "labels": dict(marks)}
    if references := [dict(owner) for owner in owners]:
        metadata["ownerReferences"] = references
    spec = {"holderIdentity": location.name, "leaseDurationSeconds": SILENCE, "renewTime": renewed}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def make_lease_name(location: BuilderLocation) -> str:
    """Return the name of a builder's Lease."""
    return location.make_object_name(_PART)


def select_silent_builders(leases: Iterable[Mapping[str, Any]], now: float) -> dict[BuilderLocation, str]:
    """Return the builders whose Leases have expired, each with the time of the last renewal.

    ``now`` is the server's clock in epoch seconds. A Lease that is not provably a builder's own, or that is invalid, is
    ignored.
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
    """Return the time of the last renewal if that is too long ago, else ""."""
    text, allowed = spec.get("renewTime"), spec.get("leaseDurationSeconds")
    if not isinstance(text, str) or not isinstance(allowed, int) or allowed < 1:
        return ""
    return text if text.endswith("Z") and compute_age(text, now) > allowed else ""


def _make_path(location: BuilderLocation) -> str:
    return f"{GROUP}/namespaces/{location.namespace}/leases"


def _format_time(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1e6):06}Z"
