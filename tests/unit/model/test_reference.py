"""References against the public test tables of distribution/reference v0.6.0.

They are in ``reference_test.go`` and ``normalize_test.go``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.model.record import replace
from ci_buildx.model.reference import ImageReference, parse_reference

DIGEST = "sha256:" + "f" * 64
LONG_DIGEST = "sha512:" + "f" * 128

VALID = [
    "docker/docker",
    "library/debian",
    "debian",
    "localhost/library/debian",
    "localhost/debian",
    "LOCALDOMAIN/library/debian",
    "LOCALDOMAIN/debian",
    "docker.io/docker/docker",
    "docker.io/library/debian",
    "docker.io/debian",
    "index.docker.io/docker/docker",
    "index.docker.io/library/debian",
    "index.docker.io/debian",
    "127.0.0.1:5000/docker/docker",
    "127.0.0.1:5000/library/debian",
    "127.0.0.1:5000/debian",
    "192.168.0.1",
    "192.168.0.1:80",
    "192.168.0.1:8/debian",
    "192.168.0.2:25000/debian",
    "thisisthesongthatneverendsitgoesonandonandonthisisthesongthatnev",
    "[fc00::1]:5000/docker",
    "[fc00::1]:5000/docker/docker",
    "[fc00:1:2:3:4:5:6:7]:5000/library/debian",
    "docker.io/1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a",
    "Docker/docker",
    "DOCKER/docker",
    "docker-rules/docker",
    "docker---rules/docker",
    "doc/docker",
    "d/docker",
    "jess/t",
    "dock__er/docker",
]
INVALID = [
    "",
    ":justtag",
    "@" + DIGEST,
    "repo@sha256:" + "f" * 34,
    "validname@invaliddigest:" + "f" * 128,
    "Uppercase:tag",
    "test:5000/Uppercase/lowercase:tag",
    "domain/" + "a" * 256 + ":tag",
    "aa/asdf$$^/aa",
    "https://github.com/docker/docker",
    "docker/Docker",
    "-docker",
    "-docker/docker",
    "-docker.io/docker/docker",
    "docker///docker",
    "docker.io/docker/Docker",
    "docker.io/docker///docker",
    "[fc00::1]",
    "[fc00::1]:5000",
    "[2001:db8::1]:tag",
    "fc00::1:5000/debian",
    "[fe80::1%eth0]:5000/debian",
    "[fe80::1%@invalidzone]:5000/repo",
    "[2001:db8:3:4::192.0.2.33]:5000/debian",
    "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a",
    "docker-/docker",
    "-docker-/docker",
    "____/____",
    "_docker/_docker",
    "dock..er/docker",
    "dock_.er/docker",
    "dock-.er/docker",
    "docker/",
    "this_is_not_a_valid_namespace_because_its_lenth_is_greater_than_255_" * 4 + "/docker",
]
# domain, path, and the forms that mean it: the familiar one first.
NAMES = [
    ("localhost", "fooo", ["localhost/fooo"]),
    ("localhost", "fooo/bar", ["localhost/fooo/bar"]),
    ("LOCALDOMAIN", "fooo", ["LOCALDOMAIN/fooo"]),
    ("docker.io", "fooo/bar", ["fooo/bar", "docker.io/fooo/bar", "index.docker.io/fooo/bar"]),
    ("docker.io", "library/ubuntu", ["ubuntu", "docker.io/library/ubuntu", "library/ubuntu", "docker.io/ubuntu"]),
    ("docker.io", "nonlibrary/ubuntu", ["nonlibrary/ubuntu", "docker.io/nonlibrary/ubuntu"]),
    ("docker.io", "other/library", ["other/library", "docker.io/other/library"]),
    ("127.0.0.1:8000", "private/moonbase", ["127.0.0.1:8000/private/moonbase"]),
    ("example.com", "privatebase", ["example.com/privatebase"]),
    ("example.com:8000", "privatebasee", ["example.com:8000/privatebasee"]),
    ("docker.io", "library/ubuntu-12.04-base", ["ubuntu-12.04-base", "index.docker.io/library/ubuntu-12.04-base"]),
    ("docker.io", "library/foo", ["foo", "docker.io/library/foo", "docker.io/foo"]),
    ("docker.io", "library/foo/bar", ["library/foo/bar", "docker.io/library/foo/bar"]),
    ("docker.io", "store/foo/bar", ["store/foo/bar", "docker.io/store/foo/bar"]),
    ("Foo", "bar", ["Foo/bar"]),
    ("FOO", "bar", ["FOO/bar"]),
]
PARTS = [
    ("test.com/repo:tag", ImageReference("test.com", "repo", "tag")),
    ("test:5000/repo", ImageReference("test:5000", "repo")),
    ("test:5000/repo@" + DIGEST, ImageReference("test:5000", "repo", "", DIGEST)),
    ("test:5000/repo:tag@" + DIGEST, ImageReference("test:5000", "repo", "tag", DIGEST)),
    (
        "sub-dom1.foo.com/bar/baz/quux:some-long-tag",
        ImageReference("sub-dom1.foo.com", "bar/baz/quux", "some-long-tag"),
    ),
    ("xn--7o8h.com/myimage:x@" + LONG_DIGEST, ImageReference("xn--7o8h.com", "myimage", "x", LONG_DIGEST)),
    ("192.168.1.1:5000/repo:5050", ImageReference("192.168.1.1:5000", "repo", "5050")),
    ("[2001:db8::1]:5000/repo:tag", ImageReference("[2001:db8::1]:5000", "repo", "tag")),
    ("test.com:5000", ImageReference("docker.io", "library/test.com", "5000")),
    ("lowercase:Uppercase", ImageReference("docker.io", "library/lowercase", "Uppercase")),
    ("example.com/" + "a" * 255 + ":tag", ImageReference("example.com", "a" * 255, "tag")),
]


PUBLIC = json.loads(Path(__file__).with_name("references.json").read_text())["references"]
"""All references of distribution's own tables, with what its ParseNormalizedNamed makes of each."""


