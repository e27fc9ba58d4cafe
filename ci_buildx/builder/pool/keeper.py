"""Leases that one build holds: claimed by creation or by resourceVersion, renewed in a thread, given up at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Manifest
from ci_buildx.builder.pool.leases import SLOT_SECONDS, TICKET_SECONDS, LeaseRole, PoolLease, PoolNode, read_lease
from ci_buildx.errors import Conflict, Forbidden, KubeError, NotFound, Stopped
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass

RENEWALS = 3
"""Renewals within the time after which a Lease no longer counts."""
_RETRY = 2.0
"""Seconds until a failed renewal is repeated."""
_GIVE_UP_TIME = 5.0
"""Seconds for giving everything up at the end of a job; then the Leases expire by themselves."""
_MOST_SWEPT = 4
"""Maximum number of abandoned Leases that one build deletes."""
_LOG = debug.get_log("builder")


class ServerClock:
    """The API server's clock: that of its last response, plus the time since then."""

    def __init__(self, kube: KubeClient, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._monotonic = monotonic
        self._seen: float | None = None
        self._at = monotonic()

    def read(self) -> float:
        """Return the clock in epoch seconds; the local clock before any response."""
        seen = self._kube.server_time
        if seen is None:
            return time.time()
        if seen != self._seen:
            self._seen, self._at = seen, self._monotonic()
        return seen + self._monotonic() - self._at

    def format(self) -> str:
        """Return the clock as RFC 3339 with microseconds."""
        now = self.read()
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06}Z"


@dataclass(slots=True, kw_only=True)
class _Held:
    """A Lease in our hands; ``lock`` orders its renewals and its end.

    One that is ``kept`` is marked as free at its end instead of being deleted.
    """

    node: PoolNode
    lease: PoolLease
    kept: bool
    due: float
    lost: Callable[[], None]
    lock: threading.Lock

    @property
    def path(self) -> str:
        return f"{self.node.path}/{self.lease.name}"


