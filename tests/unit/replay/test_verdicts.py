"""Verdicts of `replay verify`, with a build whose result the test chooses; real ones are in the integration tests."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_buildx.build import run
from ci_buildx.settings.values import Settings
from tests.unit.imagetools.memory_registry import MemoryRegistry
from tests.unit.replay.conftest import ReplayShell
from tests.unit.replay.images import push_subject

Build = Callable[[str], list[Settings]]


@pytest.fixture
def build(registry: MemoryRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Make the build's result an image of the registry, by its name; returns the settings that the build gets."""

    def choose(name: str) -> list[Settings]:
        seen: list[Settings] = []

        def write_layout(settings: Settings, **_: object) -> None:
            seen.append(settings)
            (output,) = settings.build.outputs
            argv = ("imagetools", "create", "--prefer-index=false", "-t", f"oci-layout://{output.get('dest')}", name)
            assert ReplayShell(tmp_path).run(*argv) == 0

        monkeypatch.setattr(run, "run_build", write_layout)
        return seen

    push_subject(registry)
    return choose


def test_an_equal_replay(registry: MemoryRegistry, shell: ReplayShell, build: Build, tmp_path: Path) -> None:
    name, image = registry.name("app", "1"), registry.read("app", "1")["manifests"][0]
    seen = build(f"{registry.name('app')}@{image['digest']}")
    for options in ((), ("--compare", "artifact", "-o", "type=local,dest=report")):
        assert shell.run("replay", "verify", *options, name) == 0, shell.stderr
        assert shell.stdout.decode() == f"{name}: the replay is equal to {image['digest']}\n"
    assert {(one.build.provenance, one.build.sbom, one.build.push) for one in seen} == {("", "", False)}
    assert json.loads((tmp_path / "report" / "diff.json").read_text()) == {"context": "root"}
    summary = json.loads((tmp_path / "report" / "vsa.intoto.jsonl").read_text())
    assert summary["predicate"]["verificationResult"] == "PASSED"


def test_a_folder_for_temporary_files_with_a_comma(
    registry: MemoryRegistry, shell: ReplayShell, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a,b").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a,b"))
    build(f"{registry.name('app')}@{registry.read('app', '1')['manifests'][0]['digest']}")
    assert shell.run("replay", "verify", registry.name("app", "1")) == 0, shell.stderr


def test_an_index_of_one_image_is_that_image(registry: MemoryRegistry, shell: ReplayShell, build: Build) -> None:
    image = registry.read("app", "1")["manifests"][0]
    registry.push_index("app", [image], "index")
    build(registry.name("app", "index"))
    assert shell.run("replay", "verify", registry.name("app", "1")) == 0, shell.stderr
    assert shell.stdout.decode().endswith(f"the replay is equal to {image['digest']}\n")


def test_another_result(registry: MemoryRegistry, shell: ReplayShell, build: Build, tmp_path: Path) -> None:
    name, digest = registry.name("app", "1"), registry.read("app", "1")["manifests"][0]["digest"]
    other = registry.push_image("app", "arm64", "other")["digest"]
    build(registry.name("app", "other"))
    message = f"ERROR: replay mismatch: verify --compare=digest failed: {other} is not {digest}"
    assert shell.run("replay", "verify", name) == 1
    assert shell.stderr == f"{message}; add --compare=artifact -o DIR for the differences\n"
    assert shell.run("replay", "verify", "--compare", "artifact", "-o", "report", name) == 1
    report = json.loads((tmp_path / "report" / "diff.json").read_text())
    assert [one["type"] for one in report["children"]] == [
        "DescriptorMismatch",
        "ConfigBlobMismatch",
        "LayerBlobMismatch",
    ]


def test_results_that_cannot_be_written(
    registry: MemoryRegistry, shell: ReplayShell, build: Build, tmp_path: Path
) -> None:
    build(f"{registry.name('app')}@{registry.read('app', '1')['manifests'][0]['digest']}")
    (tmp_path / "file").touch()
    assert shell.run("replay", "verify", "-o", "file/report", registry.name("app", "1")) == 1
    assert "cannot create " in shell.stderr


def test_a_replay_without_an_image(
    registry: MemoryRegistry, shell: ReplayShell, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build("")

    def write_empty(settings: Settings, **_: object) -> None:
        (output,) = settings.build.outputs
        Path(output.get("dest")).mkdir()

    monkeypatch.setattr(run, "run_build", write_empty)
    assert shell.run("replay", "verify", registry.name("app", "1")) == 1
    assert shell.stderr == "ERROR: the replay has no image\n"
