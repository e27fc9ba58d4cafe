"""Leases by which builds share the pods of a builder: their manifests, and what a list of them means.

A running build holds a slot: a Lease that belongs to one pod and has a number. A waiting build has a ticket: a Lease
whose creation gives its place in the queue. All of them are in the builder's namespace, so builds on any machine see
the same. A Lease counts until its renewal is too old by the API server's clock (coordination.k8s.io/v1, Kubernetes
1.34). Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import BuilderLocation, Manifest
from ci_buildx.builder.pods import PodView
from ci_buildx.model import timestamps
from ci_buildx.model.record import dataclass, field, replace

GROUP = "/apis/coordination.k8s.io/v1"
SLOT_SECONDS = 60
"""Seconds without a renewal after which a slot is free: longer than a restart of the API server takes."""
TICKET_SECONDS = 30
"""Seconds without a renewal after which a ticket no longer counts: until then, a killed build delays the next one."""
LONGEST_DURATION = 600
"""Maximum seconds for which a renewal counts, whatever the Lease says: its writer may be gone, or hostile."""
MOST_AHEAD = 300.0
"""Maximum seconds by which a renewal may be later than this API server's clock: another one may have written it."""
_LONGEST_KEY = 200
"""Longest sticky key, in characters, that a Lease shows."""


class LeaseRole(StrEnum):
    """The role of a Lease in a pool; the value of its label."""

    SLOT = "slot"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolNode:
    """One node of a builder, for the Leases of its builds.

    ``owner`` refers to the object with which tickets are deleted, {} if it is unknown; slots belong to their pod.
    """

    location: BuilderLocation
    name: str
    owner: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Return the API path of the Leases' collection."""
        return f"{GROUP}/namespaces/{self.location.namespace}/leases"

    @property
    def selector(self) -> str:
        """Return the label selector of the node's slots and tickets."""
        return f"{self.location.selector},{labels.NODE}={self.name},{labels.POOL}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLease:
    """A slot or ticket as stored in the cluster.

    ``version`` is its resourceVersion and ``expires`` is in epoch seconds by the API server's clock. ``owner`` is the
    uid of the pod that a slot belongs to; ``holder`` is "" for a Lease that was given up at ``renewed``. ``number`` is
    a slot's number in its pod, or a ticket's place in the order of creation.
    """

    name: str
    role: LeaseRole
    version: str = ""
    uid: str = ""
    owner: str = ""
    holder: str = ""
    renewed: float = 0.0
    expires: float = 0.0
    number: int = 0
    created: str = ""

    @property
    def place(self) -> tuple[str, int, str]:
        """Return what orders tickets: the second of their creation, which no client can set, then their numbers."""
        return self.created, self.number, self.name

    def is_held(self, now: float) -> bool:
        """Return whether a build holds it at ``now``, the API server's clock in epoch seconds."""
        return bool(self.holder) and self.renewed - MOST_AHEAD <= now <= self.expires


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """The Leases of one node by name, as listed and watched so far."""

    leases: Mapping[str, PoolLease] = field(default_factory=dict)

    def change(self, lease: PoolLease, *, gone: bool = False) -> PoolView:
        """Return the view after one Lease was changed or deleted."""
        left = {name: one for name, one in self.leases.items() if name != lease.name}
        return replace(self, leases=left if gone else {**left, lease.name: lease})

    def list_held(self, pod: PodView, now: float) -> frozenset[int]:
        """Return the numbers of a pod's slots that builds hold."""
        return frozenset(
            one.number
            for one in self.leases.values()
            if one.role is LeaseRole.SLOT and one.owner == pod.uid and one.is_held(now)
        )

    def list_queue(self, now: float) -> tuple[PoolLease, ...]:
        """Return the tickets of waiting builds in the order of their creation by the API server."""
        waiting = (one for one in self.leases.values() if one.role is LeaseRole.TICKET and one.is_held(now))
        return tuple(sorted(waiting, key=lambda one: one.place))

    def list_abandoned(self, now: float, *, grace: float = SLOT_SECONDS) -> tuple[PoolLease, ...]:
        """Return Leases of killed builds: those that have not counted for ``grace`` seconds, or are from the future.

        A slot that was given up is not abandoned: it shows when an elastic pool's pod was last used.
        """
        return tuple(
            one
            for one in self.leases.values()
            if (now > one.expires + grace or one.renewed > now + MOST_AHEAD + grace)
            and (one.holder or one.role is LeaseRole.TICKET)
        )


