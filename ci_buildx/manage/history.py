"""The history of a builder's pods: connecting to them, and finding, changing and reading records."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TextIO

from ci_buildx.build import local_state
from ci_buildx.build.context import origin
from ci_buildx.builder.lifecycle import records as lifecycle_records
from ci_buildx.builder.lifecycle.records import StoredBuilder, StoredNode
from ci_buildx.builder.pods import PodView
from ci_buildx.buildkit.control import Control
from ci_buildx.buildkit.diagnostics import read_failure
from ci_buildx.buildkit.history import BuildHistory, HistoryChange, HistoryRequest
from ci_buildx.errors import BuildkitError, InputError
from ci_buildx.history.attachments import RecordAttachment, list_attachments
from ci_buildx.history.filters import RecordFilters
from ci_buildx.history.inspection import FailureExtract
from ci_buildx.history.records import (
    MOST_RECORDS,
    PlacedRecord,
    RecordChoice,
    choose_record,
    make_missing_error,
    read_listing,
    read_local_source,
    sort_records,
)
from ci_buildx.kube.client import KubeClient, make_kube_client
from ci_buildx.manage.survey import ANSWER_TIME, list_running_pods, make_dialer, run_at_once
from ci_buildx.manage.target import BuilderTarget
from ci_buildx.model.record import replace
from ci_buildx.model.status import StatusUpdate

_LAST_SPANS = 1.0
"""Seconds that the last parts of a trace may take to arrive after the build has ended, as in buildx."""
_SHOWN_LINES = 16
"""Lines of a failed step's output that an inspection shows."""


class PodHistory:
    """The history on one pod. Methods raise BuildkitError."""

    def __init__(self, builder: str, node: StoredNode, pod: PodView, control: Control) -> None:
        self._builder = builder
        self._node = node
        self.pod = pod.name
        self._control = control
        self._history: BuildHistory = control.open_history()

    @property
    def platform(self) -> str:
        """The worker's first platform, "" if it reported none."""
        return str(self._control.platforms[0]) if self._control.platforms else ""

    def list_records(self, request: HistoryRequest) -> list[PlacedRecord]:
        """Return the records, the newest first."""
        listing = self._history.list_records(request, ANSWER_TIME)
        found = read_listing(listing, builder=self._builder, node=self._node.name, pod=self.pod)
        return sort_records(found)

    def change(self, change: HistoryChange) -> None:
        """Delete a record, or complete its trace."""
        self._history.change_record(change, ANSWER_TIME)

    def read_status(self, ref: str) -> Iterator[StatusUpdate]:
        """Yield the steps and logs of a build."""
        return self._history.read_status(ref)

    def has(self, digest: str) -> bool:
        """Return whether a blob exists."""
        return self._history.has_blob(digest, ANSWER_TIME)

    def read(self, digest: str) -> bytes:
        """Return a blob."""
        return self._history.read_blob(digest)

    def read_pieces(self, digest: str) -> Iterator[bytes]:
        """Yield a blob in pieces."""
        return self._history.read_pieces(digest)


