"""`history` shows and exports what docker buildx's shows and exports, of the same records on the same buildkitd."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ci_buildx.buildkit.control import Control
from ci_buildx.cli import history as cli_history
from ci_buildx.cli.main import main
from ci_buildx.cli.process import ProcessContext
from ci_buildx.manage.history import BuilderHistory, PodHistory
from devcluster import programs
from devcluster.parity.clients import Arena, Call

_BUILDER, _NODE = "parity", "parity0"
_BUILDS = {
    "plain": ("FROM busybox AS base\nARG A\nRUN echo one; echo two\n", ("--build-arg", "A=1", "--label", "team=x")),
    "target": (
        "FROM busybox AS base\nRUN true\nFROM base\n",
        ("--target", "base", "--no-cache", "--add-host", "a:1.2.3.4"),
    ),
    "failed": ("FROM busybox\nRUN echo said; echo more; exit 3\n", ()),
    "attested": (
        "FROM busybox\nRUN echo three > /x\n",
        ("--provenance=mode=max", "--output", "type=image,name=history/attested"),
    ),
    "several": ("FROM busybox\nCOPY f /\n", ("--platform", "linux/amd64,linux/arm64", "--output", "type=cacheonly")),
}
"""Dockerfile and options of docker buildx build, by name."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Both programs. docker buildx has a configuration without the paths of the builds that it ran."""

    folder: Path
    address: str
    refs: dict[str, str]

    def theirs(self, *argv: str) -> tuple[int, bytes, str]:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "DOCKER_CONFIG": str(self.folder / "docker"),
            "BUILDX_CONFIG": str(self.folder / "buildx"),
        }
        command = [str(programs.path("buildx")), *argv]
        done = subprocess.run(command, env=env, cwd=self.folder, capture_output=True, timeout=120, check=False)
        return done.returncode, done.stdout, done.stderr.decode()

    def ours(self, *argv: str) -> tuple[int, bytes, str]:
        out, err = io.BytesIO(), io.StringIO()
        stdout = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
        env = {"KUBE_BUILDER_BUILDER": "any", "HOME": str(self.folder), "BUILDX_CONFIG": str(self.folder / "buildx")}
        code = main(argv, ProcessContext(env=env, cwd=self.folder, stdout=stdout, stderr=err))
        stdout.flush()
        return code, out.getvalue(), err.getvalue()

    def read_both(self, *argv: str) -> tuple[str, str]:
        """What both print; no control's failure counts as equal."""
        ours, theirs = self.ours("history", *argv), self.theirs("history", "--builder", _BUILDER, *argv)
        assert (ours[0], theirs[0]) == (0, 0), (ours[2], theirs[2])
        return ours[1].decode(), theirs[1].decode()


