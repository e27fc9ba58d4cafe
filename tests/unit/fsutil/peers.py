"""The other side of a transfer, and both sides joined."""

from collections.abc import Iterator

from ci_buildx.fsutil import packets
from ci_buildx.fsutil.entry import TreeEntry
from ci_buildx.fsutil.packets import Packet, PacketKind
from ci_buildx.fsutil.receiver import TreeReceiver
from ci_buildx.fsutil.sender import TreeSender


def messages(stream: bytes) -> Iterator[bytes]:
    """Take gRPC's framing off; what is left over is a failure of the test."""
    at = 0
    while at < len(stream):
        assert stream[at] == 0
        size = int.from_bytes(stream[at + 1 : at + 5])
        at += 5 + size
        assert at <= len(stream)
        yield stream[at - size : at]


def produced(sender: TreeSender, room: int = 1 << 16) -> list[Packet]:
    """Everything that the sender has to say now."""
    found = []
    while out := sender.produce(room):
        found += [packets.decode_packet(message) for message in messages(out)]
    return found


def announced(found: list[Packet]) -> list[TreeEntry]:
    """The entries among packets."""
    return [packet.entry for packet in found if packet.entry is not None]


def content(found: list[Packet], number: int) -> bytes:
    """What a file has received; it must have been ended."""
    pieces = [packet.content for packet in found if packet.kind is PacketKind.DATA and packet.id == number]
    assert pieces[-1] == b"" and b"" not in pieces[:-1]
    return b"".join(pieces)


def transfer(sender: TreeSender, receiver: TreeReceiver, *, room: int) -> None:
    """Let both talk until they are done or neither has anything to say."""
    while not (sender.finished and receiver.finished):
        out = sender.produce(room)
        answers = [answer for message in messages(out) for answer in receiver.receive(message)]
        for answer in answers:
            sender.receive(answer)
        if not out and not answers:
            break
