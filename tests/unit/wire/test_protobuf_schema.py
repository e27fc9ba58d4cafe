"""Our tables against the code that protoc generates from the same definition."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.wire import protobuf
from ci_buildx.wire.protobuf import (
    BOOLEAN,
    BYTES,
    FIRST_TIME,
    INTEGER,
    LAST_TIME,
    TEXT,
    TIME,
    MessageField,
    MessageSchema,
    make_field,
    make_map_field,
    make_repeated_field,
)
from tests.unit.wire import compiled


@dataclass(frozen=True, kw_only=True)
class EveryKind:
    text: str = ""
    raw: bytes = b""
    number: int = 0
    flag: bool = False
    time: float | None = None
    inner: "EveryKind | None" = None
    texts: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    inners: tuple["EveryKind", ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    sign: int = 0


SIMPLE = (
    make_field(1, "text", TEXT),
    make_field(2, "raw", BYTES),
    make_field(3, "number", INTEGER),
    make_field(4, "flag", BOOLEAN),
    make_field(5, "time", TIME),
    make_repeated_field(7, "texts", TEXT),
    make_repeated_field(8, "numbers", INTEGER),
    make_map_field(10, "names"),
    make_map_field(11, "counts", INTEGER),
    make_field(2000, "sign", INTEGER),
)


def _sorted(*fields: MessageField) -> list[MessageField]:
    return sorted(fields, key=lambda each: each.number)


LEAF = MessageSchema(EveryKind, *SIMPLE)
EVERY_KIND = MessageSchema(
    EveryKind, *_sorted(*SIMPLE, make_field(6, "inner", LEAF), make_repeated_field(9, "inners", LEAF))
)

int64 = st.integers(-(1 << 63), (1 << 63) - 1)
# Whole milliseconds: a float holds no nanoseconds, and our times are floats.
times = st.none() | st.integers(-(10**12), 10**12).map(lambda milliseconds: milliseconds / 1000)
leaves = st.builds(
    EveryKind,
    text=st.text(),
    raw=st.binary(),
    number=int64,
    flag=st.booleans(),
    time=times,
    texts=st.lists(st.text(), max_size=3).map(tuple),
    numbers=st.lists(int64, max_size=3).map(tuple),
    names=st.dictionaries(st.text(), st.text(), max_size=3),
    counts=st.dictionaries(st.text(), int64, max_size=3),
    sign=st.sampled_from([0, -1]),
)
values = st.builds(
    lambda leaf, inner, inners: EveryKind(**{**vars(leaf), "inner": inner, "inners": inners}),
    leaves,
    st.none() | leaves,
    st.lists(leaves, max_size=2).map(tuple),
)


@pytest.fixture(scope="module")
def reference() -> Any:
    """The module that protoc makes of every_kind.proto, to compare our messages with."""
    return compiled.load(str(Path(__file__).with_name("every_kind.proto")))


def to_generated(reference: Any, value: EveryKind) -> Any:
    message = reference.EveryKind()
    for name in ("text", "raw", "number", "flag", "sign"):
        setattr(message, name, getattr(value, name))
    if value.time is not None:
        message.time.FromMilliseconds(round(value.time * 1000))
    if value.inner is not None:
        message.inner.CopyFrom(to_generated(reference, value.inner))
    message.texts.extend(value.texts)
    message.numbers.extend(value.numbers)
    message.inners.extend(to_generated(reference, inner) for inner in value.inners)
    message.names.update(value.names)
    message.counts.update(value.counts)
    return message


@given(value=values)
def test_generated_code_reads_what_we_write(reference: Any, value: EveryKind) -> None:
    assert reference.EveryKind.FromString(EVERY_KIND.encode(value)) == to_generated(reference, value)


@given(value=values)
def test_we_read_what_generated_code_writes(reference: Any, value: EveryKind) -> None:
    assert EVERY_KIND.decode(to_generated(reference, value).SerializeToString()) == value


@given(value=leaves)
def test_bytes_are_the_same_but_for_the_order_of_maps(reference: Any, value: EveryKind) -> None:
    written = to_generated(reference, value).SerializeToString(deterministic=True)
    assert sorted(EVERY_KIND.encode(value)) == sorted(written)


def test_unpacked_numbers_are_read_and_unknown_fields_skipped(reference: Any) -> None:
    message = reference.Unpacked(numbers=[1, -1, 300], later="of no interest")
    assert EVERY_KIND.decode(message.SerializeToString()) == EveryKind(numbers=(1, -1, 300))


def test_text_that_is_no_utf8_is_marked() -> None:
    assert EVERY_KIND.decode(b"\x0a\x01\xff") == EveryKind(text="\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize("wrong", [b"\x08\x01", b"\x1a\x01a", b"\x22\x00", b"\x2a\x01\xff", b"\x52\x02\x08\x01"])
def test_a_known_field_of_another_type_is_malformed(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="malformed protobuf"):
        EVERY_KIND.decode(wrong)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_a_value_error(data: bytes) -> None:
    try:
        decoded = EVERY_KIND.decode(data)
    except ValueError:
        return
    assert EVERY_KIND.decode(EVERY_KIND.encode(decoded)) == decoded


@pytest.mark.parametrize(
    ("seconds", "nanoseconds", "expected"),
    [
        (1, 500_000_000, 1.5),
        ((1 << 63) - 1, 0, LAST_TIME),
        (1 << 63, 0, FIRST_TIME),  # the most negative number
        (0, (1 << 63) - 1, 9223372036.854776),
        (LAST_TIME, 0, LAST_TIME),
    ],
)
def test_a_time_beyond_a_timestamp_is_moved_into_it(seconds: int, nanoseconds: int, expected: float) -> None:
    raw = b"".join(
        protobuf.encode_key(number, protobuf.VARINT) + protobuf.encode_varint(value)
        for number, value in ((1, seconds), (2, nanoseconds))
    )
    message = protobuf.encode_length_delimited(1, raw)
    schema = protobuf.MessageSchema(lambda when: when, protobuf.make_field(1, "when", protobuf.TIME))
    assert schema.decode(message) == expected
    datetime.fromtimestamp(expected, UTC)