@pytest.fixture(scope="module")
def tools(arena: Arena, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    """Both programs, and a buildkitd that has run the builds."""
    folder = tmp_path_factory.mktemp("history")
    refs = {}
    for name, (dockerfile, options) in _BUILDS.items():
        place = folder / name
        place.mkdir()
        (place / "Dockerfile").write_text(dockerfile)
        (place / "f").write_text(name)
        metadata = place / "metadata.json"
        failure = arena.theirs(Call(argv=(*options, "--metadata-file", str(metadata), "."), env={}, cwd=place))
        assert bool(failure) is (name == "failed"), failure
        if name != "failed":
            refs[name] = json.loads(metadata.read_text())["buildx.build.ref"].rpartition("/")[2]
    made = Tools(folder=folder, address=arena.address, refs=refs)
    (folder / "docker").mkdir()
    assert made.theirs("create", "--name", _BUILDER, "--driver", "remote", f"tcp://{arena.address}")[0] == 0

    @contextmanager
    def open_arena(*_: Any, env: Mapping[str, str], **__: Any) -> Iterator[BuilderHistory]:
        with Control(arena.address) as control:
            control.list_workers(20.0)
            node: Any = SimpleNamespace(name=_NODE)
            pod: Any = SimpleNamespace(name="pod")
            yield BuilderHistory([PodHistory(_BUILDER, node, pod, control)], states=env["BUILDX_CONFIG"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_history, "open_history", open_arena)
        failed = made.theirs("history", "--builder", _BUILDER, "ls", "--filter", "status=error", "--format", "{{.Ref}}")
        refs["failed"] = failed[1].decode().split()[0]
        for ref in refs.values():  # Later, the trace would be added between one program's look and the other's.
            assert made.theirs("history", "--builder", _BUILDER, "trace", ref)[0] == 0
        yield made


@pytest.fixture(params=_BUILDS)
def ref(request: pytest.FixtureRequest, tools: Tools) -> str:
    """The reference of each build."""
    return tools.refs[request.param]


@pytest.mark.parametrize(
    "options",
    [
        ("--format", "json"),
        ("--format", "{{.Ref}}|{{.Name}}|{{.Status}}|{{.Duration}}"),
        ("--format", "{{json .}}", "--filter", "status=error"),
        ("--format", "{{.Ref}}", "--filter", "status!=error", "--filter", "duration<10m"),
        ("--format", "{{.Ref}}", "--filter", "ref=a", "--filter", "startedAt<1h"),
        ("--format", "json", "--filter", "repository=nothing"),
        ("--format", r"table {{.Ref}}\t{{.Status}}\t{{.Duration}}"),
        ("--no-trunc",),
    ],
)
def test_ls(tools: Tools, options: tuple[str, ...]) -> None:
    ours, theirs = tools.read_both("ls", *options)
    if options == ("--no-trunc",):
        # Ages may differ by a second; docker's tables end with the empty column of a link.
        ours, theirs = (re.sub(r"\S+ \S+ ago", "ago", text).replace(" ", "") for text in (ours, theirs))
    assert ours == theirs


@pytest.mark.parametrize(
    ("folder", "dockerfile"),
    [
        ("{}/plain", "{}/plain/Dockerfile"),
        ("{}/plain", "{}/plain/deploy/Dockerfile"),
        ("{}/plain", "{}/plain/deploy/app.Dockerfile"),
        ("{}/plain", "{}/other/Dockerfile"),
        ("/elsewhere/app", "{}/other/app.Dockerfile"),
        ("{}", "-"),
        ("-", "-"),
    ],
)
def test_a_build_of_this_machine_is_named_after_its_paths(tools: Tools, folder: str, dockerfile: str) -> None:
    record = tools.folder / "buildx" / "refs" / _BUILDER / _NODE / tools.refs["plain"]
    record.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "Target": "default",
        "LocalPath": folder.format(tools.folder),
        "DockerfilePath": dockerfile.format(tools.folder),
    }
    record.write_text(json.dumps(state))
    try:
        for argv in (("ls", "--format", "{{.Ref}}|{{.Name}}"), ("inspect", "--format", "json", tools.refs["plain"])):
            ours, theirs = tools.read_both(*argv)
            assert ours == theirs
    finally:
        record.unlink()


def test_inspect_as_json(tools: Tools, ref: str) -> None:
    ours, theirs = tools.read_both("inspect", "--format", "json", ref)
    expected = json.loads(theirs)
    if "Error" in expected:  # Go's stack traces of buildkitd are not shown.
        del expected["Error"]["Stack"]
    assert ours == json.dumps(expected, indent=2, ensure_ascii=False).replace("&", "\\u0026") + "\n"


def test_inspect(tools: Tools, ref: str) -> None:
    ours, theirs = tools.read_both("inspect", ref)
    left_out = ("Print build logs:", "View build in Docker Desktop:", "Enable --debug")
    shown, expected = ([line for line in text.splitlines() if not line.startswith(left_out)] for text in (ours, theirs))
    assert shown == expected


def test_attachments(tools: Tools, ref: str) -> None:
    found = json.loads(tools.ours("history", "inspect", "--format", "json", ref)[1]).get("Attachments", [])
    for one in found:
        for options in ((ref, one["Digest"]), ("--type", one["Type"], ref)):
            ours, theirs = tools.read_both("inspect", "attachment", *options)
            assert ours == theirs
    for options in (("--type", "provenance"), ("--type", "sbom"), ("--platform", "linux/arm64")):
        mine = tools.ours("history", "inspect", "attachment", *options, ref)
        other = tools.theirs("history", "--builder", _BUILDER, "inspect", "attachment", *options, ref)
        assert (mine[0] == 0, mine[1]) == (other[0] == 0, other[1])


def test_logs(tools: Tools, ref: str) -> None:
    ours = tools.ours("history", "logs", ref)
    theirs = tools.theirs("history", "--builder", _BUILDER, "logs", ref)
    assert (ours[0], theirs[0]) == (0, 0)
    assert sorted(ours[2].splitlines()) == sorted(theirs[2].splitlines())


def test_trace(tools: Tools, ref: str) -> None:
    (ours,), (theirs,) = (json.loads(text)["data"] for text in tools.read_both("trace", ref))
    assert [one["operationName"] for one in ours["spans"]] == [one["operationName"] for one in theirs["spans"]]
    for shown, expected in zip(ours.pop("spans"), theirs.pop("spans"), strict=True):
        assert shown == expected
    assert ours == theirs


def read_archive(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive if one.isfile()}  # type: ignore[union-attr]


def outline(content: bytes) -> Any:
    """The structure of an archive: what differs in bytes only, like the trace, is compared as JSON."""
    files = read_archive(content)

    def blob(descriptor: dict[str, Any]) -> bytes:
        body = files[f"blobs/{descriptor['digest'].replace(':', '/')}"]
        assert f"sha256:{hashlib.sha256(body).hexdigest()}" == descriptor["digest"]
        assert len(body) == descriptor["size"]
        return body

    def describe_manifest(descriptor: dict[str, Any]) -> Any:
        manifest = json.loads(blob(descriptor))
        config = json.loads(blob(manifest["config"]))
        trace = config.pop("trace", None)
        layers = sorted(
            (
                one["mediaType"],
                sorted(one.get("annotations", {}).items()),
                "" if one["digest"] == trace["digest"] else one["digest"],
            )
            for one in manifest.pop("layers")
        )
        for one in (config.get("Result") or {}, *(config.get("Results") or {}).values()):
            one.get("Attestations", []).sort(key=lambda found: found["digest"])
        spans = blob({**trace, "digest": trace["digest"]}).decode()
        decoder, place, found = json.JSONDecoder(), 0, []
        while place < len(spans.rstrip()):
            one, place = decoder.raw_decode(spans, place)
            place += 1
            found.append({key: one[key] for key in ("Name", "StartTime", "Attributes")})
        manifest.pop("config")
        return manifest, config, layers, found

    (top,) = json.loads(files["index.json"])["manifests"]
    shape = {"layout": files["oci-layout"], "folders": sorted({name.rpartition("/")[0] for name in files})}
    if top["mediaType"].endswith("index.v1+json"):
        entries = json.loads(blob(top))["manifests"]
        return shape, [(sorted(one["annotations"].items()), describe_manifest(one)) for one in entries]
    return shape, describe_manifest(top)


def test_export(tools: Tools, ref: str) -> None:
    files = [tools.folder / f"{name}.dockerbuild" for name in ("ours", "theirs")]
    assert tools.ours("history", "export", ref, "-o", str(files[0]))[0] == 0
    assert tools.theirs("history", "--builder", _BUILDER, "export", ref, "-o", str(files[1]))[0] == 0
    ours, theirs = (outline(file.read_bytes()) for file in files)
    assert ours == theirs


def test_export_of_all(tools: Tools) -> None:
    ours, theirs = (
        tools.ours("history", "export", "--all"),
        tools.theirs("history", "--builder", _BUILDER, "export", "--all"),
    )
    assert (ours[0], theirs[0]) == (0, 0), (ours[2], theirs[2])
    assert outline(ours[1]) == outline(theirs[1])


def test_rm(tools: Tools) -> None:
    assert tools.ours("history", "rm", tools.refs["target"])[:2] == (0, b"")
    ours, theirs = tools.read_both("ls", "--format", "{{.Ref}}")
    assert ours == theirs
    assert tools.refs["target"] not in ours
    for argv in (("rm", "missing"), ("inspect", "missing")):
        assert tools.ours("history", *argv)[0] != 0
        assert tools.theirs("history", "--builder", _BUILDER, *argv)[0] != 0
