"""buildkitd is given the logins of this build's registries and of no others."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.build.attachables import MOST_UNNAMED, MOST_WARNINGS, BuildLogins, report_passed_login
from ci_buildx.build.expansion import Unusable, expand
from ci_buildx.build.login_hosts import find_base_images, find_login_hosts, parse_images
from ci_buildx.model.platform import Platform
from ci_buildx.model.secret import Secret
from ci_buildx.progress import display
from ci_buildx.registry.credentials import RegistryLogin, load_credentials
from ci_buildx.registry.token_authority import LoginStore
from ci_buildx.settings.values import (
    BuildSettings,
    NamedContext,
    ProgressMode,
    SourcePolicy,
    SourceRule,
    SourceUpdate,
    TypedAttributes,
)

LOGIN = RegistryLogin(username="me", secret=Secret("x"))


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
        ("# check=skip=all\n# syntax=docker/dockerfile:1.7-labs\nFROM r.io/a", {}, {"docker.io", "r.io"}),
        ("\ufeff# syntax=docker/dockerfile:1\r\nFROM r.io/a\r\n", {}, {"docker.io", "r.io"}),
        ("# a comment\n# syntax=example.io/frontend:1\nFROM r.io/a", {}, {"r.io"}),
        ("# unknown=x\n# syntax=example.io/frontend:1\nFROM r.io/a", {}, {"r.io"}),
        ("ARG REG=r.io/\nFROM ${REG%/}/a", {}, {"r.io"}),
        ("ARG REG\nFROM ${REG%/}/a", {"REG": "b.io:5000/"}, {"b.io:5000"}),
        ("ARG URL=https://r.io/team\nFROM ${URL#https://}/a", {}, {"r.io"}),
        ("ARG URL=https://r.io/team/x\nARG H=${URL#*//}\nFROM ${H%%/*}/a", {}, {"r.io"}),
        ("ARG R=r-io\nFROM ${R/-/.}/a", {}, {"r.io"}),
        ("ARG R=a-b-io\nFROM ${R//-/.}/a", {}, {"a.b.io"}),
        ("ARG A\nARG B=b.io\nFROM ${A:-${B:-c.io}}/x", {}, {"b.io"}),
        ("ARG A=\nFROM ${A:-d.io/x}", {}, {"d.io"}),
        ("ARG A=\nFROM e.io/x${A:+.f.io}", {}, {"e.io"}),
        ("ARG A\nFROM ${A:?give it}", {}, set()),
        ('ARG A=\'r.io\' B="x y"\nFROM "${A}/x"', {}, {"r.io"}),
        ("ARG BASE=a.io/x\nFROM $BASE AS one\nARG BASE=evil.io/x\nFROM $BASE", {}, {"a.io"}),
        ("FROM a.io/x\nARG BASE=evil.io/x\nFROM ${BASE:-b.io/x}", {}, {"a.io", "b.io"}),
        ("ARG BASE\nFROM $BASE", {}, set()),
        ("FROM ${UNDECLARED}/x", {"UNDECLARED": "evil.io"}, {""}),
        ("FROM a.io/b AS base-amd64\nFROM a.io/c AS base-arm64\nFROM base-${TARGETARCH}", {}, {"a.io"}),
        ("FROM r.io/tool-${BUILDARCH}-$TARGETOS", {}, {"r.io"}),
        ("FROM a.io/x\nCOPY --from=$X / /\nRUN --mount=from=${Y},target=/y true", {"X": "evil.io/x"}, {"a.io"}),
        ("FROM a.io/x\nRUN <<EOF\nFROM evil.io/x\nEOF\nFROM b.io/y", {}, {"a.io", "b.io"}),
        ("FROM a.io/x\nCOPY <<-'A' <<B /\nFROM evil.io/x\n\tA\nFROM evil.io/y\nB\nFROM b.io/y", {}, {"a.io", "b.io"}),
        ("FROM a.io/x\nRUN echo $((1 <<2 ))\nFROM b.io/y", {}, {"a.io", "b.io"}),
        ("FROM a.io\\\n/x", {}, {"a.io"}),
        ("FROM a.io/x\nWORKDIR C:\\\\\nFROM b.io/y", {}, {"a.io", "b.io"}),
        ("FROM a.io/x\nFROM b.io/y \\", {}, {"a.io", "b.io"}),
        ("FROM a.io/x\nRUN apt-get --from=evil.io/x", {}, {"a.io"}),
    ],
)
def test_images_of_the_dockerfile(dockerfile: str, arguments: dict[str, str], hosts: set[str], tmp_path: Path) -> None:
    assert find_login_hosts(build(tmp_path, dockerfile, build_args=tuple(arguments.items()))) == frozenset(hosts)


@pytest.mark.parametrize(
    ("dockerfile", "more"),
    [
        ('{"syntax": "example.io/frontend", "x": 1}', {}),
        ("// syntax=example.io/frontend\nx", {}),
        ("# check=skip=all\n# syntax=example.io/frontend:1\nFROM x", {}),
        ("#!/usr/bin/env docker\n#syntax = example.io/frontend:1 x\nFROM x", {}),
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
        outputs=(TypedAttributes(type="image", attrs=(("name", "n.io/a,m.io/b"), ("push", "true"))),),
        cache_from=(TypedAttributes(type="registry", attrs=(("ref", "f.io/c"),)),),
        cache_to=(TypedAttributes(type="registry", attrs=(("ref", "w.io/c"),)), TypedAttributes(type="gha", attrs=())),
        contexts=(NamedContext(name="x", location="docker-image://x.io/y"), NamedContext(name="z", location=tmp_path)),
        sbom="type=sbom,generator=g.io/scan",
        source_policy=SourcePolicy(rules=(SourceRule(updates=SourceUpdate(identifier="docker-image://p.io/q")),)),
    )
    expected = {*("t.io", "n.io", "m.io", "f.io", "w.io", "x.io", "g.io", "p.io"), "docker.io"}
    assert find_login_hosts(named) == frozenset(expected)


class Store:
    """Has a login for every host, and records what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def can_have(self, host: str) -> bool:
        return host != "public.io"

    def lookup(self, host: str, path: str = "") -> RegistryLogin | None:
        self.asked.append(host)
        return None if host.startswith("empty") else LOGIN


