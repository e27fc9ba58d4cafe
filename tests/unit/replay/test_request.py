"""Checks of provenance, and the settings that follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ci_buildx.errors import InputError
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import replace
from ci_buildx.replay.checks import ReplayMode
from ci_buildx.replay.plan import format_plan, make_build_plan
from ci_buildx.replay.request import ReplayRequest, make_settings
from ci_buildx.replay.subject import ReplaySubject
from ci_buildx.settings.raw_values import Value
from ci_buildx.settings.values import Settings
from tests.unit.replay.provenance import REPOSITORY, TAR, make_predicate

SUBJECT = ReplaySubject(name="app", descriptor={"digest": "sha256:" + "e" * 64}, platform=Platform("linux", "arm64"))


def replay(
    folder: Path,
    values: dict[str, Value] | None = None,
    env: dict[str, str] | None = None,
    *,
    mode: ReplayMode = ReplayMode.MATERIALS,
    network: str = "",
    **given: Any,
) -> Settings:
    """Return the settings of a replay of the given provenance."""
    request = ReplayRequest(subject=SUBJECT, predicate=make_predicate(**given), mode=mode, network=network)
    return make_settings(request, values or {}, {}, env or {}, folder)


def test_the_recorded_build_is_repeated(tmp_path: Path) -> None:
    args = {
        "build-arg:VERSION": " 1 ",
        "label:team": "a=b",
        "context:base": "docker-image://alpine:3.22",
        "target": "app",
        "no-cache": "one,two",
        "add-hosts": "a=1.2.3.4,b=::1",
        "force-network-mode": "none",
    }
    build = replay(tmp_path, args=args, path="docker/Dockerfile").build
    assert (build.context, build.dockerfile, build.dockerfile_name) == (TAR, None, "docker/Dockerfile")
    assert build.build_args == (("VERSION", " 1 "),)
    assert build.labels == (("team", "a=b"),)
    assert [(one.name, one.location) for one in build.contexts] == [("base", "docker-image://alpine:3.22")]
    assert (build.target, build.no_cache, build.no_cache_filter) == ("app", False, ("one", "two"))
    assert (build.sandbox.network, build.sandbox.hosts) == ("none", ("a=1.2.3.4", "b=::1"))
    assert build.platforms == (Platform("linux", "arm64"),)
    assert (build.provenance, build.sbom) == ("", "")
    assert build.source_policy is not None
    assert replay(tmp_path, mode=ReplayMode.FRONTEND).build.source_policy is None


def test_the_frontends_image_is_that_of_the_build(tmp_path: Path) -> None:
    args = {"source": "docker/dockerfile:1", "cmdline": "docker/dockerfile:1 --x"}
    assert replay(tmp_path, frontend="gateway.v0", args=args).build.syntax == "docker/dockerfile:1 --x"
    assert replay(tmp_path, args=args).build.syntax == ""


def test_a_document_reaches_no_file_variable_or_agent(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    env = {"GIT_AUTH_TOKEN": "hidden-value", "SSH_AUTH_SOCK": str(tmp_path / "agent"), "VERSION": "of-this-machine"}
    given = {"build-arg:VERSION": "", "build-arg:OTHER": "", "filename": str(tmp_path / "secret")}
    build = replay(tmp_path, env=env, uri="ssh://git@example.com/a.git#v1", digest="sha1:" + "c" * 40, args=given).build
    assert (build.secrets, build.ssh, build.entitlements, build.withheld_tokens) == ((), (), (), ())
    assert dict(build.build_args) == {"VERSION": "", "OTHER": ""}
    assert replay(tmp_path, path=str(tmp_path / "secret")).build.dockerfile is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"locals": [{"name": "context"}]}, r"image was built from local inputs that replay cannot fetch \(context\)"),
        ({"uri": "http://buildkit-session/x"}, r"context \(stdin\)"),
        ({"args": {"context:a": "oci-layout://x"}}, r"cannot fetch \(a\)"),
        ({"args": {"context:a": "local:a"}}, r"cannot fetch \(a\)"),
        ({"args": {"context:a": "/etc"}}, "not an image or a URL"),
        ({"args": {"context:a": "../.."}}, "not an image or a URL"),
        ({"uri": "/etc"}, "is not a URL"),
        ({"uri": "."}, "is not a URL"),
        ({"uri": ""}, "records no context"),
        ({"steps": []}, "mode=min.*--provenance=mode=max"),
        ({"frontend": "evil.v0"}, "frontend 'evil.v0'"),
        ({"frontend": "gateway.v0"}, "no source of its frontend"),
        ({"secrets": [{"id": "b"}, {"id": "a"}, {"id": "c", "optional": True}]}, "missing required secrets: a, b; add"),
        ({"ssh": [{"id": "default"}]}, "missing required ssh entries: default"),
        ({"args": {"force-network-mode": "host"}}, "--network=host, which replay does not support"),
        ({"uri": f"{REPOSITORY}:docker", "digest": "", "materials": []}, "cannot pin the git context"),
    ],
)
def test_what_cannot_be_repeated_is_refused(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replay(tmp_path, **given)


@pytest.mark.parametrize("architecture", ["amd64,linux/arm64", "amd64,arm64,s390x", "local", "x y"])
def test_a_platform_of_the_document_is_one_platform(tmp_path: Path, architecture: str) -> None:
    """Each further one could be another pod."""
    subject = replace(SUBJECT, platform=Platform("linux", architecture))
    request = ReplayRequest(subject=subject, predicate=make_predicate())
    with pytest.raises(InputError, match=r"SUBJECT: .*platform 'linux/"):
        make_settings(request, {}, {}, {}, tmp_path)


def test_undeclared_secrets_are_not_passed_on(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hidden-value")
    values: dict[str, Value] = {"secrets": ["id=other,src=f"]}
    with pytest.raises(InputError, match="extra secrets not declared in provenance: other"):
        replay(tmp_path, values)
    declared = [{"id": "other"}]
    assert [one.id for one in replay(tmp_path, values, secrets=declared).build.secrets] == ["other"]
    token: dict[str, Value] = {"secrets": ["id=GIT_AUTH_TOKEN.example.com,src=f"]}
    assert [one.id for one in replay(tmp_path, token).build.secrets] == ["GIT_AUTH_TOKEN.example.com"]


def test_a_network_of_the_user_replaces_the_recorded_one(tmp_path: Path) -> None:
    args = {"force-network-mode": "host"}
    assert replay(tmp_path, network="none", args=args).build.sandbox.network == "none"
    assert replay(tmp_path, network="default", args=args).build.sandbox.network == ""
    with pytest.raises(InputError, match="unsupported network 'host'"):
        replay(tmp_path, network="host")


def test_no_folder_is_cleared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mode=delete|buildx\.local\.delete"):
        replay(tmp_path, {"outputs": ["type=local,dest=out,mode=delete"]})


def test_the_plan(tmp_path: Path) -> None:
    secrets = [{"id": "npm", "optional": True}]
    predicate = make_predicate(args={"build-arg:A": "b"}, secrets=secrets)
    build = replay(tmp_path, {"outputs": ["type=oci,dest=x.tar"]}, args={"build-arg:A": "b"}, secrets=secrets).build
    plan = make_build_plan(SUBJECT, predicate, build)
    (one,) = plan["subjects"]
    assert one["descriptor"]["platform"] == {"architecture": "arm64", "os": "linux"}
    config = one["buildConfig"]
    assert config["exports"][0].startswith("type=oci,dest=")
    assert {
        name: config[name] for name in ("frontend", "context", "filename", "buildArgs", "secrets", "networkMode")
    } == {
        "frontend": "dockerfile.v0",
        "context": TAR,
        "filename": "Dockerfile",
        "buildArgs": {"A": "b"},
        "secrets": [{"id": "npm", "optional": True}],
        "networkMode": "default",
    }
    assert one["materials"][0] == {
        "uri": "pkg:docker/alpine@3.22",
        "platform": {"architecture": "amd64", "os": "linux"},
        "digest": "sha256:" + "a" * 64,
        "kind": "image",
    }
    rows = format_plan(plan)
    assert ["  Secret:", "npm (optional)"] in rows
    assert ["  Build arg:", "A=b"] in rows