class BuilderHistory:
    """The history on all running pods of a builder. Methods raise InputError and BuildkitError."""

    def __init__(self, pods: Sequence[PodHistory], *, states: str = "") -> None:
        """``states`` is the folder with the local records of builds, "" if there is none."""
        self._pods = {one.pod: one for one in pods}
        self._states = states

    def find_pod(self, placed: PlacedRecord) -> PodHistory:
        """Return the pod that has a record."""
        return self._pods[placed.pod]

    def list_records(
        self, *, ref: str = "", filters: RecordFilters | None = None, finished: bool = False, limit: int = MOST_RECORDS
    ) -> list[PlacedRecord]:
        """Return the records of all pods, the newest first; at most ``limit`` of each (0: all)."""
        filters = filters or RecordFilters()
        request = HistoryRequest(ref=ref, filter=filters.filter, limit=min(limit, filters.limit))
        parts = run_at_once([partial(one.list_records, request) for one in self._pods.values()])
        kept = (
            [one for one in part if filters.accepts(one) and not (finished and one.completed is None)] for part in parts
        )
        return sort_records(self._add_source(one) for part in kept for one in part[: limit or None])

    def _add_source(self, placed: PlacedRecord) -> PlacedRecord:
        """Add the paths of a build that this machine has a record of."""
        if not self._states:
            return placed
        return replace(placed, local=read_local_source(local_state.read_state(self._states, placed.full_ref)))

    def choose(self, choice: RecordChoice, *, finished: bool = False) -> PlacedRecord:
        """Return the record that the user named."""
        return choose_record(self.list_records(ref=choice.ref, finished=finished), choice)

    def list_named(self, choice: RecordChoice, *, finished: bool = False) -> list[PlacedRecord]:
        """Return the records of one reference, which several nodes may have."""
        found = self.list_records(ref=choice.ref, finished=finished)
        chosen = choose_record(found, choice)
        return [one for one in found if one.ref == chosen.ref]

    def complete_trace(self, placed: PlacedRecord) -> PlacedRecord:
        """Complete a record's trace and return the record as it is then."""
        pod = self.find_pod(placed)
        pod.change(HistoryChange(ref=placed.ref, finalize=True))
        found = pod.list_records(HistoryRequest(ref=placed.ref))
        if not found:
            raise make_missing_error(RecordChoice(ref=placed.ref))
        return found[0]

    def delete(self, refs: Sequence[str]) -> None:
        """Delete records. Raises InputError, after all were tried, for those that no pod has."""
        missing = []
        for ref in refs:
            failures = [failure for one in self._pods.values() if (failure := _try_delete(one, ref)) is not None]
            others = [failure for failure in failures if failure.code not in ("NOT_FOUND", "UNKNOWN")]
            if others:
                raise others[0]
            if len(failures) == len(self._pods):
                missing.append(ref)
        if missing:
            raise make_missing_error(RecordChoice(ref=", ".join(missing)))

    def delete_all(self) -> int:
        """Delete all records of finished builds, and return their number."""
        found = self.list_records(finished=True, limit=0)
        for placed in found:
            self.find_pod(placed).change(HistoryChange(ref=placed.ref, delete=True))
        return len(found)

    def read_trace(self, placed: PlacedRecord) -> bytes:
        """Return the spans of a finished build, completing the trace if it is not yet there."""
        if placed.record.trace is None:
            time.sleep(_LAST_SPANS)
            placed = self.complete_trace(placed)
        if placed.record.trace is None:
            raise BuildkitError(f"the record {placed.ref} has no trace")
        return self.find_pod(placed).read(placed.record.trace.digest)

    def list_attachments(self, placed: PlacedRecord) -> list[RecordAttachment]:
        """Return what a record refers to."""
        return list_attachments(placed.record, self.find_pod(placed))

    def read_failure(self, placed: PlacedRecord) -> FailureExtract | None:
        """Return what a failed build says of the step that failed; None for other builds."""
        blob = placed.record.external_error
        if blob is None:
            return None
        pod = self.find_pod(placed)
        failure = read_failure("", pod.read(blob.digest))
        name, lines = _read_output(pod, placed.ref, failure.vertex) if failure.vertex else ("", [])
        sources = f"{failure.excerpt}\n\n" if failure.excerpt else ""
        return FailureExtract(name=name, logs=tuple(lines[-_SHOWN_LINES:]), sources=sources)


def _try_delete(pod: PodHistory, ref: str) -> BuildkitError | None:
    try:
        pod.change(HistoryChange(ref=ref, delete=True))
    except BuildkitError as failure:
        return failure
    return None


def _read_output(pod: PodHistory, ref: str, vertex: str) -> tuple[str, list[str]]:
    """Return the name of a step and the lines of its output."""
    name, output = "", bytearray()
    for update in pod.read_status(ref):
        name = next((one.name for one in update.vertexes if one.digest == vertex), name)
        for log in update.logs:
            if log.vertex == vertex:
                output += log.data
    return name, [line for line in output.decode(errors="replace").split("\n") if line]


@contextmanager
def open_history(
    target: BuilderTarget, *, env: Mapping[str, str], timeout: float, display_stream: TextIO
) -> Iterator[BuilderHistory]:
    """Connect to all running pods of a builder; a stopped builder is started first, as in buildx.

    ``timeout`` (s) bounds connecting to each pod. Raises InputError for a builder of another trust scope, KubeError,
    TransportError, BuildkitError.
    """
    with make_kube_client(target.cluster, env=env) as kube, ExitStack() as undo:
        record = lifecycle_records.find_builder(kube, target.name, target.namespace)
        builder = lifecycle_records.load_builder(kube, record)
        origin.check_trust(builder, env)
        pods = _list_pods(kube, record, env, display_stream)
        deadline = time.monotonic() + timeout

        def connect(node: StoredNode, pod: PodView) -> PodHistory:
            control = undo.enter_context(make_dialer(kube, builder, node).open(pod, deadline))
            return PodHistory(record.name, node, pod, control)

        found = list(run_at_once([partial(connect, *pair) for pair in pods]))
        yield BuilderHistory(found, states=env.get(local_state.FOLDER, ""))


def _list_pods(
    kube: KubeClient, record: StoredBuilder, env: Mapping[str, str], stream: TextIO
) -> list[tuple[StoredNode, PodView]]:
    pods = list_running_pods(kube, record)
    if not pods and record.lasting and all(node.stopped for node in record.nodes):
        from ci_buildx.manage.builders import boot_builder

        pods = list_running_pods(kube, boot_builder(kube, record, stream, env))
    if not pods:
        fix = f"kube-builder inspect --bootstrap {record.name} starts it"
        raise InputError(f"no pod of builder {record.name!r} is running", fix=fix)
    return pods
