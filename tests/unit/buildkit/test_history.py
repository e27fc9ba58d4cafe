"""The tables of the history against generated code, and against BuildKit's own field numbers."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.buildkit.history import (
    HISTORY_CHANGE,
    HISTORY_EVENT,
    HISTORY_REQUEST,
    LARGEST_BLOB,
    MOST_EVENTS,
    BuildHistory,
    BuildRecord,
    HistoryChange,
    HistoryEvent,
    HistoryRequest,
    Moment,
    NumberedBlob,
    RecordBlob,
    RecordResult,
    RecordState,
)
from ci_buildx.buildkit.messages import ExporterEntry, RpcStatus
from ci_buildx.errors import BuildkitError
from ci_buildx.session.content import READ_RESPONSE, ReadResponse
from tests.unit.wire import compiled
from tests.unit.wire.compiled import fill

attrs = st.dictionaries(st.text(), st.text(), max_size=2)
int32 = st.integers(0, (1 << 31) - 1)
blobs = st.builds(RecordBlob, media_type=st.text(), digest=st.text(), size=int32, annotations=attrs)
results = st.builds(
    RecordResult,
    result_deprecated=st.none() | blobs,
    attestations=st.lists(blobs, max_size=2).map(tuple),
    results=st.lists(st.builds(NumberedBlob, key=int32, value=blobs), max_size=2).map(tuple),
)
moments = st.none() | st.builds(Moment, seconds=int32, nanos=st.integers(0, 999_999_999))
records = st.builds(
    BuildRecord,
    ref=st.text(),
    frontend=st.text(),
    frontend_attrs=attrs,
    exporters=st.lists(st.builds(ExporterEntry, st.text(), attrs), max_size=2).map(tuple),
    error=st.none() | st.builds(RpcStatus, code=int32, message=st.text()),
    created_at=moments,
    completed_at=moments,
    logs=st.none() | blobs,
    exporter_response=attrs,
    result=st.none() | results,
    results=st.dictionaries(st.text(), results, max_size=2),
    generation=int32,
    trace=st.none() | blobs,
    pinned=st.booleans(),
    cached_steps=int32,
    total_steps=int32,
    completed_steps=int32,
    external_error=st.none() | blobs,
    warnings=int32,
)


@pytest.fixture(scope="module")
def history() -> Any:
    """The module that protoc makes of history.proto, to compare our messages with."""
    return compiled.load("buildkit/history.proto")


@given(record=records)
def test_a_record_is_read_as_it_was_written(history: Any, record: BuildRecord) -> None:
    written = HISTORY_EVENT.encode(HistoryEvent(type=RecordState.COMPLETE, record=record))
    assert HISTORY_EVENT.decode(written).record == record
    read = history.HistoryEvent.FromString(written)
    assert read.type == 1
    assert read.record.ref == record.ref
    assert dict(read.record.frontend_attrs) == record.frontend_attrs
    assert [each.key for each in read.record.result.results] == [
        each.key for each in (record.result.results if record.result else ())
    ]
    assert set(read.record.results) == set(record.results)
    assert read.record.created_at.nanos == (record.created_at or Moment()).nanos


@given(record=records.map(lambda one: {key: value for key, value in asdict(one).items() if key != "results"}))
def test_generated_code_writes_what_is_read(history: Any, record: dict[str, Any]) -> None:
    theirs = history.BuildRecord()
    flat = {name: value for name, value in record.items() if not isinstance(value, dict)}
    fill(theirs, flat)
    theirs.frontend_attrs.update(record["frontend_attrs"])
    read = HISTORY_EVENT.decode(history.HistoryEvent(type=1, record=theirs).SerializeToString()).record
    assert read is not None
    assert asdict(read).items() >= {**flat, "frontend_attrs": record["frontend_attrs"]}.items()


def test_the_field_numbers_of_buildkit() -> None:
    """BuildKit 0.34.2, ``control.proto``: BuildHistoryRequest, UpdateBuildHistoryRequest, BuildHistoryRecord."""
    assert (
        HISTORY_REQUEST.encode(HistoryRequest(ref="r", filter=("f",), limit=2)) == b"\x12\x01r\x18\x01\x22\x01f\x28\x02"
    )
    assert HISTORY_CHANGE.encode(HistoryChange(ref="r", delete=True, finalize=True)) == b"\x0a\x01r\x18\x01\x20\x01"
    # numWarnings = 19 and externalError = 18, whose keys have two bytes; Results = 11 by platform.
    raw = b"\x12\x12" + b"\x98\x01\x03" + b"\x92\x01\x04\x12\x02ab" + b"\x5a\x06\x0a\x02l/\x12\x00"
    record = HISTORY_EVENT.decode(raw[:1] + bytes((len(raw) - 2,)) + raw[2:]).record
    assert record == BuildRecord(warnings=3, external_error=RecordBlob(digest="ab"), results={"l/": RecordResult()})


class Endless:
    """A channel whose streams repeat one message ``times``."""

    def __init__(self, message: bytes, times: int) -> None:
        self._message = message
        self._times = times

    def unary_stream(self, _: str) -> Any:
        class Call:
            def __init__(self, message: bytes, times: int) -> None:
                self._messages = itertools.repeat(message, times)

            def initial_metadata(self) -> tuple[tuple[str, str], ...]:
                return ()

            def __iter__(self) -> Iterator[bytes]:
                return self._messages

        return lambda *_, **__: Call(self._message, self._times)


def test_builds_without_end_are_refused() -> None:
    history = BuildHistory(Endless(b"", MOST_EVENTS + 2))
    with pytest.raises(BuildkitError, match="listed more than 100000 builds"):
        history.list_records(HistoryRequest(), 1.0)


def test_a_blob_without_end_is_refused() -> None:
    piece = READ_RESPONSE.encode(ReadResponse(data=bytes(1 << 20)))
    history = BuildHistory(Endless(piece, (LARGEST_BLOB >> 20) + 2))
    with pytest.raises(BuildkitError, match=f"has more than {LARGEST_BLOB} bytes"):
        history.read_blob(f"sha256:{'a' * 64}")


def test_a_blob_is_what_its_digest_says() -> None:
    history = BuildHistory(Endless(READ_RESPONSE.encode(ReadResponse(data=b"x")), 1))
    assert history.read_blob(f"sha256:{hashlib.sha256(b'x').hexdigest()}") == b"x"
    for digest, problem in ((f"sha256:{'a' * 64}", "sent other content than"), ("md5:a", "invalid digest")):
        with pytest.raises(BuildkitError, match=problem):
            history.read_blob(digest)


def test_malformed_answers() -> None:
    history = BuildHistory(Endless(b"\x0a", 1))
    with pytest.raises(BuildkitError, match="did not list its build history: invalid response"):
        history.list_records(HistoryRequest(), 1.0)