def make_slot_name(pod: PodView, number: int) -> str:
    """Return the name of a slot; it has the pod's uid, because a StatefulSet uses names of pods again."""
    return f"{pod.name}-{pod.uid[:8]}-slot-{number}"


def make_slot(node: PoolNode, pod: PodView, number: int, *, holder: str, key: str, renewed: str) -> Manifest:
    """Return the Lease of a slot, renewed at ``renewed`` (RFC 3339); it is deleted with its pod.

    ``holder`` identifies the build, ``key`` is its sticky key, for people who look at the Lease.
    """
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}
    return _make_lease(
        node, make_slot_name(pod, number), LeaseRole.SLOT, holder=holder, key=key, renewed=renewed, owner=owner
    )


def make_ticket(node: PoolNode, *, holder: str, key: str, renewed: str) -> Manifest:
    """Return the Lease of a build that waits for a slot."""
    name = f"{node.name}-ticket-{holder}"
    return _make_lease(node, name, LeaseRole.TICKET, holder=holder, key=key, renewed=renewed, owner=node.owner)


def _make_lease(
    node: PoolNode, name: str, role: LeaseRole, *, holder: str, key: str, renewed: str, owner: Mapping[str, str]
) -> Manifest:
    marks = {
        labels.MANAGED_BY: labels.MANAGER,
        labels.BUILDER: node.location.name,
        labels.NODE: node.name,
        labels.POOL: role.value,
    }
    # The nonce makes a repeated request recognize the Lease that its first try created (see kube/exchange).
    notes = {labels.NONCE: holder, labels.KEY: _shorten(key)}
    metadata: Manifest = {"name": name, "labels": marks, "annotations": notes}
    if owner:
        metadata["ownerReferences"] = [dict(owner)]
    seconds = SLOT_SECONDS if role is LeaseRole.SLOT else TICKET_SECONDS
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": renewed}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def _shorten(key: str) -> str:
    return key.encode(errors="replace").decode()[:_LONGEST_KEY]


def read_lease(stored: Mapping[str, Any]) -> PoolLease | None:
    """Return a Lease of a pool as stored in the cluster; None if it is not one, or invalid."""
    metadata, spec = stored["metadata"], stored.get("spec") or {}
    name, marks = metadata["name"], metadata.get("labels") or {}
    try:
        role = LeaseRole(marks.get(labels.POOL, ""))
        renewed = timestamps.parse_timestamp(spec.get("renewTime") or metadata.get("creationTimestamp") or "")
    except ValueError:
        return None
    version = metadata.get("resourceVersion") or ""
    owners = [one for one in metadata.get("ownerReferences") or () if one.get("kind") == "Pod"]
    number = _read_slot_number(name) if role is LeaseRole.SLOT else _read_place(metadata, version)
    return PoolLease(
        name=name,
        role=role,
        version=version,
        uid=metadata.get("uid") or "",
        owner=owners[0].get("uid", "") if owners else "",
        holder=spec.get("holderIdentity") or "",
        renewed=renewed,
        # Fractions of a second were dropped.
        expires=renewed + min(spec.get("leaseDurationSeconds") or 0, LONGEST_DURATION) + 1.0,
        number=number,
        created=metadata.get("creationTimestamp") or "",
    )


def read_leases(listed: Iterable[Mapping[str, Any]]) -> PoolView:
    """Return the view of a list of Leases."""
    found = (read_lease(one) for one in listed)
    return PoolView(leases={one.name: one for one in found if one is not None})


def _read_slot_number(name: str) -> int:
    text = name.rpartition("-")[2]
    return int(text) if text.isdecimal() and len(text) < _MOST_DIGITS else 0


_MOST_DIGITS = 19


def _read_place(metadata: Mapping[str, Any], version: str) -> int:
    """Return a ticket's place in the order of creation.

    It is the resourceVersion with which the ticket was created, which the API server counts upwards (Kubernetes API
    conventions; comparable as a number, KEP 5504). The first renewal changes the version and stores the place.
    """
    text = (metadata.get("annotations") or {}).get(labels.TICKET) or version
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else 0
