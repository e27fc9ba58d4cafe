"""A client for the Kubernetes API: REST calls, watches and WebSockets, as the rest of the project uses them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

from ci_buildx.errors import Conflict, InputError, KubeError, LateInputError, Unauthorized, Unreachable
from ci_buildx.kube.config import ClusterAccess, ClusterChoice, load_cluster
from ci_buildx.kube.connection import AnswerTooLarge, explain_connection_failure
from ci_buildx.kube.exchange import CALL_TIMEOUT, ApiCall, ApiExchange, RetryPolicy, encode_query
from ci_buildx.kube.watch import CollectionWatch, WatchEvent
from ci_buildx.model import debug, timestamps
from ci_buildx.wire.http1 import MalformedResponse

if TYPE_CHECKING:
    import kubernetes.client

    from ci_buildx.kube.websocket import WebSocket

_LOG = debug.get_log("kube")
NEWEST_SERVER = (1, 34)
"""Version of the API server to assume if nothing depends on it."""
_PAGE = 500
MOST_PAGES = 200
"""Maximum number of pages of a list: 100,000 objects."""
LARGEST_LIST = 256 << 20
"""Maximum bytes of all pages of a list."""
_LONGEST_NUMBER = 9
_PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}


class KubeClient:
    """A thread-safe client of one cluster's API server that keeps its connections open between calls.

    Every method raises the KubeError tree. An InputError that leaves the ``with`` block after an object was created
    becomes a LateInputError, because exit code 2 promises that nothing was created. Calls are retried after 429, 5xx
    and broken connections, with growing jittered pauses, if a retry is safe. If a retried create of an object with a
    fixed name fails with "already exists", the object counts as created by the first try.
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
        """The namespace of the context; "default" if the context has none."""
        return self._cluster.namespace

    @property
    def server_time(self) -> float | None:
        """The server's clock at its last response, in epoch seconds; None before the first response."""
        try:
            return float(timestamps.parse_http_date(self._exchange.date))
        except ValueError:
            return None

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """Read the object at ``path`` (``/api/v1/…``)."""
        return self._exchange.call(ApiCall(method="GET", path=path, query=encode_query(query)))

    def create(self, path: str, body: dict[str, Any], **query: Any) -> dict[str, Any]:
        """POST ``body`` to a collection; with ``dryRun="All"`` only check whether it would be admitted."""
        metadata = body.get("metadata") or {}
        # Reviews have no name and are not stored; with generateName each try would create another object.
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
        """Patch an object; ``kind`` is ``merge``, ``strategic`` or ``json`` (``json`` is not retried)."""
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

    def delete(self, path: str, *, options: Mapping[str, Any] | None = None, **query: Any) -> dict[str, Any]:
        """Delete an object, or the objects of a collection that ``query`` selects; ``options`` are DeleteOptions."""
        body = None if options is None else {"kind": "DeleteOptions", "apiVersion": "v1", **options}
        encoded = json.dumps(body).encode() if body else b""
        return self._exchange.call(ApiCall(method="DELETE", path=path, query=encode_query(query), body=encoded))

    def list(self, path: str, **query: Any) -> dict[str, Any]:
        """Read a whole collection page by page; ``items`` of the result holds all objects.

        Raises KubeError if the list has more than :data:`MOST_PAGES` pages or :data:`LARGEST_LIST` bytes. If a continue
        token has expired (410), reads the list again in a single request. A list from the server's cache
        (``resourceVersion="0"``) that is too large for one answer is read from the storage, page by page.
        """
        sizes: list[int] = []

        def count(size: int) -> None:
            sizes.append(size)
            if sum(sizes) > LARGEST_LIST:
                raise KubeError(f"GET {path}: the list has more than {LARGEST_LIST} bytes")

        def get(**query: Any) -> dict[str, Any]:
            asked = encode_query({"limit": _PAGE, **query})
            return self._exchange.call(ApiCall(method="GET", path=path, query=asked, count=count))

        try:
            whole = get(**query)
        except Unreachable as failure:
            # From its cache the API server may answer without regard to the limit: with 64 MiB for 5,000 nodes.
            if not isinstance(failure.__cause__, AnswerTooLarge) or query.pop("resourceVersion", "") != "0":
                raise
            whole = get(**query)
        items = whole.setdefault("items", None) or []
        page, pages = whole, 1
        while token := (page.get("metadata") or {}).get("continue"):
            pages += 1
            if pages > MOST_PAGES or len(items) > MOST_PAGES * _PAGE:
                raise KubeError(f"GET {path}: the list has more than {MOST_PAGES} pages of {_PAGE} objects")
            try:
                page = get(**{**query, "continue": token})
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
        """Watch the collection at ``path``; see :class:`ci_buildx.kube.watch.CollectionWatch`.

        ``deadline`` is a time.monotonic() value. ``resource_version`` is where to start; "" lists the collection first.
        Setting ``stop`` ends the watch; ``listed`` is set once the first list has been consumed.
        """
        listing = ApiCall(method="GET", path=path, query=encode_query(query))
        stop = stop or threading.Event()
        watch = CollectionWatch(self._exchange, self._retry, listing, deadline=deadline, stop=stop, listed=listed)
        return watch.watch_events(resource_version)

    def open_stream(self, path: str, *, stop: threading.Event | None = None, **query: Any) -> Iterator[bytes]:
        """Stream the plain-text response of ``path`` as it arrives, until it ends or ``stop`` is set."""
        return read_chunks(
            self._exchange, ApiCall(method="GET", path=path, query=encode_query(query)), stop or threading.Event()
        )

    def open_websocket(self, path: str, query: Sequence[tuple[str, str]], protocols: Sequence[str]) -> WebSocket:
        """Connect a non-blocking WebSocket that speaks one of ``protocols``; the first is preferred.

        A 401 renews the credentials and retries once; a 403 of a server that is starting is tried again. Raises the
        KubeError tree.
        """
        target = self._exchange.make_target(path, query)
        try:
            return self._exchange.retry_start(lambda: self._upgrade(target, protocols))
        except Unauthorized:
            if not self._exchange.renew():
                raise
        return self._upgrade(target, protocols)

    def warm(self) -> None:
        """Open a connection in the background for a WebSocket that is needed soon and can then skip the dialing."""

        def work() -> None:
            self._exchange.warm()
            import_module("ci_buildx.kube.websocket")

        threading.Thread(target=work, daemon=True, name="warm").start()

    def read_server_version(self) -> tuple[int, int]:
        """Return the major and minor version of the API server; asked once, then cached."""
        if self._version is None:
            answer = self.get("/version")
            major, minor = (_parse_leading_number(str(answer.get(part) or "")) for part in ("major", "minor"))
            self._version = (major, minor)
        return self._version

    def make_official_client(self) -> kubernetes.client.ApiClient:
        """Make the official package's ApiClient with the same credentials.

        Only for code off the hot path: the package is slow to import.
        """
        from ci_buildx.kube.official_client import make_api_client

        return make_api_client(self._cluster, self._exchange.dialer)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._exchange.closed

    def close(self) -> None:
        """Close the connections and end running watches. WebSockets stay open; their users close them."""
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
                    continue  # a server may close an idle connection at any time
                if isinstance(cause, (OSError, MalformedResponse)):
                    raise explain_connection_failure(cause, self._cluster) from cause
                raise
            call.log("101, a WebSocket", began, reused=connection.reused)
            return opened


