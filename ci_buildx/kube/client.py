"""The Kubernetes API as the rest of the project sees it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

from ci_buildx.errors import Conflict, InputError, KubeError, LateInputError, Unauthorized
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.kube.exchange import CALL_TIMEOUT, ApiCall, ApiExchange, RetryPolicy, encode_query
from ci_buildx.kube.tls import explain_connection_failure
from ci_buildx.kube.watch import CollectionWatch, WatchEvent
from ci_buildx.model import debug, timestamps
from ci_buildx.wire.http1 import MalformedResponse

if TYPE_CHECKING:
    import kubernetes.client

    from ci_buildx.kube.websocket import WebSocket

_LOG = debug.get_log("kube")
_PAGE = 500
MOST_PAGES = 200
"""Pages of a list: 100,000 objects."""
_PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}


class KubeClient:
    """Calls to one cluster's API server; thread-safe, keeps its connections open between calls.

    Every method raises the KubeError tree. An InputError that leaves the ``with`` block after something was created
    becomes a LateInputError: exit code 2 promises that nothing was. Calls are tried again after 429, 5xx and broken
    connections, with growing jittered pauses, where doing so is safe: an object with a fixed name that "already
    exists" at the second try counts as made by the first.
    """

    def __init__(self, cluster: ClusterAccess, *, retry: RetryPolicy | None = None) -> None:
        self._cluster = cluster
        self._retry = retry or RetryPolicy()
        self._exchange = ApiExchange(cluster, self._retry)
        self._version: tuple[int, int] | None = None
        self._has_created = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, InputError) and self._has_created:
            raise LateInputError(error) from error

    @property
    def namespace(self) -> str:
        """The namespace of the context, "default" if it has none."""
        return self._cluster.namespace

    @property
    def server_time(self) -> float | None:
        """The server's clock at its last answer, in epoch seconds; None before the first."""
        try:
            return float(timestamps.parse_http_date(self._exchange.date))
        except ValueError:
            return None

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """Read ``path`` (``/api/v1/…``)."""
        return self._exchange.call(ApiCall(method="GET", path=path, query=encode_query(query)))

    def create(self, path: str, body: dict[str, Any], **query: Any) -> dict[str, Any]:
        """Post ``body`` to a collection; with ``dryRun="All"`` only ask whether that would be let in."""
        metadata = body.get("metadata") or {}
        # Reviews have no name and leave no trace; with generateName each try would make another object.
        repeatable = "name" in metadata or "generateName" not in metadata
        made = self._exchange.call(
            ApiCall(
                method="POST",
                path=path,
                query=encode_query(query),
                body=json.dumps(body).encode(),
                repeatable=repeatable,
            )
        )
        self._has_created = self._has_created or ("dryRun" not in query and not path.endswith("reviews"))
        return made

    def patch(self, path: str, body: Any, *, kind: str = "merge", **query: Any) -> dict[str, Any]:
        """Patch an object; ``kind`` is ``merge``, ``strategic`` or ``json`` (which is not repeated)."""
        return self._exchange.call(
            ApiCall(
                method="PATCH",
                path=path,
                query=encode_query(query),
                body=json.dumps(body).encode(),
                content_type=_PATCHES[kind],
                repeatable=kind != "json",
            )
        )

    def delete(self, path: str, *, body: dict[str, Any] | None = None, **query: Any) -> dict[str, Any]:
        """Delete an object, or a collection's objects that ``query`` selects; ``body`` holds DeleteOptions."""
        encoded = json.dumps(body).encode() if body else b""
        return self._exchange.call(ApiCall(method="DELETE", path=path, query=encode_query(query), body=encoded))

    def list(self, path: str, **query: Any) -> dict[str, Any]:
        """Read a whole collection, page by page; ``items`` holds all of it."""
        whole = self.get(path, limit=_PAGE, **query)
        items = whole.setdefault("items", None) or []
        page, pages = whole, 1
        while token := (page.get("metadata") or {}).get("continue"):
            pages += 1
            if pages > MOST_PAGES or len(items) > MOST_PAGES * _PAGE:
                raise KubeError(f"GET {path}: the list has more than {MOST_PAGES} pages of {_PAGE} objects")
            try:
                page = self.get(path, limit=_PAGE, **{**query, "continue": token})
            except KubeError as failure:
                if failure.status != 410:
                    raise
                return self.get(path, **query)
            items += page.get("items") or []
        whole["items"] = items
        return whole

    def watch(
        self,
        path: str,
        *,
        resource_version: str = "",
        deadline: float,
        stop: threading.Event | None = None,
        listed: threading.Event | None = None,
        **query: Any,
    ) -> Iterator[WatchEvent]:
        """The changes of a collection, see :class:`ci_buildx.kube.watch.CollectionWatch`. ``deadline`` is a
        time.monotonic().
        """
        listing = ApiCall(method="GET", path=path, query=encode_query(query))
        stop = stop or threading.Event()
        watch = CollectionWatch(self._exchange, self._retry, listing, deadline=deadline, stop=stop, listed=listed)
        return watch.watch_events(resource_version)

    def open_stream(self, path: str, *, stop: threading.Event | None = None, **query: Any) -> Iterator[bytes]:
        """What ``path`` answers as plain text, as it comes, until its end or ``stop``."""

        return read_chunks(
            self._exchange, ApiCall(method="GET", path=path, query=encode_query(query)), stop or threading.Event()
        )

    def open_websocket(self, path: str, query: Sequence[tuple[str, str]], protocols: Sequence[str]) -> WebSocket:
        """A connected, non-blocking WebSocket that speaks one of ``protocols``, the first one preferred."""
        target = self._exchange.make_target(path, query)
        try:
            return self._upgrade(target, protocols)
        except Unauthorized:
            if not self._exchange.renew():
                raise
        return self._upgrade(target, protocols)

    def warm(self) -> None:
        """Open a connection beside whatever goes on: a WebSocket will be wanted soon, and can begin with a request."""

        def work() -> None:
            self._exchange.warm()
            import_module("ci_buildx.kube.websocket")

        threading.Thread(target=work, daemon=True, name="warm").start()

    def read_server_version(self) -> tuple[int, int]:
        """Major and minor version of the API server."""
        if self._version is None:
            answer = self.get("/version")
            major, minor = (_parse_leading_number(str(answer.get(part) or "")) for part in ("major", "minor"))
            self._version = (major, minor)
        return self._version

    def make_official_client(self) -> kubernetes.client.ApiClient:
        """The official package's client with the same credentials, for what is off the hot path: it imports slowly."""
        from ci_buildx.kube.official_client import make_api_client

        return make_api_client(self._cluster, self._exchange.dialer)

    def close(self) -> None:
        """Close the connections and end running watches. WebSockets are their users' own."""
        self._exchange.close()

    def _upgrade(self, target: str, protocols: Sequence[str]) -> WebSocket:
        from ci_buildx.kube.websocket import upgrade_connection

        path, _, query = target.partition("?")
        call = ApiCall(method="GET", path=path, query=tuple(parse_qsl(query)) if _LOG.is_on else ())
        while True:
            began = time.monotonic()
            connection = self._exchange.borrow()
            try:
                opened = upgrade_connection(
                    connection.stream, target, self._exchange.make_headers(), protocols, CALL_TIMEOUT
                )
            except BaseException as cause:
                connection.close()
                call.log(getattr(cause, "status", 0) or repr(cause), began, reused=connection.reused)
                if connection.reused and isinstance(cause, ConnectionError):
                    continue  # the server may close an idle connection at any time
                if isinstance(cause, (OSError, MalformedResponse)):
                    raise explain_connection_failure(cause, self._cluster) from cause
                raise
            call.log("101, a WebSocket", began, reused=connection.reused)
            return opened


