"""One call to the API server: authenticated, tried again where that is safe, its refusal translated."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

from ci_buildx.errors import Conflict, InputError, KubeError, NotFound, Throttled, Unauthorized, Unreachable
from ci_buildx.kube import http1, tls
from ci_buildx.kube.config import Cluster
from ci_buildx.kube.connection import Connection, Pool
from ci_buildx.kube.dial import Dialer
from ci_buildx.kube.http1 import Head, MalformedResponse, Response
from ci_buildx.kube.retry import RETRIED, Retry
from ci_buildx.kube.unreachable import explain
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass

AGENT = "kube-builder"
CALL_TIMEOUT = 30.0
DIAL_TIMEOUT = 10.0
_LOG = debug.get_log("kube")
_SHOWN = frozenset(
    (
        *("allowWatchBookmarks", "container", "dryRun", "fieldManager", "fieldSelector", "fieldValidation", "follow"),
        *("gracePeriodSeconds", "labelSelector", "limit", "ports", "previous", "propagationPolicy", "resourceVersion"),
        *("resourceVersionMatch", "sinceSeconds", "stderr", "stdin", "stdout", "tailLines", "timeoutSeconds"),
        *("timestamps", "watch"),
    )
)
"""Query parameters whose values the debug log shows; of any other, such as ``command``, the name alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is asked of the API server. ``repeatable`` means that twice is the same as once."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str = "application/json"
    repeatable: bool = True

    @property
    def asked(self) -> str:
        """The call as an error names it."""
        return f"{self.method} {self.path}"

    def log(self, outcome: object, began: float, *, reused: bool) -> None:
        """Tell the debug log what came of one attempt that ``began`` at a time.monotonic()."""
        if _LOG.is_on:
            way = "" if reused else " on a new connection"
            _LOG.debug(
                "%s%s: %s after %.3f s%s", self.asked, format_query(self.query), outcome, time.monotonic() - began, way
            )


