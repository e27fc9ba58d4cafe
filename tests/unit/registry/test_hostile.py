"""Registries that answer anything at all: an answer or one line that names them, soon and with little memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_buildx.errors import RegistryError
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.connection import RequestPatience
from ci_buildx.registry.content import LARGEST_MANIFEST, OCI_INDEX, ContentDescriptor, ManifestDocument, compute_digest
from ci_buildx.registry.credentials import CredentialStore, DockerConfig
from ci_buildx.registry.pace import FRAMING, TransferPace
from ci_buildx.registry.trust import RegistryTrust
from tests.unit.kube.authority import Authority
from tests.unit.registry.hostile import Hostile, hostile

ENDLESS = 1 << 26
"""Bytes of an answer that nobody would wait for."""


@pytest.fixture(scope="module")
def server() -> Iterator[Hostile]:
    """A server that sends anything."""
    with hostile() as found:
        yield found


def look(
    server: Hostile,
    head: bytes,
    piece: bytes = b"",
    *,
    repeats: int = 0,
    pace: TransferPace = TransferPace(),  # noqa: B008 - frozen
) -> str:
    """Read a manifest, as somebody who has heard nothing yet; why that failed, "" if it did not."""
    server.head, server.piece, server.repeats = head, piece, repeats
    return failure(server, lambda client: client.read_manifest(RegistryRepository(server.address, "a/b"), "tag"), pace)


def failure(
    server: Hostile, act: Callable[[RegistryClient], object], pace: TransferPace, trust: RegistryTrust | None = None
) -> str:
    """Why something failed, "" if it did not."""
    store = CredentialStore([DockerConfig(origin="test", auths={}, helpers={}, store="")], env={})
    patience = RequestPatience(attempts=2, silence=5.0, pace=pace, sleep=lambda _: None)
    try:
        trust = trust or RegistryTrust(plain=frozenset({server.address}))
        with RegistryClient(store, trust=trust, patience=patience) as client:
            act(client)
    except RegistryError as error:
        line = str(error)
        assert "\n" not in line
        assert len(line) < 600
        return line
    return ""


HEADS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 401 Unauthorized\r\n",
        b"HTTP/1.1 429 Slow\r\nRetry-After: soon\r\n",
        b"HTTP/1.1 307 Away\r\nLocation: http://[\r\n",
        b"HTTP/1.1 999 \r\n",
        b"HTTP/9 x\r\n",
        b"",
    ]
)
HEADERS = st.lists(
    st.sampled_from(
        [
            b"Content-Length: 5\r\n",
            b"Content-Length: -1\r\n",
            b"Content-Length: x\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Encoding: gzip\r\n",
            b'WWW-Authenticate: Bearer realm="http://[/",service=\r\n',
            b'WWW-Authenticate: Basic realm="\r\n',
            b"Docker-Content-Digest: sha256:zz\r\n",
            b"Content-Type: application/vnd.oci.image.index.v1+json\r\n",
            b"\xff\x00: \xff\r\n",
        ]
    ),
    max_size=4,
).map(b"".join)
BODIES = st.binary(max_size=20) | st.sampled_from(
    [b"zz\r\n", b"5\r\n{}", b"[" * 2000, b'{"errors": [[]]}', b'{"manifests": 7}']
)


@settings(max_examples=30)
@given(head=HEADS, headers=HEADERS, body=BODIES)
def test_any_answer(server: Hostile, head: bytes, headers: bytes, body: bytes) -> None:
    look(server, head + headers + b"Connection: close\r\n\r\n" + body)


@settings(max_examples=30)
@given(answer=st.binary(max_size=60))
def test_any_bytes(server: Hostile, answer: bytes) -> None:
    assert look(server, answer)


OK = b"HTTP/1.1 200 OK\r\n"
FLOOD = f"sent more than {2 * LARGEST_MANIFEST + FRAMING} bytes"


@pytest.mark.parametrize(
    ("head", "piece", "said"),
    [
        (OK + b"\r\n", b"x" * 65536, f"sent more than {LARGEST_MANIFEST} bytes for /v2/a/b/manifests/tag"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n", "sent more than"),
        (OK, b"A: b\r\n" * 100, ""),
        (OK + b"A: ", b"b" * 65536, ""),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, FLOOD),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 1000, FLOOD),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 60_000 + b"\r\n \r\n", FLOOD),
    ],
    ids=["body", "chunks", "headers", "header", "interim responses", "trailers", "chunk extensions"],
)
def test_an_answer_without_end_is_left(server: Hostile, head: bytes, piece: bytes, said: str) -> None:
    line = look(server, head, piece, repeats=ENDLESS // len(piece))
    assert said in line
    assert server.address in line


@pytest.fixture
def dripping(server: Hostile) -> Iterator[Hostile]:
    """It is silent for moments only, and would never end."""
    server.pause = 0.02
    yield server
    server.pause, server.takes, server.tls = Hostile.pause, Hostile.takes, None


QUICK = TransferPace(grace=0.3, rate=1 << 30)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (OK + b"Content-Length: 100000\r\n\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (OK + b"A: ", b"b"),
        (b"", b"H"),
    ],
    ids=["body", "chunks", "chunk-length", "header", "status"],
)
def test_an_answer_that_drips_is_left(dripping: Hostile, head: bytes, piece: bytes) -> None:
    line = look(dripping, head, piece, repeats=10_000, pace=QUICK)
    assert re.fullmatch(rf"{dripping.address} is too slow: \d+ bytes passed in 0 s; check the network .+", line)


@pytest.fixture
def secured(dripping: Hostile) -> RegistryTrust:
    """What lets a client speak TLS with it."""
    dripping.tls = Authority().server()
    return RegistryTrust(secured=frozenset({dripping.address}), insecure=frozenset({dripping.address}))


def test_an_answer_that_drips_inside_tls_is_left(dripping: Hostile, secured: RegistryTrust) -> None:
    dripping.head, dripping.piece, dripping.repeats = OK + b"Content-Length: 100000\r\n\r\n", b"x", 10_000
    repository = RegistryRepository(dripping.address, "a/b")
    line = failure(dripping, lambda client: client.read_manifest(repository, "tag"), QUICK, secured)
    assert line.startswith(f"{dripping.address} is too slow: ")


def test_a_registry_that_takes_by_drops_inside_tls_is_left(dripping: Hostile, secured: RegistryTrust) -> None:
    dripping.takes, dripping.head, dripping.piece, dripping.repeats = 1, b"", b"", 500
    line = failure(dripping, lambda client: put_large(client, dripping.address), QUICK, secured)
    assert line.startswith(f"{dripping.address} is too slow: ")


@pytest.mark.parametrize(
    ("scheme", "registry", "accused"),
    [("http", "registry.example", "{proxy}"), ("https", "registry.example:5000", "registry.example:5000")],
)
def test_a_proxy_that_drips_is_left(
    dripping: Hostile, monkeypatch: pytest.MonkeyPatch, scheme: str, registry: str, accused: str
) -> None:
    """Where it opens a tunnel the registry is named, which may be what is slow."""
    monkeypatch.setenv(f"{scheme}_proxy", f"http://{dripping.address}")
    monkeypatch.setenv("no_proxy", "")
    dripping.head, dripping.piece, dripping.repeats = b"HTTP/1.1 200 OK\r\nA: ", b"b", 10_000
    trust = RegistryTrust(plain=frozenset({registry})) if scheme == "http" else RegistryTrust()
    line = failure(
        dripping, lambda client: client.read_manifest(RegistryRepository(registry, "a/b"), "tag"), QUICK, trust
    )
    assert line.startswith(f"{accused.format(proxy=dripping.address)} is too slow: ")


def test_a_registry_that_takes_by_drops_is_left(dripping: Hostile) -> None:
    """It reads one byte, and then no more for a while."""
    dripping.takes = 1
    dripping.head, dripping.piece, dripping.repeats = b"", b"", 500
    assert "is too slow" in failure(dripping, lambda client: put_large(client, dripping.address), QUICK)


def put_large(client: RegistryClient, address: str) -> None:
    """Send more than all buffers between here and there hold."""
    blob = bytes(1 << 25)
    descriptor = ContentDescriptor(media_type=OCI_INDEX, digest=compute_digest(blob), size=len(blob))
    client.put_manifest(
        RegistryRepository(address, "a/b"), "tag", ManifestDocument(descriptor=descriptor, body=blob, fields={})
    )


def test_what_comes_in_time_is_waited_for(dripping: Hostile) -> None:
    """For longer than its grace: each piece brings a second more."""
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    head = OK + b"Content-Length: 60000\r\nConnection: close\r\n\r\n"
    said = look(
        dripping,
        head + body + b" " * (6000 - len(body)),
        b" " * 6000,
        repeats=9,
        pace=TransferPace(grace=0.1, rate=6000),
    )
    assert said == ""


def test_errors_without_end_are_cut(server: Hostile) -> None:
    body = json.dumps({"errors": [{"code": "X", "message": "long " * 10_000}]}).encode()
    head = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert "X: long long" in look(server, head + body)
