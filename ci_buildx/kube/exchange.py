"""Single API calls over pooled connections, with the retry policy."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from ci_buildx.errors import Conflict, Forbidden, InputError, KubeError, NotFound, Throttled, Unauthorized, Unreachable
from ci_buildx.kube import tls
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.kube.connection import (
    AnswerTooLarge,
    ApiConnection,
    ConnectionPool,
    Dialer,
    explain_connection_failure,
)
from ci_buildx.kube.shape import find_fault
from ci_buildx.model import debug
from ci_buildx.model.documents import parse_json
from ci_buildx.model.record import dataclass
from ci_buildx.wire import http1
from ci_buildx.wire.http1 import MalformedResponse, ResponseHead, ResponseReader

RETRIED = frozenset({429, 500, 502, 503, 504})
"""Statuses that may succeed on a retry; any other status would only repeat."""

_LONGEST_ASKED = 30.0
T = TypeVar("T")


def _draw_random() -> float:
    from random import random

    return random()  # noqa: S311


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and with which pauses a call is retried.

    ``attempts`` counts all tries. Pauses grow from ``first`` to ``longest`` seconds, each varied by up to half in
    either direction. A server that has responded before but is now unreachable is retried for at least ``patience``
    seconds: it may be restarting, or the network may be down.
    """

    attempts: int = 6
    first: float = 0.1
    longest: float = 5.0
    patience: float = 75.0
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = _draw_random

    def pause(self, attempt: int, retry_after: str = "") -> float:
        """Return the seconds to wait after attempt ``attempt`` (from 0); a numeric Retry-After is a lower bound."""
        grown = min(self.first * 2.0**attempt, self.longest) * (0.5 + self.random())
        asked = float(retry_after) if retry_after.isdecimal() else 0.0
        return max(grown, min(asked, _LONGEST_ASKED))


AGENT = "kube-builder"
CALL_TIMEOUT = 30.0
SETTLING = 15.0
"""Seconds after a failed connection in which a 403 may be wrong: Kubernetes 1.37 serves before it knows the roles."""
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
"""Query parameters whose values appear in the debug log; others, such as ``command``, appear by name only."""


def _ignore_size(_: int) -> None:
    """Take any size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """One request to the API server.

    ``repeatable``: idempotent, so safe to retry. ``count`` is called with the size of a successful answer in bytes and
    may raise KubeError.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str = "application/json"
    repeatable: bool = True
    count: Callable[[int], None] = _ignore_size

    @property
    def asked(self) -> str:
        """The call as error messages name it."""
        return f"{self.method} {self.path}"

    def log(self, outcome: object, began: float, *, reused: bool) -> None:
        """Log the outcome of one attempt; ``began`` is a time.monotonic() value."""
        if _LOG.is_on:
            way = "" if reused else " on a new connection"
            _LOG.debug(
                "%s%s: %s after %.3f s%s", self.asked, format_query(self.query), outcome, time.monotonic() - began, way
            )