class Exchange:
    """Sends calls over a pool of connections; thread-safe. ``date`` is the last Date header."""

    def __init__(self, cluster: Cluster, retry: Retry) -> None:
        self.cluster = cluster
        self.dialer = Dialer(cluster)
        self.date = ""
        self._retry = retry
        self._pool = Pool(self.dialer, DIAL_TIMEOUT)
        self._lock = threading.Lock()
        self._streams: set[Connection] = set()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._pool.closed

    def close(self) -> None:
        """Close the connections, those of running watches too."""
        self._pool.close()
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.abort()

    def target(self, path: str, query: Sequence[tuple[str, str]]) -> str:
        """The request target: the server URL may have a path of its own."""
        target = quote(self.cluster.url.path.rstrip("/") + path, safe="/:@!$&'()*+,;=~%")
        return f"{target}?{urlencode(query)}" if query else target

    def headers(self) -> dict[str, str]:
        """The headers that each request has."""
        host, port = self.cluster.address
        name = f"[{host}]" if ":" in host else host
        return {
            "Host": f"{name}:{port}",
            "User-Agent": AGENT,
            "Accept": "application/json",
            **self.cluster.identity_headers,
            **self.cluster.credentials.headers(),
        }

    def call(self, call: Call) -> dict[str, Any]:
        """Send ``call`` until it is answered for good. Raises the KubeError tree."""
        refreshed = repeated = False
        attempt, start = 0, time.monotonic()
        while True:
            head: Head | None = None
            try:
                head, body = self._once(call)
                if 200 <= head.status < 300:
                    return self._decoded(body, call)
                failure: KubeError = _refused(head, body, call)
            except Unreachable as unreachable:
                failure = unreachable
            if isinstance(failure, Unauthorized) and not refreshed and self.renew():
                refreshed = True
                continue
            if repeated and (settled := self._settled(call, failure)) is not None:
                return settled
            known = bool(self.date)
            patient = known and isinstance(failure, Unreachable) and time.monotonic() - start < self._retry.patience
            tired = attempt + 1 >= self._retry.attempts and not patient
            if tired or self.closed or not _worth_repeating(call, failure, known=known):
                raise self._completed(failure)
            pause = self._retry.pause(attempt, head.headers.get("retry-after", "") if head else "")
            _LOG.debug("%s %s is tried again in %.3f s: %s", call.method, call.path, pause, failure)
            self._retry.sleep(pause)
            # After 429 the call was surely not processed; after a break or a 5xx it may have been.
            repeated = repeated or failure.status != 429
            attempt += 1

    def renew(self) -> bool:
        """After a 401: fetch new credentials. True if another try makes sense."""
        if not self.cluster.credentials.refresh():
            return False
        self._pool.forget()
        _LOG.debug("401: the credentials are fetched again")
        return True

    def stream(self, call: Call, deadline: float) -> tuple[Connection, Response, bytes]:
        """Open a response that goes on: the caller reads it and gives the connection to :meth:`end`.

        Raises the KubeError tree; nothing is tried again but once after a 401.
        """
        for renewed in (False, True):
            connection = self._pool.take()
            with self._lock:
                self._streams.add(connection)
            try:
                return self._opened(connection, call, deadline)
            except Unauthorized as failure:
                self.end(connection)
                if renewed or not self.renew():
                    raise self._completed(failure) from None
            except BaseException:
                self.end(connection)
                raise
        raise AssertionError("the second try either returns or raises")

    def borrow(self) -> Connection:
        """A connection for something else than HTTP; it does not come back. Raises Unreachable."""
        return self._pool.take()

    def warm(self) -> None:
        """Open a connection that the next who needs one may take. If it cannot be opened, that one will say so."""
        with suppress(KubeError, InputError):
            self._pool.put_back(Connection(self.dialer.open(DIAL_TIMEOUT)))

    def end(self, connection: Connection) -> None:
        """Close a stream's connection."""
        with self._lock:
            self._streams.discard(connection)
        connection.close()

    def _opened(self, connection: Connection, call: Call, deadline: float) -> tuple[Connection, Response, bytes]:
        response, began = Response(), time.monotonic()
        try:
            connection.send(self._request(call), deadline)
            head, body = connection.head(response, deadline)
            if head.status != 200:
                body = connection.read_rest(response, body, deadline)
        except (OSError, MalformedResponse) as cause:
            call.log(repr(cause), began, reused=connection.reused)
            raise explain(cause, self.cluster) from cause
        call.log(head.status, began, reused=connection.reused)
        self.date = head.headers.get("date", self.date)
        if head.status != 200:
            raise _refused(head, body, call)
        return connection, response, body

    def _request(self, call: Call) -> bytes:
        headers = self.headers()
        if call.body:
            headers["Content-Type"] = call.content_type
        return http1.request(call.method, self.target(call.path, call.query), headers, call.body)

    def _once(self, call: Call) -> tuple[Head, bytes]:
        request, began = self._request(call), time.monotonic()
        connection = self._pool.take()
        try:
            head, body = connection.exchange(request, time.monotonic() + CALL_TIMEOUT)
        except BaseException as cause:
            connection.close()
            call.log(repr(cause), began, reused=connection.reused)
            if isinstance(cause, (OSError, MalformedResponse)):
                raise explain(cause, self.cluster) from cause
            raise
        call.log(head.status, began, reused=connection.reused)
        if head.reusable:
            self._pool.put_back(connection)
        else:
            connection.close()
        self.date = head.headers.get("date", self.date)
        return head, body

    def _decoded(self, body: bytes, call: Call) -> dict[str, Any]:
        try:
            decoded = json.loads(body) if body else {}
        except (ValueError, RecursionError) as cause:
            from ci_buildx.kube.refusal import NO_API_SERVER

            raise KubeError(f"{call.asked}: the answer is not JSON", status=200, fix=NO_API_SERVER) from cause
        return decoded if isinstance(decoded, dict) else {"items": decoded}

    def _settled(self, call: Call, failure: KubeError) -> dict[str, Any] | None:
        """What a repetition's refusal proves about the first try: its name is taken, or it is gone, by our own hand."""
        if isinstance(failure, Conflict) and call.method == "POST" and failure.reason == "AlreadyExists":
            name = json.loads(call.body)["metadata"]["name"]
            return self.call(Call(method="GET", path=f"{call.path}/{name}"))
        if isinstance(failure, NotFound) and call.method == "DELETE":
            return {"kind": "Status", "status": "Success"}
        return None

    def _completed(self, failure: KubeError) -> KubeError:
        """A 401 does not say that the client certificate has expired; its own date does."""
        if not isinstance(failure, Unauthorized) or failure.fix:
            return failure
        pair = self.cluster.credentials.key_pair()
        ended = tls.expired(pair) if pair else ""
        if ended:
            message = f"the client certificate expired on {ended}"
            return Unauthorized(message, status=401, reason=failure.reason, fix="get a new kubeconfig")
        fix = "log in again, or check the user in the kubeconfig"
        return Unauthorized(failure.message, status=401, reason=failure.reason, fix=fix)


def _refused(head: Head, body: bytes, call: Call) -> KubeError:
    from ci_buildx.kube.refusal import refusal

    return refusal(head.status, body, call.asked)


def _worth_repeating(call: Call, failure: KubeError, *, known: bool) -> bool:
    """``known``: the server has answered before, so that a time-out is no matter of a wrong address."""
    if isinstance(failure, Throttled):
        return failure.status == 429 or (failure.status in RETRIED and call.repeatable)
    if not isinstance(failure, Unreachable):
        return False
    cause = failure.__cause__
    # Of networks that are cut, routers on the way report EHOSTUNREACH or ENETUNREACH.
    lost = known and isinstance(cause, OSError) and not isinstance(cause, (ssl.SSLError, socket.gaierror))
    broken = lost or isinstance(cause, (ConnectionError, MalformedResponse))
    unresolved = isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN
    return unresolved or isinstance(cause, ConnectionRefusedError) or (broken and call.repeatable)


def format_query(query: Sequence[tuple[str, str]]) -> str:
    """The query as the debug log shows it, with the question mark; "" for none."""
    texts = (f"{name}={value if name in _SHOWN else '***'}" for name, value in query)
    return f"?{'&'.join(texts)}" if query else ""


def pairs(query: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Query parameters as the API server reads them; None and "" are left out."""
    shown = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in query.items()}
    return tuple((name, value) for name, value in shown.items() if value not in ("", "None"))
