"""HTTP/1.1 against ``h11``: it reads our requests, we read its responses, and both refuse the same."""

from __future__ import annotations

import random
import re
import string
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.wire import http1

_FRAMING = {"host", "upgrade", "expect", "connection", "te", "trailer"}
"""Names that have a meaning in the protocol itself."""
names = st.text(string.ascii_letters, min_size=1, max_size=9).filter(
    lambda name: name.lower() not in _FRAMING
) | st.sampled_from(["Accept", "X-A", "Authorization"])
values = st.text(string.ascii_letters + string.digits + ' ,;=:/"é', max_size=20).map(str.strip)
targets = st.text(string.ascii_letters + "/?&=%-", max_size=30).map("/".__add__)
bodies = st.binary(max_size=300)
REFUSED = None
Read = tuple[int, dict[str, str], bytes]


def by_h11(data: bytes, *, ended: bool = True) -> Read | None:
    """A response to a GET: status, headers (repeated ones joined), body. None if it is refused or incomplete."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=http1.HEAD_LIMIT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    if ended:
        client.receive_data(b"")
    head: h11.Response | None = None
    body = b""
    try:
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return head.status_code, _join_fields(head.headers), body
            elif isinstance(event, h11.ConnectionClosed) or event in (h11.NEED_DATA, h11.PAUSED):
                return REFUSED
    except h11.RemoteProtocolError:
        return REFUSED


def by_us(data: bytes, *, ended: bool = True) -> Read | None:
    response = http1.ResponseReader()
    try:
        body = response.feed(data)
        if ended and not response.finished:
            response.end()
    except http1.MalformedResponse:
        return REFUSED
    if response.head is None or not response.finished:
        return REFUSED
    headers = dict(response.head.headers)
    if data.startswith(b"HTTP/1.0") and b"onnection:" not in data:
        assert headers.pop("connection") == "close"  # as that version means it
    return response.head.status, headers, body


def _join_fields(headers: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in ((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers):
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


@given(st.sampled_from(["GET", "POST", "PUT", "DELETE"]), targets, st.dictionaries(names, values, max_size=5), bodies)
def test_it_reads_our_requests(method: str, target: str, headers: dict[str, str], body: bytes) -> None:
    server = h11.Connection(h11.SERVER)
    server.receive_data(http1.encode_request(method, target, {"Host": "h", **headers}, body))
    request, content = _request(server)
    assert (request.method.decode(), request.target.decode()) == (method, target)
    sent = [("host", "h"), *((name.lower(), value) for name, value in headers.items())]
    if body or method in ("POST", "PUT"):
        sent.append(("content-length", str(len(body))))
    assert [(name.decode(), value.decode("latin-1")) for name, value in request.headers] == sent
    assert content == body


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
def test_it_reads_our_chunks(pieces: list[bytes]) -> None:
    server = h11.Connection(h11.SERVER)
    head = http1.encode_request("POST", "/", {"Host": "h"}, chunked=True)
    server.receive_data(head + b"".join(map(http1.encode_chunk, pieces)) + http1.LAST_CHUNK)
    assert _request(server)[1] == b"".join(pieces)


def _request(server: h11.Connection) -> tuple[h11.Request, bytes]:
    request = server.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := server.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    return request, body


def response(status: int, headers: list[tuple[str, str]], pieces: list[bytes], early: list[int]) -> bytes:
    """What h11 sends as a server, after the interim responses ``early``."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    server.next_event()
    server.next_event()
    sent = b""
    for interim in early:
        sent += server.send(h11.InformationalResponse(status_code=interim, headers=[("Link", "x")])) or b""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    sent += server.send(h11.Response(status_code=status, headers=raw, reason=b"why not")) or b""
    for piece in pieces if status not in (204, 304) else []:
        sent += server.send(h11.Data(data=piece)) or b""
    return sent + (server.send(h11.EndOfMessage()) or b"")


@given(
    status=st.sampled_from([200, 201, 204, 304, 404, 500]),
    headers=st.lists(st.tuples(st.sampled_from(["A", "b", "X-Long"]), values), max_size=4),
    pieces=st.lists(st.binary(min_size=1, max_size=200), max_size=4),
    framing=st.sampled_from(["length", "chunked", "close"]),
    early=st.lists(st.sampled_from([100, 102, 103]), max_size=2),
    data=st.data(),
)
def test_we_read_its_responses(
    status: int,
    headers: list[tuple[str, str]],
    pieces: list[bytes],
    framing: str,
    early: list[int],
    data: st.DataObject,
) -> None:
    fields = {"length": [("Content-Length", str(sum(map(len, pieces))))], "close": [("Connection", "close")]}
    wire = response(status, headers + fields.get(framing, []), pieces, early)
    assert by_us(wire) == by_h11(wire) != REFUSED
    cut = data.draw(st.integers(0, len(wire)))
    ours = http1.ResponseReader()
    body = ours.feed(wire[:cut]) + ours.feed(wire[cut:])
    assert body == (b"".join(pieces) if status not in (204, 304) else b"")


TOKENS = [b"\r\n", b"\n", b"\r", b" ", b":", b";", b",", b"0", b"5", b"-", b"a", b"\0", b"\t", b"\x80", b"chunked"]


def damaged(seed: int) -> bytes:
    """A response in which a few bytes are others."""
    chance = random.Random(seed)
    fields = [[("Content-Length", "7")], [], [("Connection", "close")]][chance.randrange(3)]
    wire = response(200, [("A", "b"), *fields], [b"hel", b"lo!!"], [])
    for _ in range(chance.randrange(1, 3)):
        place = chance.randrange(len(wire))
        wire = wire[:place] + chance.choice([b"", *TOKENS]) + wire[place + chance.randrange(2) :]
    return wire


@pytest.mark.parametrize("seed", range(0, 10_000, 1000))
def test_both_refuse_the_same(seed: int) -> None:
    differ = [
        (wire, ours, theirs)
        for wire in map(damaged, range(seed, seed + 300))
        if (ours := by_us(wire)) != (theirs := by_h11(wire)) and not (ours is REFUSED and _is_lenient(wire))
    ]
    assert differ == []


def _is_lenient(wire: bytes) -> bool:
    """Whether h11 takes what few servers ever sent: other versions, lines that end with LF alone, folded headers."""
    return re.search(rb"^HTTP/[^1]|(?<!\r)\n|\r\n[ \t]", wire) is not None