class ApiExchange:
    """Sends calls over a pool of connections; thread-safe. ``date`` is the last Date header received."""

    def __init__(self, cluster: ClusterAccess, retry: RetryPolicy) -> None:
        self.cluster = cluster
        self.dialer = Dialer(cluster)
        self.date = ""
        self._retry = retry
        self._pool = ConnectionPool(self.dialer, DIAL_TIMEOUT)
        self._lock = threading.Lock()
        self._streams: set[ApiConnection] = set()
        self._missed = float("-inf")

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._pool.closed

    def close(self) -> None:
        """Close all connections, including those of running watches."""
        self._pool.close()
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.abort()

    def make_target(self, path: str, query: Sequence[tuple[str, str]]) -> str:
        """Build the request target; the server URL may have a path of its own."""
        target = quote(self.cluster.url.path.rstrip("/") + path, safe="/:@!$&'()*+,;=~%")
        return f"{target}?{urlencode(query)}" if query else target

    def make_headers(self) -> dict[str, str]:
        """Build the headers that every request carries."""
        host, port = self.cluster.address
        name = f"[{host}]" if ":" in host else host
        return {
            "Host": f"{name}:{port}",
            "User-Agent": AGENT,
            "Accept": "application/json",
            **self.cluster.identity_headers,
            **self.cluster.credentials.make_headers(),
        }

    def call(self, call: ApiCall) -> dict[str, Any]:
        """Send ``call``, with retries, until it succeeds or fails permanently; return the decoded body.

        Raises the KubeError tree.
        """
        refreshed = repeated = False
        attempt, start = 0, time.monotonic()
        while True:
            head: ResponseHead | None = None
            try:
                head, body = self._send_once(call)
                if 200 <= head.status < 300:
                    call.count(len(body))
                    return self._decode_body(body, call)
                failure: KubeError = _make_refusal(head, body, call)
            except Unreachable as unreachable:
                failure = unreachable
            if isinstance(failure, Unauthorized) and not refreshed and self.renew():
                refreshed = True
                continue
            if repeated and (settled := self._settle_repetition(call, failure)) is not None:
                return settled
            known = bool(self.date)
            starting = self.may_be_starting(failure)
            patient = known and isinstance(failure, Unreachable) and time.monotonic() - start < self._retry.patience
            tired = attempt + 1 >= self._retry.attempts and not (patient or starting)
            if tired or self.closed or not (starting or _is_worth_repeating(call, failure, known=known)):
                raise self._complete_request(failure)
            pause = self._retry.pause(attempt, head.headers.get("retry-after", "") if head else "")
            _LOG.debug("%s %s is tried again in %.3f s: %s", call.method, call.path, pause, failure)
            self._retry.sleep(pause)
            # 429 and 403 mean that the call was not processed; after a broken connection or a 5xx it may have been.
            repeated = repeated or failure.status not in (403, 429)
            attempt += 1

    def renew(self) -> bool:
        """Refresh the credentials after a 401; return True if another try makes sense."""
        if not self.cluster.credentials.refresh():
            return False
        self._pool.forget()
        _LOG.debug("401: the credentials are fetched again")
        return True

    def may_be_starting(self, failure: KubeError) -> bool:
        """Return whether ``failure`` is a 403 of a server that was not there a moment ago: see :data:`SETTLING`."""
        return isinstance(failure, Forbidden) and time.monotonic() - self._missed < SETTLING

    def retry_start(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns; repeat it while its 403 may be that of a server that is starting."""
        attempt = 0
        while True:
            try:
                return work()
            except Forbidden as failure:
                if self.closed or not self.may_be_starting(failure):
                    raise
                self._retry.sleep(self._retry.pause(attempt))
                attempt += 1

    def open_stream(self, call: ApiCall, deadline: float) -> tuple[ApiConnection, ResponseReader, bytes]:
        """Open a streaming response. The caller reads it and passes the connection to :meth:`end`.

        ``deadline`` is a time.monotonic() value for the head. Retries only once, after a 401, and after a 403 of a
        server that is starting. Raises the KubeError tree.
        """
        return self.retry_start(lambda: self._open_stream(call, deadline))

    def _open_stream(self, call: ApiCall, deadline: float) -> tuple[ApiConnection, ResponseReader, bytes]:
        for renewed in (False, True):
            connection = self.borrow()
            with self._lock:
                self._streams.add(connection)
            try:
                return self._open_response(connection, call, deadline)
            except Unauthorized as failure:
                self.end(connection)
                if renewed or not self.renew():
                    raise self._complete_request(failure) from None
            except BaseException:
                self.end(connection)
                raise
        raise AssertionError("the second try either returns or raises")

    def borrow(self) -> ApiConnection:
        """Hand out a connection; one for a protocol other than HTTP does not return to the pool. Raises Unreachable."""
        try:
            return self._pool.take()
        except Unreachable:
            if self.date:
                self._missed = time.monotonic()
            raise

    def warm(self) -> None:
        """Open a connection for the next call. Best effort: if dialing fails, the next call reports the error."""
        with suppress(KubeError, InputError):
            self._pool.put_back(ApiConnection(self.dialer.open(DIAL_TIMEOUT)))

    def end(self, connection: ApiConnection) -> None:
        """Close a stream's connection."""
        with self._lock:
            self._streams.discard(connection)
        connection.close()

    def _open_response(
        self, connection: ApiConnection, call: ApiCall, deadline: float
    ) -> tuple[ApiConnection, ResponseReader, bytes]:
        response, began = ResponseReader(), time.monotonic()
        try:
            connection.send(self._request(call), deadline)
            head, body = connection.read_head(response, deadline)
            if head.status != 200:
                body = connection.read_rest(response, body, deadline)
        except (OSError, MalformedResponse) as cause:
            call.log(repr(cause), began, reused=connection.reused)
            raise explain_connection_failure(cause, self.cluster) from cause
        call.log(head.status, began, reused=connection.reused)
        self.date = head.headers.get("date", self.date)
        if head.status != 200:
            raise _make_refusal(head, body, call)
        return connection, response, body

    def _request(self, call: ApiCall) -> bytes:
        headers = self.make_headers()
        if call.body:
            headers["Content-Type"] = call.content_type
        return http1.encode_request(call.method, self.make_target(call.path, call.query), headers, call.body)

    def _send_once(self, call: ApiCall) -> tuple[ResponseHead, bytes]:
        request, began = self._request(call), time.monotonic()
        connection = self.borrow()
        try:
            head, body = connection.exchange(request, time.monotonic() + CALL_TIMEOUT)
        except BaseException as cause:
            connection.close()
            call.log(repr(cause), began, reused=connection.reused)
            if isinstance(cause, (OSError, MalformedResponse)):
                raise explain_connection_failure(cause, self.cluster) from cause
            raise
        call.log(head.status, began, reused=connection.reused)
        if head.reusable:
            self._pool.put_back(connection)
        else:
            connection.close()
        self.date = head.headers.get("date", self.date)
        return head, body

    def _decode_body(self, body: bytes, call: ApiCall) -> dict[str, Any]:
        try:
            decoded = parse_json(body) if body else {}
        except ValueError as cause:
            from ci_buildx.kube.refusal import NO_API_SERVER

            raise KubeError(f"{call.asked}: the response is not JSON", status=200, fix=NO_API_SERVER) from cause
        document = decoded if isinstance(decoded, dict) else {"items": decoded}
        if fault := find_fault(document):
            from ci_buildx.kube.refusal import NO_API_SERVER

            message = f"{call.asked}: the response is not a Kubernetes object: {fault} is missing or has another type"
            raise KubeError(message, status=200, fix=NO_API_SERVER)
        return document

    def _settle_repetition(self, call: ApiCall, failure: KubeError) -> dict[str, Any] | None:
        """Return the result of a retried call if its refusal proves that an earlier try succeeded, else None.

        A POST whose name is taken created the object itself if the object has what was sent, such as the run's nonce;
        it may also be another's, or not readable. A DELETE whose object is missing deleted it itself.
        """
        if isinstance(failure, Conflict) and call.method == "POST" and failure.reason == "AlreadyExists":
            sent = json.loads(call.body)
            try:
                found = self.call(ApiCall(method="GET", path=f"{call.path}/{sent['metadata']['name']}"))
            except (Forbidden, NotFound):
                # Jobs may create RoleBindings and not read them; the caller knows what the conflict means.
                return None
            return found if _has_same_marks(found, sent) else None
        if isinstance(failure, NotFound) and call.method == "DELETE":
            return {"kind": "Status", "status": "Success"}
        return None

    def _complete_request(self, failure: KubeError) -> KubeError:
        """Complete a 401 with a fix: only the client certificate's own date shows that it has expired."""
        if not isinstance(failure, Unauthorized) or failure.fix:
            return failure
        pair = self.cluster.credentials.read_key_pair()
        ended = tls.read_expiry(pair) if pair else ""
        if ended:
            message = f"the client certificate expired on {ended}"
            return Unauthorized(message, status=401, reason=failure.reason, fix="get a new kubeconfig")
        fix = "log in again, or check the user in the kubeconfig"
        return Unauthorized(failure.message, status=401, reason=failure.reason, fix=fix)


def _has_same_marks(found: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Return whether an object has the labels, annotations, owners and data of the one that was sent."""
    stored, wanted = found.get("metadata") or {}, sent["metadata"]
    for field in ("labels", "annotations"):
        if not (wanted.get(field) or {}).items() <= (stored.get(field) or {}).items():
            return False
    owners = {owner.get("uid") for owner in stored.get("ownerReferences") or ()}
    has_owners = {owner.get("uid") for owner in wanted.get("ownerReferences") or ()} <= owners
    return has_owners and ("data" not in sent or sent["data"] == (found.get("data") or {}))


def _make_refusal(head: ResponseHead, body: bytes, call: ApiCall) -> KubeError:
    from ci_buildx.kube.refusal import make_kube_error

    return make_kube_error(head.status, body, call.asked)


def _is_worth_repeating(call: ApiCall, failure: KubeError, *, known: bool) -> bool:
    """Return whether to retry after ``failure``.

    ``known``: the server has responded before, so a timeout does not mean a wrong address.
    """
    if isinstance(failure, Throttled):
        return failure.status == 429 or (failure.status in RETRIED and call.repeatable)
    if not isinstance(failure, Unreachable):
        return False
    cause = failure.__cause__
    if isinstance(cause, AnswerTooLarge):
        return False
    # If the network is down, routers on the way report EHOSTUNREACH or ENETUNREACH.
    lost = known and isinstance(cause, OSError) and not isinstance(cause, (ssl.SSLError, socket.gaierror))
    broken = lost or isinstance(cause, (ConnectionError, MalformedResponse))
    unresolved = isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN
    return unresolved or isinstance(cause, ConnectionRefusedError) or (broken and call.repeatable)


def format_query(query: Sequence[tuple[str, str]]) -> str:
    """Format the query for the debug log, with its question mark; "" if it is empty."""
    texts = (f"{name}={value if name in _SHOWN else '***'}" for name, value in query)
    return f"?{'&'.join(texts)}" if query else ""


def encode_query(query: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Encode query parameters as the API server expects them; None and "" are left out."""
    shown = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in query.items()}
    return tuple((name, value) for name, value in shown.items() if value not in ("", "None"))