class LeaseKeeper:
    """Holds the Leases of one build until they are released, or all at once by :meth:`close`. Thread-safe.

    ``holder`` identifies the build in its Leases. No failure to renew ends the build: a slot that another build has
    taken over meanwhile is reported to ``lost`` of :meth:`claim`.
    """

    def __init__(self, kube: KubeClient, holder: str) -> None:
        self.holder = holder
        self.clock = ServerClock(kube)
        self._kube = kube
        self._held: dict[str, _Held] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._started = False

    def claim(
        self,
        node: PoolNode,
        wanted: Manifest,
        known: PoolLease | None = None,
        *,
        lost: Callable[[], None],
        kept: bool = False,
    ) -> PoolLease | None:
        """Claim a Lease: create it, or take over the expired one that is ``known``. Returns None if another was faster.

        Of any number of concurrent claims one succeeds: a name can be created once, and the API server compares the
        resourceVersion of a change. A Lease that is ``kept`` stays after its release, as free. Raises KubeError, and
        Stopped after :meth:`close`.
        """
        try:
            if known is None:
                stored = self._kube.create(node.path, wanted)
            else:
                metadata = {**wanted["metadata"], "resourceVersion": known.version}
                stored = self._kube.patch(f"{node.path}/{known.name}", {**wanted, "metadata": metadata})
        except (Conflict, NotFound):
            if known is None:
                return None
            stored = self._settle_claim(node, wanted)
        lease = read_lease(stored) if stored else None
        if lease is None or lease.holder != self.holder:
            return None
        self._keep(_Held(node=node, lease=lease, kept=kept, due=0.0, lost=lost, lock=threading.Lock()))
        return lease

    def release(self, name: str) -> None:
        """Give a Lease up. Idempotent. A failure is only logged, since the Lease expires by itself."""
        with self._changed:
            held = self._held.pop(name, None)
        if held is None:
            return
        try:
            with held.lock:
                (self._mark_free if held.kept else self._delete)(held, held.lease)
        except KubeError as failure:
            _LOG.debug("Lease %s is left to expire: %s", name, failure)

    def close(self) -> None:
        """Give everything up, also what is being claimed at this moment. Idempotent."""
        with self._changed:
            self._closed = True
            names = list(self._held)
            self._changed.notify_all()
        ends = [threading.Thread(target=self.release, args=(name,), daemon=True) for name in names]
        deadline = time.monotonic() + _GIVE_UP_TIME
        for end in ends:
            end.start()
        for end in ends:
            end.join(max(deadline - time.monotonic(), 0.0))

    def sweep(self, node: PoolNode, abandoned: tuple[PoolLease, ...]) -> None:
        """Delete a few abandoned Leases in the background. Best effort: errors are ignored."""

        def work() -> None:
            for lease in abandoned[:_MOST_SWEPT]:
                try:
                    self._kube.delete(f"{node.path}/{lease.name}", options=_make_preconditions(lease))
                except KubeError as failure:
                    _LOG.debug("abandoned Lease %s is left: %s", lease.name, failure)

        if abandoned:
            threading.Thread(target=work, daemon=True, name="sweep-leases").start()

    def _keep(self, held: _Held) -> None:
        held.due = time.monotonic() + _choose_interval(held.lease)
        with self._changed:
            closed = self._closed
            self._held[held.lease.name] = held
            if not (closed or self._started):
                self._started = True
                threading.Thread(target=self._renew_until_closed, daemon=True, name="leases").start()
            self._changed.notify_all()
        if closed:
            self.release(held.lease.name)
            raise Stopped

    def _settle_claim(self, node: PoolNode, wanted: Manifest) -> dict[str, Any]:
        """Return the Lease, which may be ours: the answer to an earlier try of the same takeover may have been lost.

        Returns {} if it is gone.
        """
        try:
            return self._kube.get(f"{node.path}/{wanted['metadata']['name']}")
        except NotFound:
            return {}

    def _renew_until_closed(self) -> None:
        while True:
            with self._changed:
                if self._closed or self._kube.closed:
                    return
                due = min((one.due for one in self._held.values()), default=time.monotonic() + SLOT_SECONDS)
                if (left := due - time.monotonic()) > 0:
                    self._changed.wait(left)
                    continue
                late = [one for one in self._held.values() if one.due <= time.monotonic()]
            for held in late:
                self._renew(held)

    def _renew(self, held: _Held) -> None:
        with held.lock:
            if held.lease.name not in self._held:
                return
            began = time.monotonic()
            try:
                self._sign(held)
                # The time that was written is that before the call, which may have been repeated for a while.
                held.due = began + _choose_interval(held.lease)
                return
            except NotFound:
                pass
            except KubeError as failure:
                _LOG.debug("Lease %s is not renewed: %s", held.lease.name, failure)
                held.due = time.monotonic() + _RETRY
                return
            with self._changed:
                self._held.pop(held.lease.name, None)
        held.lost()

    def _sign(self, held: _Held) -> None:
        """Renew a Lease. Raises NotFound if it is gone or another build has it, KubeError."""
        metadata: Manifest = {"resourceVersion": held.lease.version}
        if held.lease.role is LeaseRole.TICKET:
            # Until its first renewal, a ticket's version is its place.
            metadata["annotations"] = {labels.TICKET: str(held.lease.number)}
        change = {"metadata": metadata, "spec": {"renewTime": self.clock.format()}}
        try:
            stored = self._kube.patch(held.path, change)
        except Conflict:
            # The answer to an earlier renewal was lost, or another build has taken the Lease over.
            stored = self._kube.get(held.path)
        found = read_lease(stored)
        if found is None or found.holder != self.holder:
            raise NotFound(f"{held.lease.name} has another holder", status=404)
        held.lease = found

    def _delete(self, held: _Held, lease: PoolLease) -> None:
        """Delete a Lease unless another build has it; without the right to delete, mark it as free."""
        try:
            self._kube.delete(held.path, options=_make_preconditions(lease))
        except NotFound:
            return
        except Conflict:
            stored = read_lease(self._kube.get(held.path))
            if stored is not None and stored.holder == self.holder and stored != lease:
                self._delete(held, stored)
        except Forbidden:
            self._mark_free(held, lease)

    def _mark_free(self, held: _Held, lease: PoolLease) -> None:
        """Mark a Lease as free unless another build has it."""
        spec = {"holderIdentity": None, "renewTime": self.clock.format()}
        try:
            self._kube.patch(held.path, {"metadata": {"resourceVersion": lease.version}, "spec": spec})
        except NotFound:
            return
        except Conflict:
            stored = read_lease(self._kube.get(held.path))
            if stored is not None and stored.holder == self.holder and stored != lease:
                self._mark_free(held, stored)


def _choose_interval(lease: PoolLease) -> float:
    """Return the seconds until the next renewal."""
    return (SLOT_SECONDS if lease.role is LeaseRole.SLOT else TICKET_SECONDS) / RENEWALS


def _make_preconditions(lease: PoolLease) -> dict[str, Any]:
    """Return DeleteOptions that delete exactly this version of a Lease."""
    return {"preconditions": {"uid": lease.uid, "resourceVersion": lease.version}}
