"""Our bytes against those of protoc's code, both ways, and against arbitrary ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.fsutil import packets
from ci_buildx.fsutil.entry import TreeEntry
from ci_buildx.fsutil.packets import Packet, PacketKind
from tests.unit.fsutil import generated

UINT32 = st.integers(0, (1 << 32) - 1)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(str.encode)
ENTRIES = st.builds(
    TreeEntry,
    path=st.binary(min_size=1),
    mode=UINT32,
    size=INT64,
    mtime=INT64,
    linkname=st.binary(),
    uid=UINT32,
    gid=UINT32,
    major=INT64,
    minor=INT64,
    xattrs=st.none() | st.dictionaries(NAMES, st.binary(), min_size=1),
)


@given(ENTRIES)
def test_protoc_reads_our_stats(entry: TreeEntry) -> None:
    theirs = generated.module().Packet.FromString(packets.encode_stat(entry))
    assert (theirs.kind, theirs.id, theirs.data) == (0, 0, b"")
    for field in ("path", "mode", "size", "mtime", "linkname", "uid", "gid", "major", "minor"):
        assert getattr(theirs.stat, field) == getattr(entry, field)
    assert {name.encode(): value for name, value in theirs.stat.xattrs.items()} == (entry.xattrs or {})


@given(ENTRIES)
def test_our_stats_are_protocs_byte_for_byte(entry: TreeEntry) -> None:
    # The order of a map is each encoder's own.
    entry.xattrs = dict(list((entry.xattrs or {}).items())[:1])
    theirs = generated.module().Stat.FromString(packets.encode_stat_fields(entry))
    assert theirs.SerializeToString(deterministic=True) == packets.encode_stat_fields(entry)


@given(ENTRIES)
def test_what_was_encoded_is_decoded(entry: TreeEntry) -> None:
    assert packets.decode_packet(packets.encode_stat(entry)) == Packet(PacketKind.STAT, entry=entry)


@given(st.sampled_from(PacketKind), UINT32, st.binary())
def test_we_read_protocs_packets(kind: PacketKind, number: int, content: bytes) -> None:
    theirs = generated.module().Packet(kind=kind.value, id=number, data=content).SerializeToString()
    assert packets.decode_packet(theirs) == Packet(kind, number, content)


@given(UINT32, st.binary(min_size=1))
def test_protoc_reads_our_packets(number: int, content: bytes) -> None:
    read = generated.module().Packet.FromString
    request = read(packets.encode_request(number))
    assert (request.kind, request.id) == (PacketKind.REQUEST, number)
    piece = read(packets.make_data_header(number, len(content)) + content)
    assert (piece.kind, piece.id, piece.data) == (PacketKind.DATA, number, content)
    end = read(packets.make_data_header(number, 0))
    assert (end.kind, end.id, end.data) == (PacketKind.DATA, number, b"")


def test_the_fixed_packets() -> None:
    read = generated.module().Packet.FromString
    assert read(packets.FIN).kind == PacketKind.FIN
    assert not read(packets.END_OF_STATS).HasField("stat")
    error = read(packets.encode_error("no \udcff"))
    assert (error.kind, error.data) == (PacketKind.ERROR, b"no ?")


@given(st.binary(max_size=8).map(b"\x08\x01\x18".__add__) | st.binary(max_size=12))
def test_a_request_that_is_known_at_a_glance_reads_the_same_otherwise(buffer: bytes) -> None:
    number = packets.read_requested_id(buffer)
    assert number == -1 or packets.decode_packet(buffer) == Packet(PacketKind.REQUEST, number)


@given(st.integers(0, (1 << 28) - 1))
def test_what_buildkit_asks_for_is_known_at_a_glance(number: int) -> None:
    assert packets.read_requested_id(packets.encode_request(number)) == number


@given(st.binary())
def test_arbitrary_bytes_are_a_packet_or_a_value_error(buffer: bytes) -> None:
    try:
        packets.decode_packet(buffer)
    except ValueError:
        return


@pytest.mark.parametrize(
    "buffer",
    [
        b"\x08\x05",
        b"\x0a\x00",
        b"\x10\x01",
        b"\x22\x05ab",
        b"\x12\x02\x08\x01",
        b"\x12\x02\x12\x00",
        b"\x19" + b"\0" * 8,
    ],
)
def test_what_is_no_packet_is_refused(buffer: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        packets.decode_packet(buffer)


def test_grpc_prefix() -> None:
    assert packets.frame_packet(packets.FIN) == b"\0\0\0\0\x02\x08\x03"
    assert packets.frame_packet(packets.END_OF_STATS) == b"\0\0\0\0\0"
