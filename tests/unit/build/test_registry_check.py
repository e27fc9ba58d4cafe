"""Registries are asked while the builder boots: what they refuse ends the job before it builds."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.build import registry_check
from ci_buildx.build.registry_check import MOST_ASKED, describe_lack, list_pushed, list_read
from ci_buildx.buildkit.messages import SolveRequest
from ci_buildx.errors import RegistryError, SolveError
from ci_buildx.model.reference import parse_reference
from ci_buildx.registry.content import OCI_INDEX, OCI_MANIFEST
from ci_buildx.registry.trust import RegistryTrust
from ci_buildx.settings.values import BuildSettings, FrontendCall, NamedContext, TypedAttributes
from tests.unit.build.whole_build import WholeBuild
from tests.unit.registry.scripted import Registry, Reply, scripted
from tests.unit.scripted_buildkitd import DIGEST, SolveFault

DENIED = json.dumps({"errors": [{"code": "DENIED", "message": "requested access is denied"}]}).encode()


def settings(tmp_path: Path, dockerfile: str = "FROM scratch\n", **more: Any) -> BuildSettings:
    file = tmp_path / "Dockerfile"
    file.write_text(dockerfile)
    return BuildSettings(**{"context": tmp_path, "dockerfile": file, **more})


def cache(**attrs: str) -> TypedAttributes:
    return TypedAttributes(type="registry", attrs=tuple((name.replace("_", "-"), text) for name, text in attrs.items()))


def test_few_base_images_are_asked_for(tmp_path: Path) -> None:
    text = "FROM scratch\n" + "".join(f"COPY --from=r.io/{at}:1 / /\n" for at in range(1000))
    assert len(list_read(settings(tmp_path, text), RegistryTrust())) == MOST_ASKED


def test_all_that_is_pushed_is_asked_for(tmp_path: Path) -> None:
    build = settings(
        tmp_path,
        tags=("r.io/a:1", "q.io/b"),
        push=True,
        cache_to=(cache(ref="c.io/a"), cache(ref="d.io/a", ignore_error="true"), TypedAttributes(type="inline")),
    )
    assert list(map(str, list_pushed(build))) == ["r.io/a:1", "q.io/b:latest", "c.io/a"]
    assert list_pushed(settings(tmp_path, tags=("r.io/a:1",))) == []
    assert list_pushed(settings(tmp_path, tags=("r.io/a",), push=True, call=FrontendCall(method="lint"))) == []


@pytest.mark.parametrize(
    ("dockerfile", "target", "images"),
    [
        ("FROM r.io/a:1", "", ["r.io/a:1"]),
        ("FROM r.io/a\nFROM r.io/b", "", ["r.io/b:latest"]),
        ("FROM r.io/a AS one\nFROM r.io/b", "one", ["r.io/a:latest"]),
        ("FROM r.io/a AS one\nFROM r.io/b", "ONE", ["r.io/a:latest"]),
        ("FROM r.io/a\nFROM r.io/b", "0", ["r.io/a:latest"]),
        ("FROM r.io/a AS one\nFROM one", "", ["r.io/a:latest"]),
        ("FROM r.io/a AS one\nFROM r.io/b\nCOPY --from=one / /", "", ["r.io/b:latest", "r.io/a:latest"]),
        ("FROM r.io/a AS one\nFROM r.io/b\nCOPY --from=0 / /", "", ["r.io/b:latest", "r.io/a:latest"]),
        ("FROM scratch\nCOPY --from=r.io/c:1 / /", "", ["r.io/c:1"]),
        ("FROM scratch\nRUN --mount=type=bind,from=r.io/d,target=/x true", "", ["r.io/d:latest"]),
        ("FROM r.io/a-$TARGETARCH", "", []),
        ("FROM base-$TARGETARCH", "", []),
        ("ARG V\nFROM r.io/a:$V", "", []),
        ("ARG V=1\nFROM r.io/a:$V", "", ["r.io/a:1"]),
        ("FROM r.io/a", "none", []),
        ("FROM r.io/a", "7", []),
        ("# syntax=r.io/frontend\nFROM r.io/a", "", []),
        ("FROM scratch", "", []),
        ("", "", []),
    ],
)
def test_only_images_that_the_target_needs_for_certain(
    dockerfile: str, target: str, images: list[str], tmp_path: Path
) -> None:
    found = list_read(settings(tmp_path, dockerfile, target=target), RegistryTrust())
    assert sorted(map(str, found)) == sorted(images)


def test_images_that_something_may_replace_are_not_asked_for(tmp_path: Path) -> None:
    named = (NamedContext(name="r.io/a", location=tmp_path),)
    assert list_read(settings(tmp_path, "FROM r.io/a", contexts=named), RegistryTrust()) == []
    assert list_read(settings(tmp_path, "FROM r.io/a"), RegistryTrust(mirrors=frozenset(("m.io",)))) == []
    assert list_read(settings(tmp_path, f"FROM r.io/a@sha256:{'0' * 64}"), RegistryTrust()) == []
    assert list_read(BuildSettings(context="https://h.io/a.git", dockerfile=None), RegistryTrust()) == []


@pytest.fixture
def nothing_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of a test has a local address, as a registry of a real build has not."""
    monkeypatch.setattr(registry_check, "is_local_host", lambda _: False)


