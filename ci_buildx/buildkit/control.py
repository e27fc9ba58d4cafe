"""A client of buildkitd's Control service: workers, builds, and the content of the cache.

Source: BuildKit 0.34.2, ``api/services/control/control.proto`` (the calls), ``client/solve.go`` (their order).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ci_buildx.buildkit.grpc import open_channel
from ci_buildx.buildkit.messages import (
    DISK_USAGE_REQUEST,
    DISK_USAGE_RESPONSE,
    INFO_RESPONSE,
    LIST_WORKERS_RESPONSE,
    PRUNE_REQUEST,
    USAGE_RECORD,
    BuildkitVersion,
    DiskUsageRequest,
    PruneRequest,
    SolveRequest,
    UsageRecord,
    Worker,
)
from ci_buildx.buildkit.solve import RunningSolve, SolveResult
from ci_buildx.errors import BuildkitError
from ci_buildx.model import debug
from ci_buildx.model.platform import Platform
from ci_buildx.model.status import StatusUpdate
from ci_buildx.session.session import BuildSession
from ci_buildx.wire.protobuf import MessageSchema

if TYPE_CHECKING:
    from ci_buildx.buildkit.history import BuildHistory
    from ci_buildx.buildkit.relay import SolveRelay

__all__ = ["Control", "SolveResult"]

T = TypeVar("T")

_LOG = debug.get_log("buildkit")
_SERVICE = "/moby.buildkit.v1.Control/"


class Control:
    """A connection to the buildkitd at ``target``, a gRPC target; it connects with the first call.

    ``credentials`` are CA, client certificate and key as PEM, None if the transport is already secure; ``server_name``
    is the name in the daemon's certificate. Every call raises BuildkitError if it fails.
    """

    def __init__(
        self, target: str, *, credentials: tuple[bytes, bytes, bytes] | None = None, server_name: str = ""
    ) -> None:
        self._channel = open_channel(target, credentials=credentials, server_name=server_name)
        self._is_closed = False
        self.platforms: tuple[Platform, ...] = ()
        """Platforms that the workers run, natively or emulated; empty until ``list_workers``."""
        self.labels: dict[str, str] = {}
        """Labels of the workers; empty until ``list_workers``."""

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel every call and close the connection. Idempotent."""
        self._is_closed = True
        self._channel.close()

    def read_version(self, timeout: float) -> BuildkitVersion:
        """Return the daemon's version; ``timeout`` is in seconds."""
        return self._ask("Info", INFO_RESPONSE, timeout) or BuildkitVersion()

    def list_workers(self, timeout: float) -> list[Worker]:
        """Return the daemon's workers and update ``platforms`` and ``labels``; ``timeout`` is in seconds."""
        found = self._ask("ListWorkers", LIST_WORKERS_RESPONSE, timeout)
        workers = list(found)
        self.platforms = tuple(dict.fromkeys(platform for worker in workers for platform in worker.platforms))
        self.labels = {name: value for worker in workers for name, value in worker.labels.items()}
        return workers

    def read_disk_usage(self, request: DiskUsageRequest, timeout: float) -> list[UsageRecord]:
        """Return the cache records, smallest first as in ``client/diskusage.go``; ``timeout`` is in seconds."""
        records = self._ask("DiskUsage", DISK_USAGE_RESPONSE, timeout, DISK_USAGE_REQUEST.encode(request))
        return sorted(records, key=lambda record: (record.size, record.id))

    def prune(self, request: PruneRequest) -> Iterator[UsageRecord]:
        """Prune the cache and yield each deleted record. Has no timeout, since the duration depends on the disk."""
        import grpc

        try:
            for message in self._channel.unary_stream(_SERVICE + "Prune")(PRUNE_REQUEST.encode(request)):
                yield _decode(USAGE_RECORD, message, "Prune")
        except grpc.RpcError as error:
            from ci_buildx.buildkit import grpc as buildkit_grpc

            raise buildkit_grpc.translate_error(error, "buildkitd could not prune its cache") from error

    def open_history(self) -> BuildHistory:
        """Return the daemon's history of builds, over this connection."""
        from ci_buildx.buildkit.history import BuildHistory

        return BuildHistory(self._channel)

    def solve(
        self,
        request: SolveRequest,
        *,
        session: BuildSession,
        on_status: Callable[[StatusUpdate], None],
        stop: threading.Event | None = None,
        relay: SolveRelay | None = None,
        trace: str = "",
    ) -> SolveResult:
        """Run a build, with ``session`` serving the daemon's requests; closes the session.

        ``on_status`` is called in this thread. Setting ``stop`` cancels the build. A ``relay`` shares the result with
        other builds, see :mod:`ci_buildx.buildkit.relay`. ``trace`` is the W3C ``traceparent`` of the daemon's spans.
        Raises SolveError if the build fails, BuildkitError if the connection fails or the build was stopped.
        """
        try:
            with RunningSolve(self._channel, _SERVICE, session, trace) as flight:
                return flight.run(request, on_status, stop, relay)
        except ValueError as error:  # grpcio's word for a channel that another build has closed
            if not self._is_closed:
                raise
            raise BuildkitError("the connection to buildkitd was closed", code="CANCELLED") from error

    @contextmanager
    def serve_session(self, session: BuildSession) -> Iterator[None]:
        """Serve a session that several builds use, until the block ends; closes it."""
        call = self._channel.stream_stream(_SERVICE + "Session")(session.take_outgoing(), metadata=session.metadata)
        thread = threading.Thread(target=_serve, args=(call, session), name="shared-session", daemon=True)
        thread.start()
        try:
            yield
        finally:
            session.close()
            call.cancel()

    def _ask(self, method: str, answer: MessageSchema[T], timeout: float, request: bytes = b"") -> T:
        import grpc

        began = time.monotonic()
        try:
            message = self._channel.unary_unary(_SERVICE + method)(request, timeout=timeout)
            _LOG.debug("%s: OK after %.3f s", method, time.monotonic() - began)
        except grpc.RpcError as error:
            from ci_buildx.buildkit import grpc as buildkit_grpc

            if _LOG.is_on:
                _LOG.debug("%s: %s after %.3f s", method, buildkit_grpc.describe_error(error), time.monotonic() - began)
            raise buildkit_grpc.translate_error(error, f"buildkitd did not respond to {method}") from error
        return _decode(answer, message, method)


def _serve(call: Any, session: BuildSession) -> None:
    """Pass buildkitd's messages to a session; if it is lost, buildkitd asks the builds' own sessions."""
    import grpc

    with suppress(grpc.RpcError):
        for message in call:
            session.take_incoming(message)
            if session.failure:
                break
    session.close()


def _decode(answer: MessageSchema[T], message: bytes, method: str) -> T:
    try:
        return answer.decode(message)
    except ValueError as error:
        raise BuildkitError(f"buildkitd's response to {method} is invalid: {error}") from error
