"""Watches of a collection that survive closed and broken connections, bookmarks and 410, which requires a new list.

Source: the API conventions on efficient detection of changes; an ERROR event's object is a metav1.Status, a BOOKMARK's
carries only a resource version (apimachinery v0.34.2, ``pkg/watch``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from ci_buildx.errors import KubeError, Throttled, Unreachable
from ci_buildx.kube.connection import explain_connection_failure
from ci_buildx.kube.exchange import CALL_TIMEOUT, ApiCall, ApiExchange, RetryPolicy, encode_query
from ci_buildx.kube.shape import find_fault
from ci_buildx.model import debug
from ci_buildx.model.documents import parse_json
from ci_buildx.model.record import dataclass, replace
from ci_buildx.wire.http1 import MalformedResponse

_GONE = 410
_LOG = debug.get_log("kube")
_TICK = 0.1
"""Seconds between two checks of the stop event."""
_LONGEST = 290
"""Seconds that one connection is asked to last: many load balancers cut connections after five minutes."""
LARGEST_EVENT = 16 << 20
"""Maximum bytes of one event; etcd accepts objects of 1.5 MiB."""
MOST_KNOWN = 100_000
"""Maximum number of objects of a watched collection."""
MOST_BYTES = 64 << 20
"""Maximum bytes of the objects that have come by events since the last list: a list may have as many."""


class ChangeKind(StrEnum):
    """The kind of change to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


_CHANGES = frozenset(ChangeKind)


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change; ``object`` is the object after it (before it, if it was deleted)."""

    type: ChangeKind
    object: dict[str, Any]


class CollectionWatch:
    """One watch of the collection that ``listing`` reads, until ``deadline`` (a time.monotonic() value) or ``stop``.

    ``listed`` is set when the consumer has received all objects of the first list.
    """

    def __init__(
        self,
        exchange: ApiExchange,
        retry: RetryPolicy,
        listing: ApiCall,
        *,
        deadline: float,
        stop: threading.Event,
        listed: threading.Event | None = None,
    ) -> None:
        self._exchange = exchange
        self._retry = retry
        self._listing = listing
        self._deadline = deadline
        self._stop = stop
        self._listed = listed
        self._failures = 0
        self._known: dict[str, dict[str, Any]] = {}
        self._sizes: dict[str, int] = {}
        self._size = 0
        self._version = ""

    def watch_events(self, version: str) -> Iterator[WatchEvent]:
        """Yield the changes since ``version``; with "", first yield every existing object as ADDED.

        Ends at the deadline or on ``stop``. Raises KubeError if the API server refuses permanently, or at the deadline
        if the server was still unreachable.
        """
        self._version = version
        failure: KubeError | None = None
        while not self._is_over():
            try:
                if not self._version:
                    yield from self._relist()
                yield from self._follow()
                failure = None
                self._pause()
            except KubeError as caught:
                if caught.status == _GONE:
                    self._version = ""
                elif not isinstance(caught, (Throttled, Unreachable)):
                    raise
                failure = caught
                _LOG.debug("watch %s is restarted: %s", self._listing.path, caught)
                self._pause()
                self._failures += 1
        if failure is not None and self._failures > 1 and not self._stop.is_set():
            raise failure

    def _pause(self) -> None:
        """Pause between connections, so that a server that closes each one at once is not flooded."""
        if self._is_over():
            return
        left = max(self._deadline - time.monotonic(), 0.0)
        self._stop.wait(min(self._retry.pause(self._failures), left))

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._exchange.closed or time.monotonic() >= self._deadline

    def _relist(self) -> Iterator[WatchEvent]:
        """List again: yield changed known objects as MODIFIED, new ones as ADDED and vanished ones as DELETED."""
        listed = self._exchange.call(self._listing)
        before, self._known = self._known, {_read_identity(item): item for item in listed.get("items") or ()}
        self._sizes, self._size = {}, 0
        for identity, item in before.items():
            if identity not in self._known:
                yield WatchEvent(ChangeKind.DELETED, item)
        for identity, item in self._known.items():
            if identity not in before:
                yield WatchEvent(ChangeKind.ADDED, item)
            elif _read_version(before[identity]) != _read_version(item):
                yield WatchEvent(ChangeKind.MODIFIED, item)
        self._version = _read_version(listed) or "0"
        if self._listed is not None:
            self._listed.set()

    def _follow(self) -> Iterator[WatchEvent]:
        """Yield the events of one connection until the server closes it."""
        for line in self._read_lines():
            try:
                event = parse_json(line)
                kind, item = event["type"], event["object"]
            except (ValueError, KeyError, TypeError) as cause:
                raise self._make_event_error() from cause
            if not isinstance(kind, str) or find_fault(item, is_stored=kind in _CHANGES):
                raise self._make_event_error()
            if kind == "ERROR":
                from ci_buildx.kube.refusal import read_status_error

                raise read_status_error(item)
            self._version = _read_version(item) or self._version
            self._failures = 0
            if _LOG.is_on:
                _LOG.debug("watch %s: %s %s, version %s", self._listing.path, kind, _name(item), self._version)
            if kind in _CHANGES:
                yield self._note_events(ChangeKind(kind), item, len(line))

    def _make_event_error(self) -> Unreachable:
        return Unreachable(f"malformed event in the watch of {self._listing.path}")

    def _note_events(self, change: ChangeKind, item: dict[str, Any], size: int) -> WatchEvent:
        identity = _read_identity(item)
        self._size -= self._sizes.pop(identity, 0)
        if change is ChangeKind.DELETED:
            self._known.pop(identity, None)
        else:
            self._known[identity] = item
            self._sizes[identity] = size
            self._size += size
            if len(self._known) > MOST_KNOWN:
                raise KubeError(f"the watch of {self._listing.path} has more than {MOST_KNOWN} objects")
            if self._size > MOST_BYTES:
                raise KubeError(f"the watch of {self._listing.path} has objects of more than {MOST_BYTES} bytes")
        return WatchEvent(change, item)

    def _read_lines(self) -> Iterator[bytes]:
        seconds = max(1, min(_LONGEST, int(self._deadline - time.monotonic()) + 1))
        query = encode_query(
            {
                "watch": True,
                "allowWatchBookmarks": True,
                "resourceVersion": self._version,
                "timeoutSeconds": seconds,
            }
        )
        call = replace(self._listing, query=self._listing.query + query)
        patience = min(self._deadline, time.monotonic() + CALL_TIMEOUT)
        connection, response, kept = self._exchange.open_stream(call, patience)
        buffer = bytearray(kept)
        try:
            while not self._is_over():
                *lines, rest = buffer.split(b"\n")
                buffer = bytearray(rest)
                yield from (bytes(line) for line in lines if line)
                if response.finished:
                    return
                if len(buffer) > LARGEST_EVENT:
                    raise Unreachable(f"an event in the watch of {self._listing.path} has no end")
                try:
                    buffer += connection.receive(response, min(self._deadline, time.monotonic() + _TICK))
                except TimeoutError:
                    continue
        except (OSError, MalformedResponse) as cause:
            raise explain_connection_failure(cause, self._exchange.cluster) from cause
        finally:
            self._exchange.end(connection)


def _read_identity(item: dict[str, Any]) -> str:
    metadata = item.get("metadata") or {}
    return str(metadata.get("uid") or f"{metadata.get('namespace', '')}/{metadata.get('name', '')}")


def _name(item: dict[str, Any]) -> str:
    return str((item.get("metadata") or {}).get("name") or "")


def _read_version(item: dict[str, Any]) -> str:
    return str((item.get("metadata") or {}).get("resourceVersion") or "")
