"""Snapshots of what an image was built from, by the verb."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.cli import replay_snapshot
from ci_buildx.cli.process import ProcessContext
from ci_buildx.registry.content import compute_digest
from tests.unit.imagetools.memory_registry import MemoryRegistry
from tests.unit.replay.conftest import ReplayShell
from tests.unit.replay.images import CONTENT, CONTENT_DIGEST, make_file, push_base, push_subject
from tests.unit.replay.provenance import REPOSITORY, TAR

MATERIALS_TYPE = "application/vnd.docker.buildx.snapshots.materials.v1+json"
BLOB = b"a layer"


@pytest.fixture
def reference(registry: MemoryRegistry) -> str:
    """An image of two platforms, built from a file and a base image."""
    push_subject(registry, ("amd64", "arm64"), materials=[push_base(registry, "amd64", "arm64"), make_file()])
    return registry.name("app", "1")


@pytest.fixture
def materials(tmp_path: Path) -> tuple[str, ...]:
    """The option that names the file."""
    (tmp_path / "app.tar").write_bytes(CONTENT)
    return ("--materials", "provenance", "--materials", f"{TAR}={tmp_path / 'app.tar'}")


def read(layout: Path, digest: str) -> Any:
    body = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
    assert compute_digest(body) == digest
    return json.loads(body)


def read_root(layout: Path) -> Any:
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "latest"}
    return read(layout, entry["digest"])


def test_one_platform(
    registry: MemoryRegistry, shell: ReplayShell, reference: str, materials: tuple[str, ...], tmp_path: Path
) -> None:
    options = ("--platform", "linux/arm64", "--progress", "plain", "-o", "kept")
    assert shell.run("replay", "snapshot", *materials, *options, reference) == 0, shell.stderr
    layout = tmp_path / "kept"
    root = read_root(layout)
    assert root["artifactType"] == "application/vnd.docker.buildx.snapshots.v1+json"
    images = registry.read("app", "1")["manifests"]
    assert root["subject"]["digest"] == images[3]["digest"]
    sources, base = root["manifests"]
    assert sources["artifactType"] == MATERIALS_TYPE
    arm64 = registry.read("base", "1")["manifests"][1]
    assert base == arm64
    document = read(layout, sources["digest"])
    assert [one["digest"] for one in document["layers"]] == [
        compute_digest(registry.manifests["base", "1"][1]),
        CONTENT_DIGEST,
    ]
    assert document["layers"][1] == {
        "mediaType": "application/octet-stream",
        "digest": CONTENT_DIGEST,
        "size": len(CONTENT),
    }
    for digest in [one["digest"] for one in registry.read("base", arm64["digest"])["layers"]]:
        assert (layout / "blobs" / digest.replace(":", "/")).is_file()
    assert sorted(path.name for path in layout.iterdir() if path.name != "index.json.lock") == [
        "blobs",
        "index.json",
        "oci-layout",
    ]


def test_all_platforms_without_content(shell: ReplayShell, reference: str, tmp_path: Path) -> None:
    options = ("--platform", "all", "--include-materials=false", "-o", "type=oci,tar=false,dest=kept")
    assert shell.run("replay", "snapshot", *options, reference) == 0, shell.stderr
    layout = tmp_path / "kept"
    entries = read_root(layout)["manifests"]
    assert [one["platform"]["architecture"] for one in entries] == ["amd64", "arm64"]
    assert [read(layout, one["digest"])["manifests"] for one in entries] == [[], []]


def test_a_snapshot_is_a_store_for_another(
    registry: MemoryRegistry, shell: ReplayShell, reference: str, materials: tuple[str, ...], tmp_path: Path
) -> None:
    options = ("--platform", "linux/amd64", reference)
    assert shell.run("replay", "snapshot", *materials, "-o", "kept", *options) == 0, shell.stderr
    (tmp_path / "app.tar").unlink()
    asked = len(registry.asked)
    assert shell.run("replay", "snapshot", "--materials", "oci-layout://kept", *options) == 0, shell.stderr
    assert not [one for one in registry.asked[asked:] if "/base/" in one]
    with tarfile.open(fileobj=io.BytesIO(shell.stdout)) as tar:
        entries = tar.getmembers()
        assert [one.name for one in entries][:4] == ["oci-layout", "index.json", "blobs/sha256", entries[3].name]
        assert {(one.uid, one.uname, one.mtime, one.mode) for one in entries if one.isfile()} == {(0, "", 0, 0o644)}
        index = tar.extractfile("index.json")
        assert index is not None
        assert json.load(index) == json.loads((tmp_path / "kept" / "index.json").read_text())
    first = shell.stdout
    output = ("-o", "type=oci,dest=a/b.tar")
    assert shell.run("replay", "snapshot", "--materials", "oci-layout://kept", *output, *options) == 0, shell.stderr
    assert (tmp_path / "a" / "b.tar").read_bytes() == first
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.tar"]


def test_a_blob_without_uri_and_what_cannot_be_stored(
    registry: MemoryRegistry, shell: ReplayShell, tmp_path: Path
) -> None:
    blob = {"digest": {"sha256": compute_digest(BLOB).removeprefix("sha256:")}}
    push_subject(registry, materials=[blob, {"uri": REPOSITORY}, {"uri": REPOSITORY}, {"uri": "s3://bucket"}])
    (tmp_path / "layer").write_bytes(BLOB)
    options = ("--materials", f"{compute_digest(BLOB)}={tmp_path / 'layer'}", "-o", "kept", registry.name("app", "1"))
    assert shell.run("replay", "snapshot", *options) == 0, shell.stderr
    assert shell.stderr.count(f"{REPOSITORY} is not included in the snapshot: it is not an image or a file") == 1
    assert "s3://bucket is not included" in shell.stderr
    (sources,) = read_root(tmp_path / "kept")["manifests"]
    (layer,) = read(tmp_path / "kept", sources["digest"])["layers"]
    assert (layer["digest"], layer["size"]) == (compute_digest(BLOB), len(BLOB))


def test_the_plan(registry: MemoryRegistry, shell: ReplayShell, reference: str) -> None:
    assert shell.run("replay", "snapshot", "--dry-run", "--platform", "linux/amd64", reference) == 0, shell.stderr
    (plan,) = json.loads(shell.stdout)
    assert plan["subject"]["platform"] == {"architecture": "amd64", "os": "linux"}
    image, file = plan["materials"]
    assert (image["kind"], image["included"], file["kind"], file["included"]) == ("image", True, "http", True)
    root, entry = registry.manifests["base", "1"][1], registry.read("base", "1")["manifests"][0]
    document = registry.read("base", entry["digest"])
    sizes = [one["size"] for one in (entry, document["config"], *document["layers"])]
    assert image["size"] == len(root) + sum(sizes)


@pytest.mark.parametrize("output", ["kept", "type=oci,dest=kept/a.tar", "type=oci,dest=kept.tar", "-"])
def test_a_failed_snapshot_leaves_nothing(shell: ReplayShell, reference: str, tmp_path: Path, output: str) -> None:
    options = ("--platform", "linux/amd64", "--progress", "plain", "-o", output, reference)
    before = sorted(tmp_path.iterdir())
    assert shell.run("replay", "snapshot", *options) == 2
    message = f"--materials: material not found: {TAR}; name its content: URI=PATH, or a layout that has it"
    assert shell.stderr == f"kube-builder: error: {message}\n"
    assert shell.stdout == b""
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_that_cannot_be_written(
    shell: ReplayShell, reference: str, materials: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for output in ("file/kept", "type=oci,dest=file/kept.tar"):
        options = ("--platform", "linux/amd64", "--progress", "plain", "-o", output, reference)
        assert shell.run("replay", "snapshot", *materials, *options) == 1
        assert shell.stderr.splitlines()[-1].startswith("ERROR: cannot write the snapshot: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.tar", "file"]


def test_a_device_is_written_in_place(
    shell: ReplayShell, reference: str, materials: tuple[str, ...], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    options = ("--platform", "linux/amd64", "-o", "type=oci,dest=pipe", reference)
    assert shell.run("replay", "snapshot", *materials, *options) == 0, shell.stderr
    assert os.read(reader, 10) == b"oci-layout"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_a_failure_leaves_an_existing_snapshot_as_it_was(
    registry: MemoryRegistry, shell: ReplayShell, reference: str, materials: tuple[str, ...], tmp_path: Path
) -> None:
    options = ("--platform", "linux/amd64", "-o", "kept", reference)
    assert shell.run("replay", "snapshot", *materials, *options) == 0, shell.stderr
    before = {path: path.is_file() and path.read_bytes() for path in (tmp_path / "kept").rglob("*")}
    (lost,) = [key for key in registry.blobs if key[0] == "base" and registry.blobs[key] == b"layer of arm64"]
    del registry.blobs[lost]
    options = ("--platform", "linux/arm64", "-o", "kept", reference)
    assert shell.run("replay", "snapshot", *materials, *options) == 1
    assert {path: path.is_file() and path.read_bytes() for path in (tmp_path / "kept").rglob("*")} == before


def test_a_failure_leaves_no_folder(
    registry: MemoryRegistry, shell: ReplayShell, reference: str, materials: tuple[str, ...], tmp_path: Path
) -> None:
    (lost,) = [key for key in registry.blobs if key[0] == "base" and registry.blobs[key] == b"layer of arm64"]
    del registry.blobs[lost]
    (tmp_path / "empty").mkdir()
    for output in ("new/deep/kept", "empty"):
        options = ("--platform", "linux/arm64", "-o", output, reference)
        assert shell.run("replay", "snapshot", *materials, *options) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.tar", "empty"]


def test_a_reader_that_is_gone_is_no_failure_of_its_own(
    shell: ReplayShell, reference: str, materials: tuple[str, ...], tmp_path: Path
) -> None:
    """The process ends as others in a pipe do."""

    class Gone(io.BytesIO):
        def write(self, _: object, /) -> int:
            raise BrokenPipeError

    home = {"HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    around = ProcessContext(env=home, cwd=tmp_path, stdout=io.TextIOWrapper(Gone()), stderr=io.StringIO())
    with pytest.raises(BrokenPipeError):
        replay_snapshot.main([*materials, "--platform", "linux/amd64", reference], around)


@pytest.mark.parametrize(
    ("architectures", "material", "status", "message"),
    [
        (("s390x",), {}, 1, "of the build has no platform linux/amd64"),
        (("amd64",), {"uri": "pkg:docker/UPPER@1"}, 1, "malformed image 'pkg:docker/UPPER@1'"),
        (("amd64",), {"digest": {}}, 1, "has no digest of pkg:docker/"),
        (("amd64",), {"digest": {"sha256": "d" * 64}}, 1, "not here"),
    ],
)
def test_images_that_cannot_be_stored(
    registry: MemoryRegistry,
    shell: ReplayShell,
    tmp_path: Path,
    architectures: tuple[str, ...],
    material: dict[str, Any],
    status: int,
    message: str,
) -> None:
    base = {**push_base(registry, *architectures, "ppc64le"), **material}
    push_subject(registry, materials=[base])
    assert shell.run("replay", "snapshot", "-o", "kept", registry.name("app", "1")) == status
    assert message in shell.stderr
    assert not (tmp_path / "kept").exists()


def test_an_image_of_one_platform_needs_no_index(registry: MemoryRegistry, shell: ReplayShell, tmp_path: Path) -> None:
    image = registry.push_image("base", "arm64", "1")
    digest = {"sha256": image["digest"].removeprefix("sha256:")}
    push_subject(registry, materials=[{"uri": f"pkg:docker/{registry.address}/base@1", "digest": digest}])
    assert shell.run("replay", "snapshot", "-o", "kept", registry.name("app", "1")) == 0, shell.stderr
    assert read_root(tmp_path / "kept")["manifests"][1]["digest"] == image["digest"]


def test_the_only_image_of_an_index_is_taken(registry: MemoryRegistry, shell: ReplayShell, tmp_path: Path) -> None:
    push_subject(registry, materials=[push_base(registry, "arm64")])
    assert shell.run("replay", "snapshot", "-o", "kept", registry.name("app", "1")) == 0, shell.stderr
    assert read_root(tmp_path / "kept")["manifests"][1]["platform"] == {"architecture": "arm64", "os": "linux"}


def test_no_registry_is_asked_unless_provenance_is_among_the_stores(
    registry: MemoryRegistry, shell: ReplayShell, reference: str, tmp_path: Path
) -> None:
    (tmp_path / "app.tar").write_bytes(CONTENT)
    options = ("--materials", f"{TAR}={tmp_path / 'app.tar'}", "--platform", "linux/amd64", "-o", "kept", reference)
    assert shell.run("replay", "snapshot", *options) == 2
    assert f"material not found: pkg:docker/{registry.address}/base@1" in shell.stderr
    assert not [one for one in registry.asked if "/base/" in one]