def _parse_leading_number(text: str) -> int:
    """Providers write minor versions such as ``29+``."""
    digits = text[: len(text) - len(text.lstrip("0123456789"))]
    return int(digits or 0)


_TICK = 0.1
"""Seconds between two looks at the stop event."""


def read_chunks(exchange: ApiExchange, call: ApiCall, stop: threading.Event) -> Iterator[bytes]:
    """What comes, as it comes, until its end or ``stop``. Raises the KubeError tree."""
    connection, response, kept = exchange.open_stream(call, time.monotonic() + CALL_TIMEOUT)
    try:
        if kept:
            yield kept
        while not response.finished and not stop.is_set():
            try:
                received = connection.receive(response, time.monotonic() + _TICK)
            except TimeoutError:
                continue
            if received:
                yield received
    except (OSError, MalformedResponse) as cause:
        raise explain_connection_failure(cause, exchange.cluster) from cause
    finally:
        exchange.end(connection)


_TRIES = 5


def amend_object(
    kube: KubeClient, path: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
) -> dict[str, Any]:
    """Merge into an object what ``change`` makes of it, None for nothing; the object then.

    It is read and changed anew where somebody else was faster, whose change would be lost: the API server compares
    resourceVersion (Kubernetes API conventions, "Concurrency Control and Consistency"). Raises KubeError.
    """
    for left in reversed(range(_TRIES)):
        found = kube.get(path)
        changes = change(found)
        if changes is None:
            return found
        version = {"resourceVersion": found["metadata"]["resourceVersion"]}
        try:
            return kube.patch(path, {**changes, "metadata": {**changes.get("metadata", {}), **version}})
        except Conflict:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")