def _parse_leading_number(text: str) -> int:
    """Parse the leading digits: providers write minor versions such as ``29+``."""
    digits = text[: len(text) - len(text.lstrip("0123456789"))]
    return int(digits[:_LONGEST_NUMBER] or 0)


_TICK = 0.1
"""Seconds between two checks of the stop event."""


def read_chunks(exchange: ApiExchange, call: ApiCall, stop: threading.Event) -> Iterator[bytes]:
    """Yield the response body as it arrives, until it ends or ``stop`` is set.

    Raises the KubeError tree.
    """
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
    """Apply the merge patch that ``change`` derives from the object at ``path``, and return the resulting object.

    ``change`` returns None to leave the object alone. If another writer was faster, the object is read and ``change``
    is called again, so that no update is lost: the API server compares resourceVersion (Kubernetes API conventions,
    "Concurrency Control and Consistency"). Raises KubeError, Conflict after five tries.
    """
    for left in reversed(range(_TRIES)):
        found = kube.get(path)
        changes = change(found)
        if changes is None:
            return found
        version = {"resourceVersion": found["metadata"].get("resourceVersion", "")}
        try:
            return kube.patch(path, {**changes, "metadata": {**changes.get("metadata", {}), **version}})
        except Conflict:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


def make_kube_client(choice: ClusterChoice, *, env: Mapping[str, str]) -> KubeClient:
    """Return a client of the cluster that the user chose. Raises InputError if there is none."""
    return KubeClient(load_cluster(choice, env=env))
