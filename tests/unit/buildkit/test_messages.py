"""The tables of the Control service against generated code, and against BuildKit's own field numbers."""

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.buildkit.messages import (
    DISK_USAGE_REQUEST,
    DISK_USAGE_RESPONSE,
    INFO_RESPONSE,
    LIST_WORKERS_RESPONSE,
    PRUNE_REQUEST,
    RPC_STATUS,
    SOLVE_REQUEST,
    SOLVE_RESPONSE,
    STATUS_RESPONSE,
    BuildkitVersion,
    CacheOptions,
    DiskUsageRequest,
    ExporterEntry,
    GcPolicy,
    PruneRequest,
    RpcStatus,
    SolveRequest,
    StatusDetail,
    UsageRecord,
    Worker,
)
from ci_buildx.model.platform import Platform
from ci_buildx.model.status import StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from ci_buildx.settings.values import SourceConstraint, SourcePolicy, SourceRule, SourceSelector, SourceUpdate
from tests.unit.wire import compiled
from tests.unit.wire.compiled import fill

attrs = st.dictionaries(st.text(), st.text(), max_size=3)
entries = st.lists(st.builds(ExporterEntry, st.text(), attrs), max_size=3).map(tuple)
requests = st.builds(
    SolveRequest,
    ref=st.text(),
    session=st.text(),
    frontend=st.text(),
    frontend_attrs=attrs,
    exporters=entries,
    cache=st.builds(CacheOptions, entries, entries),
)
times = st.none() | st.integers(0, 4 * 10**12).map(lambda milliseconds: milliseconds / 1000)
int64 = st.integers(-(1 << 63), (1 << 63) - 1)
texts = st.lists(st.text(), max_size=2).map(tuple)
vertexes = st.builds(
    Vertex,
    digest=st.text(),
    inputs=texts,
    name=st.text(),
    cached=st.booleans(),
    started=times,
    completed=times,
    error=st.text(),
)
statuses = st.builds(
    VertexStatus,
    id=st.text(),
    vertex=st.text(),
    name=st.text(),
    current=int64,
    total=int64,
    timestamp=times,
    started=times,
    completed=times,
)
logs = st.builds(VertexLog, vertex=st.text(), timestamp=times, stream=int64, data=st.binary())
warnings = st.builds(
    VertexWarning,
    vertex=st.text(),
    level=int64,
    short=st.text(),
    detail=texts,
    url=st.text(),
    filename=st.text(),
    language=st.text(),
    source=st.binary(),
    ranges=st.lists(st.tuples(st.integers(0, 9), st.integers(10, (1 << 31) - 1)), max_size=2).map(tuple),
)


def few(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=2).map(tuple)


updates = st.builds(
    StatusUpdate, vertexes=few(vertexes), statuses=few(statuses), logs=few(logs), warnings=few(warnings)
)


@pytest.fixture(scope="module")
def control() -> Any:
    """The module that protoc makes of control.proto, to compare our messages with."""
    return compiled.load("buildkit/control.proto")


def generated_warning(warning: VertexWarning) -> dict[str, Any]:
    values = asdict(warning) | {"short": warning.short.encode(), "detail": [each.encode() for each in warning.detail]}
    return {name: value for name, value in values.items() if name in ("vertex", "level", "short", "detail", "url")}


@given(request=requests)
def test_solve_request(control: Any, request: SolveRequest) -> None:
    read = control.SolveRequest.FromString(SOLVE_REQUEST.encode(request))
    assert (read.ref, read.session, read.frontend) == (request.ref, request.session, request.frontend)
    assert dict(read.frontend_attrs) == request.frontend_attrs
    for theirs, ours in (
        (read.exporters, request.exporters),
        (read.cache.exports, request.cache.exports),
        (read.cache.imports, request.cache.imports),
    ):
        assert [ExporterEntry(each.type, dict(each.attrs)) for each in theirs] == list(ours)
    assert read.exporter_deprecated == (request.exporters[0].type if request.exporters else "")
    assert dict(read.exporter_attrs_deprecated) == (request.exporters[0].attrs if request.exporters else {})


@given(update=updates)
def test_status(control: Any, update: StatusUpdate) -> None:
    message = control.StatusResponse()
    for name in ("vertexes", "statuses", "logs"):
        for value in getattr(update, name):
            fill(getattr(message, name).add(), asdict(value))
    for warning in update.warnings:
        added = message.warnings.add()
        fill(added, generated_warning(warning))
        fill(added.info, {"filename": warning.filename, "data": warning.source, "language": warning.language})
        for first, last in warning.ranges:
            spanned = added.ranges.add()
            spanned.start.line, spanned.end.line = first, last
    assert STATUS_RESPONSE.decode(message.SerializeToString()) == update


def test_warning_without_a_place(control: Any) -> None:
    message = control.StatusResponse(warnings=[control.VertexWarning(short=b"careful")])
    (warning,) = STATUS_RESPONSE.decode(message.SerializeToString()).warnings
    assert (warning.short, warning.filename, warning.line) == ("careful", "", 0)


def test_solve_response(control: Any) -> None:
    message = control.SolveResponse(exporter_response={"containerimage.digest": "sha256:00", "": ""})
    assert SOLVE_RESPONSE.decode(message.SerializeToString()) == {"containerimage.digest": "sha256:00", "": ""}