def watch_logins(
    wanted: BuildSettings,
    said: list[str],
    *,
    mirrors: Callable[[], Iterable[str]] = lambda: ["m.io"],
    store: LoginStore | None = None,
) -> BuildLogins:
    return BuildLogins(store or Store(), wanted, mirrors=mirrors, warn=said.append, report_passed=said.append)


def test_other_hosts_get_no_login_and_a_warning(tmp_path: Path) -> None:
    said: list[str] = []
    text = "FROM r.io/a\nFROM alpine"
    logins = watch_logins(build(tmp_path, text), said)
    for host in ("r.io", "R.IO", "registry-1.docker.io", "index.docker.io", "m.io"):
        assert logins.lookup(host) is LOGIN
    assert logins.lookup("public.io") is None
    for host in ("other.io", "r.io:5000", "r.io.evil.io"):
        for _ in range(2):
            assert logins.lookup(host) is None
        assert said.pop().startswith(f"no login for {host} is passed to buildkitd")
    assert said == []
    for number in range(100):
        assert logins.lookup(f"r{number}.io") is None
    assert len(said) < MOST_WARNINGS


def test_with_an_unknown_dockerfile_few_other_hosts_get_their_logins(tmp_path: Path) -> None:
    said: list[str] = []
    remote = build(tmp_path, context="https://host/x.git", dockerfile=None, tags=("r.io/a:1",), push=True)
    logins = watch_logins(remote, said)
    assert [logins.lookup(host) for host in ("r.io", "R.io", "m.io", "public.io")] == [LOGIN, LOGIN, LOGIN, None]
    assert said == []
    for _ in range(2):
        for number in range(MOST_UNNAMED):
            assert logins.lookup(f"r{number}.io") is LOGIN
    assert said == [
        f"the login for r{number}.io is passed to buildkitd: only BuildKit sees this Dockerfile"
        for number in range(MOST_UNNAMED)
    ]
    assert logins.lookup("another.io") is None
    assert said[-1].startswith("no login for another.io is passed to buildkitd")
    assert logins.lookup("r0.io") is LOGIN


@pytest.mark.parametrize("own", [True, False])
def test_a_login_for_an_unknown_dockerfile_is_a_warning_in_a_builder_of_others(own: bool) -> None:
    """On GitHub a warning is an annotation, and a git context is the default there."""
    stream = io.StringIO()
    shown = display.open_display(ProgressMode.GITHUB, stream, env={})
    report_passed_login(shown, "the login for r.io is passed", own=own)
    shown.close()
    assert "the login for r.io is passed" in stream.getvalue()
    assert ("::warning" in stream.getvalue()) is not own
    assert ("stop using this builder" in stream.getvalue()) is not own


def test_no_program_is_asked_for_a_host_that_the_build_does_not_name(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "docker-credential-test"
    program.write_text(
        f'#!/bin/sh\nread host\necho "$host" >>{tmp_path}/asked\necho \'{{"Username": "me", "Secret": "x"}}\'\n'
    )
    program.chmod(0o755)
    config = '{"credsStore": "test", "credHelpers": {"helped.io": "test"}, "auths": {"filed.io": {"auth": "bTp4"}}}'
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "DOCKER_AUTH_CONFIG": config, "HOME": str(tmp_path)}
    said: list[str] = []
    logins = watch_logins(build(tmp_path, "FROM r.io/a"), said, mirrors=lambda: (), store=load_credentials(env))
    hosts = ("other.io", "helped.io", "filed.io", "docker.io")
    assert [logins.lookup(host) for host in hosts] == [None] * len(hosts)
    assert [line.partition(" is passed")[0] for line in said] == [f"no login for {host}" for host in hosts]
    assert not (tmp_path / "asked").exists()
    assert logins.lookup("r.io") == LOGIN
    assert (tmp_path / "asked").read_text() == "r.io\n"