def answer_after(registry: Registry, request: str) -> Any:
    """Let the build end only when the registry was asked, or after some seconds."""

    def answer(_: SolveRequest) -> dict[str, str]:
        until = time.monotonic() + 30
        while not registry.count(request) and time.monotonic() < until:
            time.sleep(0.01)
        return {"containerimage.digest": DIGEST}

    return answer


@pytest.mark.usefixtures("nothing_is_local")
def test_a_push_that_is_refused_ends_the_job_before_it_builds(build: WholeBuild) -> None:
    with scripted() as registry:
        registry.on("POST /v2/team/app/blobs/uploads/", Reply(403, DENIED))
        build.options |= {"tags": (f"{registry.address}/team/app:1",), "push": True}
        build.cluster.boot = lambda _: {"phase": "Pending"}
        with pytest.raises(RegistryError, match=r"pushing to .*/team/app failed with status 403: DENIED"):
            build.run()
    assert build.cluster.script.solved == []
    assert build.cluster.list_names("namespaces") == ["ci", "default"], "the builder is removed"
    assert build.reports[0].failure.startswith("pushing to ")


@pytest.mark.usefixtures("nothing_is_local")
def test_a_registry_that_permits_the_push_stops_nothing(build: WholeBuild) -> None:
    request = "POST /v2/team/app/blobs/uploads/"
    with scripted() as registry:
        registry.on(request, Reply(202, headers={"Location": "/v2/team/app/blobs/uploads/x"}))
        build.options |= {"tags": (f"{registry.address}/team/app:1",), "push": True}
        build.cluster.script.answer = answer_after(registry, request)
        build.run()
        assert registry.count(request) == 1
    assert len(build.cluster.script.solved) == 1


def test_local_registries_are_not_asked(build: WholeBuild) -> None:
    """In the builder's pod, ``localhost`` is another machine."""
    with scripted() as registry:
        registry.on("POST /v2/team/app/blobs/uploads/", Reply(403, DENIED))
        build.options |= {"tags": (f"{registry.address}/team/app:1",), "push": True}
        build.cluster.boot = lambda _: time.sleep(0.5)
        build.run()
        assert registry.asked == []


@pytest.mark.usefixtures("nothing_is_local")
def test_where_only_the_builder_may_fetch_tokens_nothing_is_asked(build: WholeBuild) -> None:
    with scripted() as registry:
        build.options |= {"tags": (f"{registry.address}/team/app:1",), "push": True}
        build.env["BUILDKIT_NO_CLIENT_TOKEN"] = "1"
        build.cluster.boot = lambda _: time.sleep(0.5)
        build.run()
        assert registry.asked == []


def test_a_platform_that_a_base_image_lacks_is_named_with_those_it_has(build: WholeBuild) -> None:
    entry = {"mediaType": OCI_MANIFEST, "digest": "sha256:" + "a" * 64, "size": 1}
    entries = [{**entry, "platform": {"os": "linux", "architecture": name}} for name in ("arm64", "s390x")]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    with scripted() as registry:
        registry.on("GET /v2/base/manifests/1", Reply(200, index))
        image = f"{registry.address}/base:1"
        told = f"{image}: failed to resolve source metadata for {image}: no match for platform in manifest: not found"

        def refuse(_: SolveRequest) -> dict[str, str]:
            raise SolveFault("UNKNOWN", told)

        build.cluster.script.answer = refuse
        with pytest.raises(SolveError) as caught:
            build.run()
    assert f"({image} has no image for linux/amd64; it has linux/arm64, linux/s390x)" in caught.value.message
    assert caught.value.fix == "build other platforms with --platform, or choose another base image"


@pytest.mark.parametrize(
    ("available", "said"),
    [
        (["linux/amd64"], "alpine:3 has no image for linux/arm64; it has linux/amd64"),
        ([], "alpine:3 has no image for one of linux/amd64, linux/arm64"),
        (
            ["linux/amd64", "linux/arm64"],
            "alpine:3 has no image for the platform of its FROM; it has linux/amd64, linux/arm64",
        ),
    ],
)
def test_what_an_image_lacks(available: list[str], said: str) -> None:
    assert describe_lack(parse_reference("alpine:3"), ["linux/amd64", "linux/arm64"], available) == said
