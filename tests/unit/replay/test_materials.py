"""Where the content of sources is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ci_buildx.errors import InputError
from ci_buildx.replay.materials import MaterialKind, MaterialStores, classify_material, parse_materials
from ci_buildx.replay.predicate import BuildMaterial
from tests.unit.replay.images import CONTENT, CONTENT_DIGEST
from tests.unit.replay.provenance import IMAGE_DIGEST, REPOSITORY, TAR

FILE = BuildMaterial(uri=TAR, digest=CONTENT_DIGEST)


def parse(folder: Path, *texts: str) -> MaterialStores:
    return parse_materials(texts, cwd=folder, env={})


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("pkg:docker/alpine@3.22", MaterialKind.IMAGE),
        (REPOSITORY, MaterialKind.GIT),
        ("git+https://example.com/app#main", MaterialKind.GIT),
        (TAR, MaterialKind.HTTP),
        ("", MaterialKind.BLOB),
        ("s3://bucket/key", MaterialKind.UNKNOWN),
    ],
)
def test_kinds(uri: str, kind: MaterialKind) -> None:
    assert classify_material(BuildMaterial(uri=uri, digest=IMAGE_DIGEST)) is kind


def test_stores(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "app.tar").write_bytes(CONTENT)
    assert parse(tmp_path) == MaterialStores()
    assert parse(tmp_path, " provenance ", "") == MaterialStores()
    url = f"{TAR}?a=b"
    found = parse(tmp_path, "oci-layout://kept:1", str(tmp_path / "kept"), f"{url}={tmp_path / 'app.tar'}")
    assert found.layouts == (tmp_path / "kept", tmp_path / "kept")
    assert found.paths == {url: tmp_path / "app.tar"}
    assert (found.uses_registries, found.is_explicit) == (False, True)
    assert parse(tmp_path, "provenance", "oci-layout://kept").uses_registries


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("registry", r"unknown materials 'registry'; write provenance, oci-layout://FOLDER"),
        ("=/x", "unknown materials"),
        ("a=relative", "unknown materials"),
        ("/nothing", "'/nothing' is not a folder"),
        ("oci-layout://nothing", "is not a folder"),
        (f"{TAR}=/nothing", "'/nothing' does not exist"),
    ],
)
def test_unknown_stores(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(tmp_path, text)


@pytest.mark.parametrize("key", [TAR, CONTENT_DIGEST])
def test_a_file_must_have_the_recorded_content(tmp_path: Path, key: str) -> None:
    path = tmp_path / "app.tar"
    path.write_bytes(CONTENT)
    stores = parse(tmp_path, f"{key}={path}")
    assert stores.find_file(FILE) == path
    assert stores.find_file(BuildMaterial(uri="https://example.com/b", digest=IMAGE_DIGEST)) is None
    sha512 = f"sha512:{hashlib.sha512(CONTENT).hexdigest()}"
    assert parse(tmp_path, f"{TAR}={path}").find_file(BuildMaterial(uri=TAR, digest=sha512)) == path
    path.write_bytes(b"other")
    with pytest.raises(InputError, match=rf"'app.tar' has the digest sha256:[0-9a-f]+, not {CONTENT_DIGEST}"):
        stores.find_file(FILE)
    with pytest.raises(InputError, match="a digest of 'md5' cannot be checked"):
        parse(tmp_path, f"{TAR}={path}").find_file(BuildMaterial(uri=TAR, digest="md5:" + "a" * 32))
    path.unlink()
    with pytest.raises(InputError, match=r"cannot read 'app.tar'"):
        stores.find_file(FILE)


def test_layouts_are_searched_in_order_after_a_named_one(tmp_path: Path) -> None:
    for name in ("one", "two", "named"):
        (tmp_path / name / "blobs" / "sha256").mkdir(parents=True)
    for name in ("two", "named"):
        (tmp_path / name / "blobs" / "sha256" / CONTENT_DIGEST.partition(":")[2]).write_bytes(CONTENT)
    stores = parse(tmp_path, "oci-layout://one", "oci-layout://two")
    found = stores.find_layout(FILE)
    assert found is not None
    assert found.folder == tmp_path / "two"
    assert found.measure_blob(CONTENT_DIGEST) == len(CONTENT)
    named = parse(tmp_path, "oci-layout://two", f"{TAR}=oci-layout://named")
    found = named.find_layout(FILE)
    assert found is not None
    assert found.folder == tmp_path / "named"
    assert named.find_file(FILE) is None
    assert stores.find_layout(BuildMaterial(uri=TAR, digest=IMAGE_DIGEST)) is None
