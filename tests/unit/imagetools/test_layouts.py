"""OCI layouts as sources and targets of `imagetools`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ci_buildx.registry.content import OCI_MANIFEST, compute_digest
from tests.unit.imagetools.conftest import Run, create
from tests.unit.imagetools.memory_registry import SIGNATURE, MemoryRegistry, push_attested
from tests.unit.registry.scripted import Reply, scripted


def read_entries(folder: Path) -> list[dict[str, object]]:
    return list(json.loads((folder / "index.json").read_text())["manifests"])


def test_an_image_goes_to_a_layout_and_back(
    registry: MemoryRegistry, other: MemoryRegistry, run: Run, tmp_path: Path
) -> None:
    index = push_attested(registry, "app", "amd64", "arm64")
    create(run, "-t", "oci-layout://layout:v1", registry.name("app", "1"))
    assert read_entries(tmp_path / "layout") == [{**index, "annotations": {"org.opencontainers.image.ref.name": "v1"}}]
    for path in (tmp_path / "layout" / "blobs" / "sha256").iterdir():
        assert compute_digest(path.read_bytes()) == f"sha256:{path.name}"
    create(run, "-t", other.name("app", "1"), "oci-layout://layout:v1")
    assert other.manifests["app", "1"] == registry.manifests["app", "1"]
    assert {digest for _, digest in other.blobs} == {digest for _, digest in registry.blobs}


def test_a_layout_is_inspected_by_tag_and_digest(registry: MemoryRegistry, run: Run, tmp_path: Path) -> None:
    index = push_attested(registry, "app", "amd64")
    create(run, "-t", f"oci-layout://{tmp_path / 'layout'}", registry.name("app", "1"))
    for name in ("oci-layout://layout", "oci-layout://layout:latest", f"oci-layout://layout@{index['digest']}"):
        code, stdout, stderr = run("imagetools", "inspect", name, "--raw")
        assert (code, compute_digest(stdout.encode())) == (0, index["digest"]), stderr
    assert run("imagetools", "inspect", "oci-layout://layout", "--format", "{{.Manifest.Digest}}")[1] == index["digest"]
    code, _, stderr = run("imagetools", "inspect", "oci-layout://layout:2")
    assert (code, "layout:2 not found; its tags: latest" in stderr) == (1, True), stderr


def test_a_digest_as_target_must_be_the_images(registry: MemoryRegistry, run: Run, tmp_path: Path) -> None:
    image = registry.push_image("app", "amd64", "1")
    options = ("--prefer-index=false", registry.name("app", "1"))
    create(run, "-t", f"oci-layout://layout@{image['digest']}", *options)
    create(run, "-t", f"oci-layout://layout@{image['digest']}", *options)
    assert read_entries(tmp_path / "layout") == [image]
    wrong = f"oci-layout://wrong@sha256:{'1' * 64}"
    code, _, stderr = run("imagetools", "create", "-t", wrong, *options)
    assert code == 2
    assert f"--tag: target {wrong} requested digest sha256:{'1' * 64} but produced {image['digest']}" in stderr
    assert not (tmp_path / "wrong").exists()


def test_signatures_are_noted_in_the_index_once(
    registry: MemoryRegistry, other: MemoryRegistry, run: Run, tmp_path: Path
) -> None:
    index = push_attested(other, "app", "amd64")
    attestation = other.read("app", index["digest"])["manifests"][1]
    create(run, "-t", "oci-layout://layout:1", other.name("app", "1"))
    signature = other.push_artifact("app", SIGNATURE, attestation, b"bundle", SIGNATURE)
    for tag in ("2", "3"):
        create(run, "-t", f"oci-layout://layout:{tag}", other.name("app", "1"))
    noted = [one for one in read_entries(tmp_path / "layout") if one["digest"] not in (index["digest"],)]
    assert noted == [{**signature, "annotations": {"io.containerd.manifest.subject": attestation["digest"]}}]
    create(run, "-t", registry.name("app", "1"), "oci-layout://layout:3")
    assert ("app", signature["digest"]) in registry.manifests


def test_sources_of_both_kinds_are_merged(registry: MemoryRegistry, run: Run) -> None:
    registry.push_image("app", "amd64", "1")
    registry.push_image("app", "arm64", "2")
    create(run, "-t", "oci-layout://layout", registry.name("app", "1"))
    create(run, "-t", registry.name("both"), "oci-layout://layout", registry.name("app", "2"))
    names = [one["platform"]["architecture"] for one in registry.read("both", "latest")["manifests"]]
    assert names == ["amd64", "arm64"]


@pytest.mark.parametrize("content", [b"", b"other"])
def test_a_damaged_blob_is_refused(registry: MemoryRegistry, run: Run, tmp_path: Path, content: bytes) -> None:
    image = registry.push_image("app", "amd64", "1")
    layer = registry.read("app", "1")["layers"][0]["digest"]
    create(run, "--prefer-index=false", "-t", "oci-layout://layout:1", registry.name("app", "1"))
    (tmp_path / "layout" / "blobs" / "sha256" / layer.partition(":")[2]).write_bytes(content)
    code, _, stderr = run("imagetools", "create", "-t", registry.name("copy", "1"), "oci-layout://layout:1")
    assert (code, f"content that does not match {layer}" in stderr) == (1, True), stderr
    assert ("copy", "1") not in registry.manifests
    assert image["digest"]


def test_a_folder_that_is_not_a_layout(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    code, _, stderr = run("imagetools", "inspect", "oci-layout://folder:1")
    assert (code, stderr.count("\n"), "folder:1 not found" in stderr) == (1, 1, True)
    (tmp_path / "folder" / "index.json").write_text("[")
    code, _, stderr = run("imagetools", "inspect", "oci-layout://folder:1")
    assert (code, "index.json is malformed" in stderr) == (1, True)


@pytest.mark.parametrize(
    "entry",
    [
        {"digest": 1},
        {"digest": "sha256:aa", "mediaType": []},
        {"digest": "sha256:aa", "annotations": ["x"]},
    ],
)
def test_a_layout_with_a_malformed_entry(run: Run, tmp_path: Path, entry: object) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "index.json").write_text(json.dumps({"manifests": [entry]}))
    code, stdout, stderr = run("imagetools", "inspect", "oci-layout://folder:1")
    assert (code, stdout, stderr.count("\n"), "index.json is malformed" in stderr) == (1, "", 1, True), stderr


def test_a_blob_whose_connection_breaks_is_read_again(run: Run, tmp_path: Path) -> None:
    """With a registry that hangs up each time, the layout has no image."""
    content = b"layer"
    config = b'{"architecture": "amd64", "os": "linux"}'
    blobs = [{"mediaType": "x", "digest": compute_digest(one), "size": len(one)} for one in (config, content)]
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blobs[0], "layers": blobs[1:]}
    with scripted() as registry:
        kind = {"Content-Type": OCI_MANIFEST}
        body = json.dumps(manifest).encode()
        registry.on("GET /v2/app/manifests/1", Reply(200, body, headers=kind))
        registry.on(f"GET /v2/app/manifests/{compute_digest(body)}", Reply(200, body, headers=kind))
        registry.on(f"GET /v2/app/blobs/{blobs[0]['digest']}", Reply(200, config))
        cut = Reply(200, content[:2], length=len(content))
        argv = (
            "imagetools",
            "create",
            "--prefer-index=false",
            "-t",
            "oci-layout://layout:1",
            f"{registry.address}/app:1",
        )
        registry.on(f"GET /v2/app/blobs/{blobs[1]['digest']}", cut)
        code, stdout, stderr = run(*argv)
        assert (code, stdout, "cannot be read: " in stderr) == (1, "", True), stderr
        assert not (tmp_path / "layout" / "index.json").exists()
        registry.on(f"GET /v2/app/blobs/{blobs[1]['digest']}", cut, Reply(200, content))
        assert run(*argv)[0] == 0


def test_an_entry_without_a_digest_is_passed_over(registry: MemoryRegistry, run: Run, tmp_path: Path) -> None:
    push_attested(registry, "app", "amd64")
    create(run, "-t", "oci-layout://layout:1", registry.name("app", "1"))
    index = tmp_path / "layout" / "index.json"
    index.write_text(json.dumps({"manifests": [*read_entries(tmp_path / "layout"), {"mediaType": "x"}]}))
    create(run, "-t", registry.name("copy", "1"), "oci-layout://layout:1")
    assert ("copy", "1") in registry.manifests
