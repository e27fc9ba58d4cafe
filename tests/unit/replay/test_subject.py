"""Images, layouts and files as subjects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ci_buildx.errors import InputError, RegistryError
from ci_buildx.model.platform import Platform
from ci_buildx.replay.subject import ReplaySubject, is_signed, load_predicate, load_subjects, select_subjects
from tests.unit.imagetools.memory_registry import SIGNATURE, MemoryRegistry
from tests.unit.replay.conftest import ReplayShell
from tests.unit.replay.images import CONTENT_DIGEST, make_client, push_subject
from tests.unit.replay.provenance import TAR, make_document

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def load(text: str, folder: Path) -> tuple[ReplaySubject, ...]:
    return load_subjects(text, make_client(), cwd=folder, env={})


@pytest.mark.parametrize("prefix", ["", "docker-image://"])
def test_an_image_of_a_registry(registry: MemoryRegistry, tmp_path: Path, prefix: str) -> None:
    push_subject(registry, ("amd64", "arm64"))
    found = load(prefix + registry.name("app", "1"), tmp_path)
    assert [one.platform for one in found] == [AMD64, ARM64]
    index = registry.read("app", "1")
    assert [one.digest for one in found] == [one["digest"] for one in index["manifests"][:2]]
    predicate = load_predicate(found[1])
    assert (predicate.source.uri, predicate.source.digest) == (TAR, CONTENT_DIGEST)


def test_an_image_of_a_layout(registry: MemoryRegistry, shell: ReplayShell, tmp_path: Path) -> None:
    push_subject(registry)
    created = shell.run("imagetools", "create", "-t", "oci-layout://kept:1", registry.name("app", "1"))
    assert created == 0, shell.stderr
    (found,) = load("oci-layout://kept:1", tmp_path)
    assert load_predicate(found).source.uri == TAR
    assert not is_signed(found)
    with pytest.raises(InputError, match="does not exist"):
        load("./kept:1", tmp_path)


def test_a_folder_is_a_layout(registry: MemoryRegistry, shell: ReplayShell, tmp_path: Path) -> None:
    push_subject(registry)
    assert shell.run("imagetools", "create", "-t", "oci-layout://kept", registry.name("app", "1")) == 0
    (found,) = load("kept", tmp_path)
    assert found.platform == AMD64


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(json.dumps(make_document()))
    (found,) = load("provenance.json", tmp_path)
    assert (found.platform, found.store, found.descriptor["mediaType"]) == (None, None, "application/json")
    assert load_predicate(found).source.uri == TAR
    assert not is_signed(found)


def test_a_manifest_by_digest_has_no_provenance(registry: MemoryRegistry, tmp_path: Path) -> None:
    push_subject(registry)
    digest = registry.read("app", "1")["manifests"][0]["digest"]
    (found,) = load(f"{registry.name('app')}@{digest}", tmp_path)
    with pytest.raises(InputError, match=r"no SLSA provenance attestation found; name the image's index if"):
        load_predicate(found)


def test_an_attestation_of_another_kind_is_no_provenance(registry: MemoryRegistry, tmp_path: Path) -> None:
    push_subject(registry, kind="https://spdx.dev/Document")
    (found,) = load(registry.name("app", "1"), tmp_path)
    with pytest.raises(InputError, match=r"no SLSA provenance attestation found; build the image with"):
        load_predicate(found)


@pytest.mark.parametrize(("body", "message"), [(b"{", "is malformed"), (b"[]", "is malformed: it is not an object")])
def test_malformed_provenance_is_one_error(registry: MemoryRegistry, tmp_path: Path, body: bytes, message: str) -> None:
    push_subject(registry, body=body)
    (found,) = load(registry.name("app", "1"), tmp_path)
    with pytest.raises(RegistryError, match=message):
        load_predicate(found)


def test_an_index_without_images_is_refused(registry: MemoryRegistry, tmp_path: Path) -> None:
    attestations = push_subject(registry)
    registry.push_index("app", attestations, "2")
    with pytest.raises(InputError, match="has no images"):
        load(registry.name("app", "2"), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ", "missing subject"),
        ("./a", "'./a' does not exist"),
        ("/a/b", "'/a/b' does not exist"),
        ("a.json", "'a.json' does not exist"),
        ("A/b:1:2", "SUBJECT"),
    ],
)
def test_names_of_nothing(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(text, tmp_path)


def test_a_signature_refers_to_the_provenance(registry: MemoryRegistry, tmp_path: Path) -> None:
    (attestation,) = push_subject(registry)
    (found,) = load(registry.name("app", "1"), tmp_path)
    assert not is_signed(found)
    registry.push_artifact("app", SIGNATURE, attestation, b"signature", "application/json")
    assert is_signed(found)


def make_subjects(*platforms: Platform | None) -> list[ReplaySubject]:
    return [ReplaySubject(name="app", descriptor={"digest": f"sha256:{one}"}, platform=one) for one in platforms]


def test_the_chosen_platforms() -> None:
    both = make_subjects(AMD64, ARM64)
    assert select_subjects(both, [], every=True) == tuple(both)
    assert select_subjects(both, [ARM64, ARM64]) == (both[1],)
    assert select_subjects(both[:1], []) == (both[0],)
    (file,) = make_subjects(None)
    assert [one.platform for one in select_subjects([file], [ARM64])] == [ARM64]
    with pytest.raises(InputError, match=r"app has several platforms: linux/amd64, linux/arm64; select one"):
        select_subjects(both, [])
    with pytest.raises(InputError, match=r"no platform linux/s390x; available: linux/amd64, linux/arm64"):
        select_subjects(both, [Platform("linux", "s390x")])
