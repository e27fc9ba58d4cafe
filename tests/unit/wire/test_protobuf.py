import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.wire import protobuf


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, b"\x00"),
        (1, b"\x01"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (150, b"\x96\x01"),
        ((1 << 64) - 1, b"\xff" * 9 + b"\x01"),
        (-1, b"\xff" * 9 + b"\x01"),
        (-(1 << 63), b"\x80" * 9 + b"\x01"),
    ],
)
def test_varint(number: int, encoded: bytes) -> None:
    assert protobuf.encode_varint(number) == encoded
    value, end = protobuf.read_varint(encoded, 0)
    assert end == len(encoded)
    assert number in (value, protobuf.read_signed(value))


def test_the_documentations_examples() -> None:
    assert protobuf.encode_key(1, protobuf.VARINT) + protobuf.encode_varint(150) == bytes.fromhex("089601")
    assert protobuf.encode_length_delimited(2, b"testing") == bytes.fromhex("120774657374696e67")
    assert list(protobuf.read_fields(bytes.fromhex("089601120774657374696e67"))) == [(1, 0, 150), (2, 2, b"testing")]


def test_fixed_sizes_are_read_over() -> None:
    message = (
        protobuf.encode_key(1, protobuf.FIXED64)
        + b"12345678"
        + protobuf.encode_key(2, protobuf.FIXED32)
        + b"1234"
        + b"\x18\x01"
    )
    assert list(protobuf.read_fields(message)) == [(1, 1, b"12345678"), (2, 5, b"1234"), (3, 0, 1)]


@pytest.mark.parametrize(
    "malformed",
    [
        b"\x08",
        b"\x80",
        b"\x08" + b"\x80" * 11,
        b"\x08" + b"\xff" * 10,
        b"\x12\x05abcd",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x09abc",
        b"\x0b",
        b"\x0c",
        b"\x00\x01",
        b"\x0f",
    ],
)
def test_malformed_bytes_are_a_value_error(malformed: bytes) -> None:
    with pytest.raises(ValueError, match="malformed protobuf"):
        list(protobuf.read_fields(malformed))


@given(st.binary(max_size=64))
def test_any_bytes_are_fields_or_a_value_error(data: bytes) -> None:
    try:
        found = list(protobuf.read_fields(data))
    except ValueError:
        return
    assert len(found) <= len(data)


@given(st.binary(max_size=64))
def test_views_read_like_bytes(data: bytes) -> None:
    outcomes = []
    for buffer in (data, bytearray(data), memoryview(data)):
        try:
            outcomes.append(list(protobuf.read_fields(buffer)))
        except ValueError:
            outcomes.append([])
    assert outcomes[0] == outcomes[1] == outcomes[2]
