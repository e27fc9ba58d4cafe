"""What RUN steps are given: the vectors of buildx 0.38.2 (``build/utils_test.go``) and docker/go-units v0.5.0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ci_buildx.errors import InputError
from ci_buildx.settings.attributes import parse_attestations
from ci_buildx.settings.contexts import is_git, parse_named_contexts
from ci_buildx.settings.sandbox import (
    parse_entitlements,
    parse_hosts,
    parse_network,
    parse_resources,
    parse_size,
    parse_ulimits,
)
from ci_buildx.settings.values import ImageLayout


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        work()
    return str(caught.value)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["myhost:162.242.195.82"], ("myhost=162.242.195.82",)),
        (["myhost=162.242.195.82"], ("myhost=162.242.195.82",)),
        (["a=1.2.3.4,b:5.6.7.8"], ("a=1.2.3.4", "b=5.6.7.8")),
        (["ipv6local:0:0:0:0:0:0:0:1"], ("ipv6local=0:0:0:0:0:0:0:1",)),
        (["ipv6local=[::1]"], ("ipv6local=::1",)),
        (["h:[1.2.3.4]"], ("h=1.2.3.4",)),
    ],
)
def test_hosts(texts: list[str], expected: tuple[str, ...]) -> None:
    assert parse_hosts(texts, source="x") == expected


@pytest.mark.parametrize("text", ["myhost", "myhost=", "=1.2.3.4", "thathost:300.1.1.1", "h=[::1", "h=fe80::1%eth0"])
def test_refuses_host(text: str) -> None:
    assert "has an invalid address" in refusal(lambda: parse_hosts([text], source="--add-host"))


def test_there_is_no_host_gateway() -> None:
    message = refusal(lambda: parse_hosts(["h=host-gateway"], source="--add-host"))
    assert message == "--add-host: host 'h': host-gateway is not supported on Kubernetes"


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 0), ("32", 32), ("32b", 32), ("32kb", 32 << 10), ("32Ki", 0), ("32KiB", 32 << 10), ("64m", 64 << 20)],
)
def test_sizes(text: str, size: int) -> None:
    if size or not text:
        assert parse_size(text, source="x") == size
    else:
        assert "is not a size" in refusal(lambda: parse_size(text, source="x"))


@pytest.mark.parametrize(
    ("text", "size"), [("32.5kB", 33280), ("0.3 k", 307), ("1g", 1 << 30), ("2T", 2 << 40), ("1p", 1 << 50)]
)
def test_odd_sizes(text: str, size: int) -> None:
    assert parse_size(text, source="x") == size


@pytest.mark.parametrize("text", ["hello", "-32", "32m b", "32bm", "5 mb wide", " 32 "])
def test_refuses_size(text: str) -> None:
    assert refusal(lambda: parse_size(text, source="--shm-size")).startswith(f"--shm-size: {text!r} is not a size")


def test_ulimits() -> None:
    texts = ["nofile=512:1024", "core=0", "nofile=1024:-1", "rss=-1"]
    assert parse_ulimits(texts, source="x") == ("core=0:0", "nofile=1024:-1", "rss=-1:-1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("notarealtype=1024", "unknown ulimit 'notarealtype'"),
        ("nofile", "'nofile' is not name=soft[:hard]"),
        ("nofile=1024:1", "ulimit 'nofile=1024:1': the soft limit exceeds the hard limit"),
        ("nofile=-1:5", "ulimit 'nofile=-1:5': the soft limit exceeds the hard limit"),
        ("nofile=a:b", "'nofile=a:b' is not name=soft[:hard]"),
    ],
)
def test_refuses_ulimit(text: str, message: str) -> None:
    assert refusal(lambda: parse_ulimits([text], source="--ulimit")).startswith(f"--ulimit: {message}")


def test_networks() -> None:
    assert [parse_network(text, source="x") for text in ("", "default", "none", "host")] == ["", "", "none", "host"]
    assert refusal(lambda: parse_network("hsot", source="--network")) == (
        "--network: unknown network 'hsot'; did you mean 'host'?"
    )


def test_entitlements() -> None:
    texts = ["network.host", "device=vendor/gpu", "device", "network.host"]
    assert parse_entitlements(texts, source="x") == ("network.host", "device=vendor/gpu", "device")
    for text in ("network.hots", "network.host=x"):
        assert f"unknown entitlement '{text}'" in refusal(lambda text=text: parse_entitlements([text], source="x"))  # type: ignore[misc]


def test_resources() -> None:
    texts = ["memory=512m", "memory-swap=-1", "cpu-quota=050", "cpu-shares=0", "cpuset-cpus=0-3"]
    assert parse_resources(texts, source="x") == (
        ("cpuquota", "50"),
        ("cpusetcpus", "0-3"),
        ("memory", str(512 << 20)),
        ("memswap", "-1"),
    )
    assert "unknown resource 'mem'" in refusal(lambda: parse_resources(["mem=1"], source="x"))
    assert "not a whole number" in refusal(lambda: parse_resources(["cpu-quota=1.5"], source="x"))


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("type=provenance,mode=max,builder-id=x", "provenance", "type=provenance,builder-id=x,mode=max"),
        ("generator=img,Type=sbom", "sbom", "type=sbom,generator=img"),
        ("type=sbom,disabled=true", "sbom", ""),
        ('type=x,"a=1,2"', "x", 'type=x,"a=1,2"'),
    ],
)
def test_attestations_are_sent_as_buildx_sends_them(text: str, kind: str, expected: str) -> None:
    assert parse_attestations([text, f"type={kind},late=1"], source="x") == {kind: expected}


def test_an_attestation_needs_its_type() -> None:
    assert refusal(lambda: parse_attestations(["mode=max"], source="--attest")) == (
        "--attest: 'mode=max' has no type field; write type=provenance or type=sbom"
    )


def test_named_contexts(tmp_path: Path) -> None:
    texts = ["lib=.", "docker.io/library/alpine:latest=docker-image://alpine:3", "src=https://host/a.git", "lib=."]
    named = parse_named_contexts(texts, source="x", cwd=tmp_path, env={})
    assert [(one.name, one.location) for one in named] == [
        ("lib", tmp_path),
        ("alpine", "docker-image://alpine:3"),
        ("src", "https://host/a.git"),
    ]


@pytest.mark.parametrize(
    ("text", "folder", "tag", "digest"),
    [
        # docker/buildx 0.38.2 util/ocilayout tests, with folders that are there
        ("oci/layout", "oci/layout", "latest", ""),
        ("oci/layout:1.3", "oci/layout", "1.3", ""),
        (f"oci/layout@sha256:{'a' * 64}", "oci/layout", "", f"sha256:{'a' * 64}"),
        (f"oci/@/layout@sha256:{'a' * 64}", "oci/@/layout", "", f"sha256:{'a' * 64}"),
        ("oci/@/layout", "oci/@/layout", "latest", ""),
        (f"a:1.3@sha256:{'a' * 64}", "a", "1.3", f"sha256:{'a' * 64}"),
        ("with:colon:1", "with:colon", "1", ""),
        ("with:a/slash", "with:a/slash", "latest", ""),
    ],
)
def test_image_layouts(tmp_path: Path, text: str, folder: str, tag: str, digest: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "index.json").write_text("{}")
    (named,) = parse_named_contexts([f"base=oci-layout://{text}"], source="x", cwd=tmp_path, env={})
    assert named.location == ImageLayout(folder=tmp_path / folder, tag=tag, digest=digest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lib", "'lib' is not name=context"),
        ("Lib=.", "invalid context name 'Lib'"),
        ("lib=none", "context folder 'none' does not exist"),
        ("lib=-", "context 'lib': standard input can only be the main context"),
        ("lib=docker-image://A", "context 'lib': invalid image 'A'"),
        (
            "lib=oci-layout://x:1",
            "context 'lib': 'x' is not an OCI image layout: index.json not found; write oci-layout://",
        ),
        ("lib=target:base", "context 'lib': only bake supports another target's result"),
    ],
)
def test_refuses_named_context(tmp_path: Path, text: str, message: str) -> None:
    told = refusal(lambda: parse_named_contexts([text], source="--build-context", cwd=tmp_path, env={}))
    assert told.startswith(f"--build-context: {message}")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/a.git#main:dir", True),
        ("https://h/a.git?ref=x", True),
        ("https://h/a.tar.gz", False),
        ("git@h:a", True),
        ("github.com/a/b", True),
        ("./x", False),
    ],
)
def test_git_contexts(url: str, expected: bool) -> None:
    assert is_git(url) is expected