@pytest.mark.parametrize("known", PUBLIC, ids=[repr(known["text"][:60]) for known in PUBLIC])
def test_each_public_reference(known: dict[str, Any]) -> None:
    if known.get("refused"):
        with pytest.raises(ValueError, match=r".+"):
            parse_reference(known["text"])
        return
    found = parse_reference(known["text"])
    assert (found.domain, found.path) == (known["domain"], known["path"])
    assert (found.tag, found.digest) == (known.get("tag", ""), known.get("digest", ""))
    assert replace(found, tag="", digest="").familiar == known["familiar"]


@pytest.mark.parametrize("text", VALID)
def test_accepts(text: str) -> None:
    assert parse_reference(text).name


@pytest.mark.parametrize("text", INVALID)
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_reference(text)


@pytest.mark.parametrize(("domain", "path", "forms"), NAMES)
def test_normalises(domain: str, path: str, forms: list[str]) -> None:
    for form in forms:
        parsed = parse_reference(form)
        assert (parsed.domain, parsed.path) == (domain, path)
        assert parsed.familiar == forms[0]
        assert str(parsed) == f"{domain}/{path}"


@pytest.mark.parametrize(("text", "expected"), PARTS)
def test_takes_apart(text: str, expected: ImageReference) -> None:
    assert parse_reference(text) == expected


def test_default_tag() -> None:
    assert str(parse_reference("alpine").add_default_tag()) == "docker.io/library/alpine:latest"
    assert parse_reference("alpine:3").add_default_tag().tag == "3"
    assert parse_reference("alpine@" + DIGEST).add_default_tag().tag == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the reference is empty"),
        ("https://x.io/a", "an image reference has no scheme; omit 'https://'"),
        ("Team:1", "repository name 'Team' must be lower-case"),
        ("foo_bar.com/x", "'foo_bar.com' is not a registry host"),
        ("a@sha256:ff", "a sha256 digest has 64 digits, not 2"),
        ("a@md5:" + "f" * 32, "digest algorithm 'md5' is none of sha256, sha384, sha512"),
        ("docker.io/", "the repository name is missing"),
    ],
)
def test_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        parse_reference(text)
    assert str(caught.value) == reason


@given(st.text(alphabet="aA0.:/@-_[]é\n sha256f", max_size=80))
def test_parses_or_refuses_and_is_stable(text: str) -> None:
    try:
        parsed = parse_reference(text)
    except ValueError:
        return
    assert parse_reference(str(parsed)) == parsed
    assert parse_reference(parsed.familiar) == parsed
