"""buildkitd is given the logins of this build's registries and of no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.errors import RegistryError
from ci_buildx.job.attachables import BuildLogins
from ci_buildx.job.login_hosts import find_login_hosts, parse_images
from ci_buildx.model.secret import Secret
from ci_buildx.registry.dockerconfig import Login
from ci_buildx.settings.values import Attributes, BuildSettings, NamedContext, SourcePolicy, SourceRule, SourceUpdate

LOGIN = Login(username="me", secret=Secret("x"))


def build(tmp_path: Path, text: str = "FROM scratch\n", **more: Any) -> BuildSettings:
    file = tmp_path / "Dockerfile"
    file.write_text(text)
    return BuildSettings(**{"context": tmp_path, "dockerfile": file, **more})


@pytest.mark.parametrize(
    ("dockerfile", "arguments", "hosts"),
    [
        ("FROM scratch", {}, set()),
        ("FROM alpine", {}, {"docker.io"}),
        ("# syntax=docker/dockerfile:1\nFROM r.io/a", {}, {"docker.io", "r.io"}),
        ("from --platform=$BUILDPLATFORM R.io:5000/a:1 AS b\nFROM b\nCOPY --from=b /x /y", {}, {"r.io:5000"}),
        ("FROM a.io/x AS one\nCOPY --from=b.io/y:1 / /\nCOPY --from=0 / /\nCOPY --from=one / /", {}, {"a.io", "b.io"}),
        ("FROM a.io/x\nRUN --mount=type=bind,from=c.io/z,target=/z true", {}, {"a.io", "c.io"}),
        ("ARG BASE=a.io/x\nFROM ${BASE}", {}, {"a.io"}),
        ("ARG BASE=a.io/x\nFROM $BASE", {"BASE": "b.io/x"}, {"b.io"}),
        ("ARG HOST=a.io\nARG BASE=$HOST/x\nFROM ${BASE}:1", {}, {"a.io"}),
        ('ARG BASE="a.io/x"\nFROM ${BASE:-z.io/q}', {}, {"a.io"}),
        ("FROM ${BASE:-z.io/q}", {}, {"z.io"}),
        ("ARG V\nFROM a.io/x:${V}", {}, {"a.io"}),
        ("ARG V\nFROM a.io/${V}", {}, {"a.io"}),
        ("FROM \\\n  # a comment\n  a.io/x \\\n  AS b", {}, {"a.io"}),
        ("# escape=`\nFROM `\na.io/x", {}, {"a.io"}),
        ("RUN echo FROM b.io/x\nFROM a.io/x", {}, {"a.io"}),
    ],
)
def test_images_of_the_dockerfile(dockerfile: str, arguments: dict[str, str], hosts: set[str], tmp_path: Path) -> None:
    assert find_login_hosts(build(tmp_path, dockerfile, build_args=tuple(arguments.items()))) == frozenset(hosts)


@pytest.mark.parametrize(
    ("dockerfile", "more"),
    [
        ("ARG BASE\nFROM $BASE", {}),
        ("ARG HOST\nFROM ${HOST}/x", {}),
        ("# syntax=example.io/frontend:1\nFROM x", {}),
        ("FROM x", {"build_args": (("BUILDKIT_SYNTAX", "example.io/frontend x"),)}),
        ("FROM x", {"context": "https://host/x.git", "dockerfile": None}),
    ],
)
def test_what_cannot_be_known_beforehand(dockerfile: str, more: dict[str, Any], tmp_path: Path) -> None:
    assert find_login_hosts(build(tmp_path, dockerfile, **more)) is None


def test_what_the_settings_name(tmp_path: Path) -> None:
    named = build(
        tmp_path,
        tags=("t.io/a:1",),
        push=True,
        outputs=(Attributes(type="image", attrs=(("name", "n.io/a,m.io/b"), ("push", "true"))),),
        cache_from=(Attributes(type="registry", attrs=(("ref", "f.io/c"),)),),
        cache_to=(Attributes(type="registry", attrs=(("ref", "w.io/c"),)), Attributes(type="gha", attrs=())),
        contexts=(NamedContext(name="x", location="docker-image://x.io/y"), NamedContext(name="z", location=tmp_path)),
        sbom="type=sbom,generator=g.io/scan",
        source_policy=SourcePolicy(rules=(SourceRule(updates=SourceUpdate(identifier="docker-image://p.io/q")),)),
    )
    expected = {*("t.io", "n.io", "m.io", "f.io", "w.io", "x.io", "g.io", "p.io"), "docker.io"}
    assert find_login_hosts(named) == frozenset(expected)


class Store:
    """Has a login for every host."""

    def lookup(self, host: str, path: str = "") -> Login | None:
        return None if host == "public.io" else LOGIN


def test_other_hosts_are_refused_by_name(tmp_path: Path) -> None:
    logins = BuildLogins(Store(), build(tmp_path, "FROM r.io/a\nFROM alpine"), mirrors=lambda: ["m.io"])
    for host in ("r.io", "R.IO", "registry-1.docker.io", "index.docker.io", "m.io"):
        assert logins.lookup(host) is LOGIN
    assert logins.lookup("public.io") is None
    for host in ("other.io", "r.io:5000", "r.io.evil.io"):
        with pytest.raises(RegistryError, match=rf"login of {host} is not given to buildkitd"):
            logins.lookup(host)


def test_mirrors_are_asked_for_only_if_they_matter(tmp_path: Path) -> None:
    def fail() -> list[str]:
        raise AssertionError

    assert BuildLogins(Store(), build(tmp_path, "FROM r.io/a"), mirrors=fail).lookup("r.io") is LOGIN


@given(st.text(alphabet="FROMARGCPY \n\\$\"'{}:-+=#/abc.", max_size=200))
def test_any_text_is_read(text: str) -> None:
    parse_images(text, {"a": "b"})