def test_a_host_without_any_login_is_not_warned_of(tmp_path: Path) -> None:
    env = {"DOCKER_AUTH_CONFIG": '{"auths": {"r.io": {"auth": "bTp4"}}}', "HOME": str(tmp_path)}
    said: list[str] = []
    logins = watch_logins(build(tmp_path), said, mirrors=lambda: (), store=load_credentials(env))
    assert (logins.lookup("public.io"), said) == (None, [])


def test_with_an_unknown_dockerfile_no_more_is_asked_once_enough_was_given(tmp_path: Path) -> None:
    store = Store()
    remote = build(tmp_path, context="https://host/x.git", dockerfile=None)
    logins = watch_logins(remote, [], mirrors=lambda: (), store=store)
    for number in range(2 * MOST_UNNAMED):
        logins.lookup(f"empty{number}.io")
        logins.lookup(f"r{number}.io")
    assert [host for host in store.asked if host.startswith("r")] == [f"r{number}.io" for number in range(MOST_UNNAMED)]
    assert sum(host.startswith("empty") for host in store.asked) == MOST_UNNAMED


@pytest.mark.parametrize("host", ["r.io/x", "r.io#", "u@r.io", "x" * 300, ""])
def test_what_is_no_host_has_no_login(host: str, tmp_path: Path) -> None:
    logins = watch_logins(build(tmp_path), [], mirrors=lambda: [host])
    assert logins.lookup(host) is None


def test_a_named_context_is_no_image(tmp_path: Path) -> None:
    context = NamedContext(name="Base", location=tmp_path)
    assert find_login_hosts(build(tmp_path, "FROM base\nCOPY --from=base / /", contexts=(context,))) == frozenset()


def test_other_platforms_of_the_build_count(tmp_path: Path) -> None:
    text = "FROM a.io/x AS base-amd64\nFROM a.io/x AS base-arm64\nFROM base-$TARGETARCH"
    assert find_login_hosts(build(tmp_path, text, platforms=(Platform("linux", "s390x"),))) == frozenset(
        {"a.io", "docker.io"}
    )


@pytest.mark.parametrize(
    "word", ["${", "${}", "${:x}", "${A", "${A:", "${A:x}", "${A^^}", "'", '"', "${A#\\x}", "${A:-" * 50, "x" * 5000]
)
def test_words_that_are_refused(word: str) -> None:
    with pytest.raises(Unusable):
        expand(word, {"A": "value"})


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("${A#*/}", "b/c/a"),
        ("${A##*/}", "a"),
        ("${A%/*}", "a/b/c"),
        ("${A%%/*}", "a"),
        ("${A%?}", "a/b/c/"),
        ("${A/b*c/x}", "a/x/a"),
        ("${A//a/x}", "x/b/c/x"),
        ("${A/\\//x}", "axb/c/a"),
        ("${B#\\*}", "b*"),
        ("\\$A'$A'\"$A\"", "$A$Aa/b/c/a"),
        ("$", "$"),
        ("$A.$C", "a/b/c/a."),
        ("${C-x}${E-x}${E:-y}${A+z}", "xyz"),
    ],
)
def test_words(word: str, expected: str) -> None:
    assert expand(word, {"A": "a/b/c/a", "B": "*b*", "E": ""}) == expected


def test_patterns_take_no_time() -> None:
    assert expand("${A#" + "*a" * 500 + "b}", {"A": "a" * 4000}) == "a" * 4000
    with pytest.raises(Unusable):
        expand("$A$A", {"A": "a" * 4000})


def test_mirrors_are_asked_for_only_if_they_matter(tmp_path: Path) -> None:
    def fail() -> list[str]:
        raise AssertionError

    logins = watch_logins(build(tmp_path, "FROM r.io/a"), [], mirrors=fail)
    assert logins.lookup("r.io") is LOGIN


@given(st.text(alphabet="FROMARGCPY \n\\$\"'{}:-+=#/abc.", max_size=200))
def test_any_text_is_read(text: str) -> None:
    parse_images(text, {"a": "b"})


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\n" + "RUN <<a\n" * 50_000,
        "FROM scratch\nRUN " + "a\\\n" * 200_000,
        "#syntax=b" + " " * 1_000_000 + "c\nFROM scratch\n",
        "# syntax" + " " * 1_000_000 + "c\nFROM scratch\n",
        "FROM a\n" + "".join(f"COPY --from=i{at} / /\n" for at in range(50_000)),
    ],
)
def test_the_work_for_a_dockerfile_is_proportional_to_its_length(text: str, tmp_path: Path) -> None:
    """Each took minutes or hours."""
    settings = build(tmp_path, text)
    begun = time.process_time()
    find_login_hosts(settings)
    find_base_images(settings)
    assert time.process_time() - begun < 20
