"""Blobs through the session: caches in folders, outputs as OCI layouts."""

import hashlib
import json
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.errors import SolveError
from ci_buildx.settings.contexts import parse_named_contexts
from ci_buildx.settings.values import TypedAttributes
from devcluster import programs
from tests.integration.session.conftest import Person, Somebody, local

Buildctl = Callable[..., str]


@pytest.fixture
def buildctl(address: str) -> Buildctl:
    """Runs BuildKit's own client, which is also buildx's; returns what it shows."""
    programs.build(["buildkit", "clients"])
    program = [str(programs.path("buildctl")), "--addr", f"tcp://{address}"]

    def run(*arguments: str) -> str:
        command = [*program, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stderr

    return run


@pytest.fixture
def dockerfile(cluster_env: dict[str, str]) -> str:
    """Steps that are unlike all others; the second makes a blob of many messages."""
    return (
        f"FROM {cluster_env['REGISTRY']}/library/busybox\n"
        f"RUN echo {secrets.token_hex(8)} > /unique\n"
        "RUN head -c 20000000 /dev/urandom > /large\n"
    )


@pytest.fixture
def me(somebody: Somebody) -> Person:
    """A person without any login."""
    return somebody()


def index_of(folder: Path) -> list[dict[str, Any]]:
    manifests: list[dict[str, Any]] = json.loads((folder / "index.json").read_bytes())["manifests"]
    return manifests


def check_blobs(folder: Path) -> int:
    """Each blob is what its name says; how many there are."""
    blobs = list((folder / "blobs" / "sha256").iterdir())
    assert all(hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name for blob in blobs)
    return len(blobs)


@pytest.mark.parametrize("name", ["cache", "é 100% ü"])
def test_a_cache_in_a_folder(me: Person, buildctl: Buildctl, dockerfile: str, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    me.build(dockerfile, cache_to=(local(dest=folder, mode="max"),))
    assert check_blobs(folder) >= 4
    assert list((folder / "ingest").iterdir()) == []
    buildctl("prune", "--all")
    me.build(dockerfile, cache_from=(local(src=folder),), outputs=(tar(tmp_path),))
    assert [me.seen[-1].step(step).cached for step in ("RUN echo", "RUN head")] == [True, True]
    assert me.warnings == []


def test_a_cache_is_written_anew_under_its_tag(me: Person, buildctl: Buildctl, dockerfile: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for tag, more in (("one", ""), ("two", ""), ("one", "RUN echo more\n")):
        me.build(dockerfile + more, cache_to=(local(dest=folder, tag=tag, mode="max"),))
    tags = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index_of(folder)]
    assert sorted(tags) == ["one", "two"]
    buildctl("prune", "--all")
    me.build(dockerfile + "RUN echo more\n", cache_from=(local(src=folder, tag="one"),))
    assert me.seen[-1].step("RUN echo more").cached


def test_caches_that_are_not_there_are_left_out(me: Person, dockerfile: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "index.json").write_text("{")
    missing = [local(src=tmp_path / name) for name in ("none", "empty", "broken")]
    digest = local(src=tmp_path / "empty", digest="sha256:" + "0" * 64)
    me.build(dockerfile, cache_from=(*missing, digest))
    assert [warning.partition("skipped: ")[2] for warning in me.warnings] == [
        "it has no latest",
        "it has no latest",
        f"{tmp_path / 'broken' / 'index.json'} is malformed; remove its folder or name another",
        "it has no sha256:" + "0" * 64,
    ]


def test_a_cache_that_cannot_be_written(me: Person, dockerfile: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SolveError, match=f"cannot use {tmp_path}/file/cache: Not a directory"):
        me.build(dockerfile, cache_to=(local(dest=tmp_path / "file" / "cache"),))


def test_buildkits_own_client_and_we_read_each_other(
    me: Person, buildctl: Buildctl, dockerfile: str, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    me.build(dockerfile, cache_to=(local(dest=folder, mode="max"),))
    buildctl("prune", "--all")
    command = ["build", "--frontend", "dockerfile.v0", "--progress", "plain"]
    command += ["--local", f"context={tmp_path}/context", "--local", f"dockerfile={tmp_path}/context"]
    command += ["--import-cache", f"type=local,src={folder}", "--export-cache", f"type=local,dest={folder},tag=theirs"]
    assert buildctl(*command).count("CACHED") == 2
    buildctl("prune", "--all")
    me.build(dockerfile, cache_from=(local(src=folder, tag="theirs"),))
    assert me.seen[-1].step("RUN echo").cached


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_an_image_as_a_layout(me: Person, dockerfile: str, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "layout"
    output = TypedAttributes(type=kind, attrs=(("tar", "false"), ("dest", str(folder))))
    result = me.build(dockerfile, outputs=(output,), tags=("host/name:tag", "name"))
    assert check_blobs(folder) >= 4
    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    entries = index_of(folder)
    assert {entry["digest"] for entry in entries} == {result.exporter_response["containerimage.digest"]}
    names = [entry["annotations"]["io.containerd.image.name"] for entry in entries]
    tags = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries]
    assert (names, tags) == (["docker.io/host/name:tag", "docker.io/library/name:latest"], ["tag", "latest"])


@pytest.mark.parametrize("name", ["latest", "digest"])
def test_an_image_in_a_layout_is_a_base(
    me: Person, buildctl: Buildctl, dockerfile: str, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "layout"
    output = TypedAttributes(type="oci", attrs=(("tar", "false"), ("dest", str(folder))))
    digest = me.build(dockerfile, outputs=(output,), tags=("app",)).exporter_response["containerimage.digest"]
    buildctl("prune", "--all")
    place = {"latest": f"oci-layout://{folder}", "digest": f"oci-layout://{folder}@{digest}"}[name]
    contexts = parse_named_contexts([f"base={place}"], source="--build-context", cwd=tmp_path, env={})
    target = TypedAttributes(type="local", attrs=(("dest", str(tmp_path / "out")),))
    me.build("FROM scratch\nCOPY --from=base /unique /large /\n", contexts=contexts, outputs=(target,))
    assert len((tmp_path / "out" / "unique").read_text()) == 17
    assert (tmp_path / "out" / "large").stat().st_size == 20_000_000


def tar(folder: Path) -> TypedAttributes:
    """A result, for which all steps must be there."""
    return TypedAttributes(type="tar", attrs=(("dest", str(folder / "out.tar")),))
