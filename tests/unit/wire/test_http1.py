"""Responses of HTTP/1.1 from literal bytes, split anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_buildx.wire.http1 import HEAD_LIMIT, MalformedResponse, ResponseReader, encode_request

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + LENGTH


def read(*pieces: bytes) -> tuple[ResponseReader, bytes]:
    response = ResponseReader()
    return response, b"".join(response.feed(piece) for piece in pieces)


@pytest.mark.parametrize("wire", [LENGTH, CHUNKED, INTERIM])
@settings(deadline=None)
@given(data=st.data())
def test_the_body_does_not_depend_on_how_the_bytes_are_split(wire: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    response, body = read(*pieces)
    assert (body, response.finished, response.rest) == (b"hello", True, b"")


def test_a_body_without_length_ends_with_the_connection() -> None:
    response, body = read(b"HTTP/1.1 500 Oh\r\n\r\nwhat")
    assert (body, response.finished) == (b"what", False)
    response.end()
    assert response.finished


def test_bytes_after_an_upgrade_belong_to_the_next_protocol() -> None:
    response, body = read(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x82\x01x")
    assert response.head is not None
    assert (response.head.status, body, response.rest) == (101, b"", b"\x82\x01x")


def test_repeated_headers_are_joined_and_names_are_lower_case() -> None:
    response, _ = read(b"HTTP/1.1 204 No Content\r\nA: 1\r\na: 2\r\n\r\n")
    assert response.head is not None
    assert response.head.headers == {"a": "1, 2"}
    assert response.finished


def test_a_length_that_is_repeated_counts_once() -> None:
    """Some proxies repeat it (RFC 9110, section 8.6); lengths that differ are refused."""
    _, body = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello")
    assert body == b"hello"
    with pytest.raises(MalformedResponse):
        read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")


@pytest.mark.parametrize(
    ("head", "reusable"),
    [(b"HTTP/1.1 200 OK", True), (b"HTTP/1.1 200 OK\r\nConnection: close", False), (b"HTTP/1.0 200 OK", False)],
)
def test_whether_the_connection_can_be_used_again(head: bytes, reusable: bool) -> None:
    response, _ = read(head + b"\r\nContent-Length: 0\r\n\r\n")
    assert response.head is not None
    assert response.head.reusable is reusable


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX y: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n",
        b"HTTP/1.1 200 O\nK\r\n\r\n",
        b"HTTP/1.12 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\na\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno trailer\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_LIMIT,
    ],
)
def test_refuses_what_is_not_http(wire: bytes) -> None:
    with pytest.raises(MalformedResponse):
        read(wire)


@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 200", LENGTH[:-1], CHUNKED[:-2]])
def test_an_end_in_the_middle_is_an_error(wire: bytes) -> None:
    response, _ = read(wire)
    with pytest.raises(MalformedResponse, match="middle"):
        response.end()


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_ends_in_a_body_or_an_error(garbage: bytes) -> None:
    try:
        read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", garbage)
    except MalformedResponse:
        return


def test_requests_cannot_be_smuggled() -> None:
    assert encode_request("GET", "/x", {"Host": "h"}) == b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
    with pytest.raises(ValueError, match="line break"):
        encode_request("GET", "/x", {"Host": "h\r\nEvil: 1"})