def test_workers(control: Any) -> None:
    message = control.ListWorkersResponse()
    record = message.record.add(id="w1", labels={"a": "b"}, version={"version": "v0.34.2"})
    record.platforms.add(os="linux", architecture="arm64", variant="v8")
    record.platforms.add(os="linux", architecture="arm", variant="v6")
    record.gc_policy.add(filters=["type==source.local"], keep_duration=48, max_used_space=3)
    record.gc_policy.add(all=True, reserved_space=1, min_free_space=2)
    message.record.add(id="w0")
    assert LIST_WORKERS_RESPONSE.decode(message.SerializeToString()) == (
        Worker(
            "w1",
            (Platform("linux", "arm64"), Platform("linux", "arm", "v6")),
            {"a": "b"},
            "v0.34.2",
            (
                GcPolicy(filters=("type==source.local",), keep_duration=48, max_used_space=3),
                GcPolicy(all=True, reserved_space=1, min_free_space=2),
            ),
        ),
        Worker("w0"),
    )


@given(
    request=st.builds(
        PruneRequest,
        filter=texts,
        all=st.booleans(),
        keep_duration=int64,
        reserved_space=int64,
        max_used_space=int64,
        min_free_space=int64,
    )
)
def test_prune_request(control: Any, request: PruneRequest) -> None:
    read = control.PruneRequest.FromString(PRUNE_REQUEST.encode(request))
    assert (
        PruneRequest(tuple(read.filter), *(getattr(read, name) for name in PruneRequest.__match_args__[1:])) == request
    )
    usage = control.DiskUsageRequest.FromString(DISK_USAGE_REQUEST.encode(DiskUsageRequest(request.filter)))
    assert tuple(usage.filter) == request.filter


@given(
    records=few(
        st.builds(
            UsageRecord,
            id=st.text(),
            mutable=st.booleans(),
            in_use=st.booleans(),
            size=int64,
            created=times,
            last_used=times,
            usage_count=int64,
            description=st.text(),
            type=st.text(),
            shared=st.booleans(),
            parents=texts,
        )
    )
)
def test_disk_usage(control: Any, records: tuple[UsageRecord, ...]) -> None:
    message = control.DiskUsageResponse()
    for record in records:
        fill(message.record.add(), asdict(record))
    assert DISK_USAGE_RESPONSE.decode(message.SerializeToString()) == records


def test_field_numbers_are_those_of_buildkit() -> None:
    """By hand, from BuildKit 0.34.2 ``api/services/control/control.proto`` and ``api/types/worker.proto``."""
    asked = PruneRequest(("f",), all=True, keep_duration=1, reserved_space=2, max_used_space=3, min_free_space=4)
    assert PRUNE_REQUEST.encode(asked) == bytes.fromhex("0a0166 1001 1801 2002 2803 3004")
    record = bytes.fromhex("0a0161 1001 1801 2005 32020801 3a020802 4003 4a0164 520174 5801 620170")
    assert DISK_USAGE_RESPONSE.decode(b"\x0a" + bytes([len(record)]) + record) == (
        UsageRecord("a", True, True, 5, 1.0, 2.0, 3, "d", "t", True, ("p",)),
    )
    policy = bytes.fromhex("0801 1001 1802 220166 2803 3004")
    worker = b"\x22" + bytes([len(policy)]) + policy
    (found,) = LIST_WORKERS_RESPONSE.decode(b"\x0a" + bytes([len(worker)]) + worker)
    assert found.gc_policy == (GcPolicy(True, 1, 2, ("f",), 3, 4),)


def test_info(control: Any) -> None:
    message = control.InfoResponse(version={"package": "p", "version": "v", "revision": "r"})
    assert INFO_RESPONSE.decode(message.SerializeToString()) == BuildkitVersion("p", "v", "r")
    assert INFO_RESPONSE.decode(b"") is None


def test_rpc_status(control: Any) -> None:
    message = control.Status(code=2, message="no", details=[control.Any(type_url="t", value=b"v")])
    assert RPC_STATUS.decode(message.SerializeToString()) == RpcStatus(2, "no", (StatusDetail("t", b"v"),))
    assert RPC_STATUS.encode(RpcStatus(2, "no", (StatusDetail("t", b"v"),))) == message.SerializeToString()


def test_a_source_policy(control: Any) -> None:
    constraint = SourceConstraint(key="k", value="v", condition=2)
    selector = SourceSelector(identifier="i", match_type=1, constraints=(constraint,))
    rule = SourceRule(action=2, selector=selector, updates=SourceUpdate(identifier="u", attrs={"a": "b"}))
    policy = SourcePolicy(version=1, rules=(rule, SourceRule(action=1)))
    request = SolveRequest(
        ref="",
        session="",
        frontend="",
        frontend_attrs={},
        exporters=(),
        cache=CacheOptions(),
        source_policy=policy,
    )
    read = control.SolveRequest.FromString(SOLVE_REQUEST.encode(request)).source_policy
    first, second = read.rules
    assert (read.version, first.action, second.action) == (1, 2, 1)
    assert (first.selector.identifier, first.selector.match_type) == ("i", 1)
    assert [(each.key, each.value, each.condition) for each in first.selector.constraints] == [("k", "v", 2)]
    assert (first.updates.identifier, dict(first.updates.attrs)) == ("u", {"a": "b"})
    assert not second.HasField("selector")
