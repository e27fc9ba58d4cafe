"""`imagetools create`: what is made of which sources, what is copied, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.registry.content import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, compute_digest
from tests.unit.imagetools.conftest import Run, create
from tests.unit.imagetools.memory_registry import (
    AMD64,
    ARM64,
    ATTESTATION,
    IN_TOTO,
    SIGNATURE,
    UNKNOWN,
    MemoryRegistry,
    push_attested,
)


def plan(run: Run, *argv: str) -> Any:
    """The index that would be made."""
    code, stdout, stderr = run("imagetools", "create", "--dry-run", *argv)
    assert code == 0, stderr
    return json.loads(stdout)


def test_manifests_become_an_index_with_the_platforms_of_their_configs(registry: MemoryRegistry, run: Run) -> None:
    amd64 = registry.push_image("app", "amd64", "amd64")
    arm64 = registry.push_image("app", "arm64", "arm64", variant="v8")
    create(run, "-t", registry.name("app", "1"), registry.name("app", "amd64"), registry.name("app", "arm64"))
    assert registry.read("app", "1") == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{**amd64, "platform": AMD64}, {**arm64, "platform": ARM64}],
    }


def test_the_bytes_are_those_of_go(registry: MemoryRegistry, run: Run) -> None:
    """Order of fields, indentation and escapes decide the digest."""
    image = registry.push_image("app", "amd64", "amd64")
    create(run, "-t", registry.name("app", "1"), "--annotation", "index:k=<&>", registry.name("app", "amd64"))
    assert registry.manifests["app", "1"][1].decode() == (
        '{\n  "schemaVersion": 2,\n  "mediaType": "application/vnd.oci.image.index.v1+json",\n  "manifests": [\n'
        f'    {{\n      "mediaType": "{image["mediaType"]}",\n      "digest": "{image["digest"]}",\n'
        f'      "size": {image["size"]},\n'
        '      "platform": {\n        "architecture": "amd64",\n        "os": "linux"\n      }\n    }\n  ],\n'
        '  "annotations": {\n    "k": "\\u003c\\u0026\\u003e"\n  }\n}'
    )


def test_a_single_index_stays_as_it_is_and_keeps_its_attestations(
    registry: MemoryRegistry, other: MemoryRegistry, run: Run
) -> None:
    index = push_attested(registry, "app", "amd64", "arm64")
    create(run, "-t", other.name("copy/app", "1"), registry.name("app", "1"))
    assert other.manifests["copy/app", "1"] == registry.manifests["app", "1"]
    for entry in registry.read("app", "1")["manifests"]:
        assert other.manifests["copy/app", entry["digest"]] == registry.manifests["app", entry["digest"]]
    assert {digest for _, digest in other.blobs} == {digest for _, digest in registry.blobs}
    assert compute_digest(other.manifests["copy/app", "1"][1]) == index["digest"]


def test_a_single_manifest_becomes_an_index_unless_told_otherwise(registry: MemoryRegistry, run: Run) -> None:
    image = registry.push_image("app", "amd64", "1")
    assert plan(run, registry.name("app", "1"))["manifests"] == [{**image, "platform": AMD64}]
    create(run, "--prefer-index=false", "-t", registry.name("app", "2"), registry.name("app", "1"))
    assert registry.manifests["app", "2"] == registry.manifests["app", "1"]


def test_images_of_dockers_types_become_dockers_list(registry: MemoryRegistry, run: Run) -> None:
    for name in ("amd64", "arm64"):
        registry.push_image("app", name, name, kind=DOCKER_MANIFEST)
    both = [registry.name("app", name) for name in ("amd64", "arm64")]
    assert plan(run, *both)["mediaType"] == DOCKER_LIST
    registry.push_image("app", "s390x", "s390x")
    assert plan(run, *both, registry.name("app", "s390x"))["mediaType"] == OCI_INDEX
    code, _, stderr = run("imagetools", "create", "--dry-run", "--annotation", "index:a=b", *both)
    assert code == 0
    assert "annotations need an OCI index, but all sources have Docker's media types; not set: a" in stderr


def test_a_platform_keeps_its_attestation(registry: MemoryRegistry, run: Run) -> None:
    push_attested(registry, "app", "amd64", "arm64")
    entries = plan(run, "--platform", "linux/arm64", registry.name("app", "1"))["manifests"]
    assert [entry["platform"] for entry in entries] == [ARM64, UNKNOWN]
    assert entries[1]["annotations"]["vnd.docker.reference.digest"] == entries[0]["digest"]


def test_an_attestation_that_is_only_a_referrer_gets_an_entry(other: MemoryRegistry, run: Run) -> None:
    image = other.push_image("app", "amd64", "1")
    attestation = other.push_artifact("app", ATTESTATION, image, b"statement", IN_TOTO)
    entries = plan(run, other.name("app", "1"))["manifests"]
    del attestation["artifactType"]
    assert entries[1] == {
        **attestation,
        "annotations": {
            "vnd.docker.reference.digest": image["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        },
        "platform": UNKNOWN,
    }


def test_signatures_are_copied_and_found_at_both_kinds_of_registry(
    registry: MemoryRegistry, other: MemoryRegistry, run: Run
) -> None:
    index = push_attested(other, "app", "amd64")
    attestation = other.read("app", index["digest"])["manifests"][1]
    signature = other.push_artifact("app", SIGNATURE, attestation, b"bundle", SIGNATURE)
    ignored = other.push_artifact("app", "application/vnd.example+json", attestation, b"note", SIGNATURE)
    create(run, "-t", registry.name("app", "1"), other.name("app", "1"))
    assert ("app", signature["digest"]) in registry.manifests
    assert ("app", ignored["digest"]) not in registry.manifests
    tag = attestation["digest"].replace(":", "-")
    assert [one["digest"] for one in registry.read("app", tag)["manifests"]] == [signature["digest"]]
    # From the tag, it is found again.
    create(run, "-t", other.name("again", "1"), registry.name("app", "1"))
    assert ("again", signature["digest"]) in other.manifests
    assert ("again", tag) not in other.manifests, "a registry with the API needs no tag"


def test_annotations_of_the_index_and_of_its_entries(registry: MemoryRegistry, run: Run) -> None:
    push_attested(registry, "app", "amd64", "arm64")
    made = plan(
        run,
        *("--annotation", "index:a=1", "--annotation", "manifest-descriptor:b=2"),
        *("--annotation", "manifest-descriptor[linux/arm64]:c=3", registry.name("app", "1")),
    )
    assert made["annotations"] == {"a": "1"}
    noted = [
        {key: value for key, value in entry["annotations"].items() if len(key) == 1} for entry in made["manifests"]
    ]
    assert noted == [{"b": "2"}, {"b": "2", "c": "3"}, {"b": "2"}, {"b": "2"}]


def test_append_adds_to_what_the_tag_has(registry: MemoryRegistry, run: Run) -> None:
    first = registry.push_image("app", "amd64", "1")
    second = registry.push_image("app", "arm64", "arm64")
    create(run, "--append", "-t", registry.name("app", "1"), registry.name("app", "arm64"))
    assert [one["digest"] for one in registry.read("app", "1")["manifests"]] == [first["digest"], second["digest"]]


def test_equal_entries_of_two_sources_are_one(registry: MemoryRegistry, run: Run) -> None:
    image = registry.push_image("app", "amd64")
    noted = [{**image, "platform": AMD64, "annotations": {name: name}} for name in ("a", "b")]
    for number, entry in enumerate(noted):
        registry.push_index("app", [entry], str(number))
    made = plan(run, registry.name("app", "0"), registry.name("app", "1"))
    assert made["manifests"] == [{**image, "annotations": {"a": "a", "b": "b"}, "platform": AMD64}]


def test_digests_and_descriptors_are_in_the_only_repository(registry: MemoryRegistry, run: Run, tmp_path: Path) -> None:
    amd64 = registry.push_image("app", "amd64")
    arm64 = registry.push_image("app", "arm64")
    given = {**arm64, "annotations": {"a": "b"}, "platform": {"architecture": "arm", "os": "linux"}}
    (tmp_path / "arm64.json").write_text(json.dumps(given))
    create(run, "-t", registry.name("app", "1"), "-f", "arm64.json", amd64["digest"])
    assert registry.read("app", "1")["manifests"] == [
        {**arm64, "annotations": {"a": "b"}, "platform": {"architecture": "arm", "os": "linux"}},
        {**amd64, "platform": AMD64},
    ]


def test_blobs_are_mounted_within_a_registry(registry: MemoryRegistry, run: Run) -> None:
    registry.push_image("app", "amd64", "1")
    create(run, "-t", registry.name("mounted", "1"), registry.name("app", "1"))
    assert not [line for line in registry.asked if line.startswith(("GET /v2/app/blobs", "PUT /v2/mounted/blobs"))][1:]
    registry.mounts = False
    create(run, "-t", registry.name("copied", "1"), registry.name("app", "1"))
    assert len([line for line in registry.asked if line.startswith("PUT /v2/copied/blobs")]) == 2


def test_several_names_and_the_metadata_file(
    registry: MemoryRegistry, other: MemoryRegistry, run: Run, tmp_path: Path
) -> None:
    index = push_attested(registry, "app", "amd64")
    names = [registry.name("app", "2"), other.name("b", "1"), other.name("a", "1")]
    create(
        run,
        *(word for name in names for word in ("-t", name)),
        "--metadata-file",
        "out.json",
        registry.name("app", "1"),
    )
    assert {registry.manifests["app", "2"], other.manifests["a", "1"], other.manifests["b", "1"]} == {
        registry.manifests["app", "1"]
    }
    assert json.loads((tmp_path / "out.json").read_text()) == {
        "containerimage.descriptor": index,
        "image.name": ",".join(sorted((registry.name("app"), other.name("b"), other.name("a")))),
    }


def test_the_progress_shows_copies_and_names(registry: MemoryRegistry, other: MemoryRegistry, run: Run) -> None:
    image = registry.push_image("app", "amd64", "1")
    _, _, stderr = run(
        "imagetools", "create", "--progress=plain", "-t", other.name("b", "1"), registry.name("app", "1")
    )
    assert f"#1 [internal] pushing {other.name('b')}\n" in stderr
    assert f" copying {image['digest']} from {registry.name('app', '1')} to {other.name('b')}\n" in stderr
    assert f" to {other.name('b', '1')}\n#1 DONE " in stderr
    assert run("imagetools", "create", "--progress=none", "-t", other.name("c", "1"), registry.name("app", "1")) == (
        0,
        "",
        "",
    )


def test_names_published_before_a_failure_are_reported(registry: MemoryRegistry, run: Run) -> None:
    registry.push_image("app", "amd64", "1")
    code, _, stderr = run(
        *("imagetools", "create", "-t", registry.name("app", "2"), "-t", "127.0.0.1:1/app:2", registry.name("app", "1"))
    )
    assert code == 1
    assert f"(published already: {registry.name('app', '2')})" in stderr


ZEROS = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("-t", "x:1"), "missing sources; name the images to combine"),
        (("REG/app:1",), "missing name of the new image; add --tag, or --dry-run to publish nothing"),
        (("-t", "X:1", "REG/app:1"), "--tag: invalid reference 'X:1': repository name 'X' must be lower-case"),
        (("-t", "x", "sha256:12"), "SOURCE: 'sha256:12' is not a digest; a digest has 64 hexadecimal digits"),
        (("-t", "x", "{"), "SOURCE: malformed descriptor: it is not JSON"),
        (("-t", "x", '{"digest": 1}'), "SOURCE: malformed descriptor: a value is not of kind string"),
        (("-t", "x", "{}"), "SOURCE: a descriptor has the digest '', which is invalid"),
        (
            ("-t", "x", f'{{"schemaVersion": 2, "digest": "{ZEROS}"}}'),
            "SOURCE: expected a descriptor, got a manifest or index; name its digest, or write mediaType, digest",
        ),
        (("--dry-run", ZEROS), f"no repository for '{ZEROS}'; add --tag, or a source with its repository"),
        (
            ("-t", "REG/b:1", "REG/a:1", ZEROS),
            f"several repositories (REG/a, REG/b): that of '{ZEROS}' is unknown; write it as REPOSITORY@DIGEST",
        ),
        (("-t", "x", "-f", "none", "y"), "--file: cannot read 'none': No such file or directory"),
        (
            ("-t", "x", "--annotation", "manifest:a=b", "y"),
            "--annotation: annotations of 'manifest' cannot be changed; write index:KEY=VALUE or manifest-descriptor:",
        ),
        (
            ("-t", "x", "--annotation", "a=b", "y"),
            "--annotation: annotation 'a' has no target: manifests cannot be changed; write index:KEY=VALUE or ",
        ),
        (("-t", "x", "--platform", "linux/emd64", "y"), "--platform: unknown architecture 'emd64' in platform"),
        (("-t", "x", "--progress", "loud", "REG/app:1"), "--progress: unknown value 'loud'; known: auto, "),
        (("-t", "oci-layout://", "y"), "--tag: oci-layout:// has no path; write oci-layout://FOLDER:TAG"),
        (
            ("-t", f"REG/app@{ZEROS}", "REG/app:1"),
            f"--tag: target REG/app@{ZEROS} requested digest {ZEROS} but produced sha256:",
        ),
        (("--dry-run", "--platform", "linux/s390x", "REG/app:1"), "--platform: no entry of the index matches"),
        (
            ("--dry-run", "--prefer-index=false", "--platform", "linux/s390x", "REG/app:1"),
            "--platform: the image is for linux/amd64 only; name its platform or omit the option",
        ),
    ],
)
def test_refuses_in_one_line_and_writes_nothing(
    registry: MemoryRegistry, run: Run, argv: tuple[str, ...], message: str
) -> None:
    registry.push_image("app", "amd64", "1")
    before = dict(registry.manifests)
    code, stdout, stderr = run("imagetools", "create", *(word.replace("REG", registry.address) for word in argv))
    assert stderr.startswith(f"kube-builder: error: {message.replace('REG', registry.address)}"), stderr
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert registry.manifests == before


def test_a_missing_source_is_named(registry: MemoryRegistry, run: Run) -> None:
    code, _, stderr = run("imagetools", "create", "--dry-run", registry.name("app", "none"))
    assert code == 1
    assert f"reading {registry.name('app', 'none')} failed with status 404: UNKNOWN: not here" in stderr


def test_a_descriptor_of_another_size_is_refused(registry: MemoryRegistry, run: Run) -> None:
    image = registry.push_image("app", "amd64")
    code, _, stderr = run(
        *("imagetools", "create", "--dry-run", "-t", registry.name("app", "2"), json.dumps({**image, "size": 7}))
    )
    assert code == 1
    assert f"{image['digest']} has {image['size']} bytes, but its descriptor declares 7" in stderr
