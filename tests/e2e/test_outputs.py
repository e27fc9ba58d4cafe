"""Outputs of builds on two nodes: names that only the output has, and a folder that is to hold nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import requests

from devcluster.registry import Registry
from tests.e2e.cluster import Builders
from tests.e2e.product import Product

BOTH = "linux/amd64,linux/arm64"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKERS_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"


def manifest(registry: Registry, repository: str, name: str) -> dict[str, Any]:
    url = f"{registry.url}/v2/{repository}/manifests/{name}"
    answer = requests.get(url, headers={"Accept": f"{INDEX}, {MANIFEST}, {DOCKERS_INDEX}"}, timeout=30)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def test_names_of_an_output(product: Product, context: Path, reference: str, open_registry: Registry) -> None:
    """And attestations as image manifests, as BUILDX_NO_DEFAULT_OCI_ARTIFACT wants them."""
    (context / "Dockerfile").write_text("FROM busybox\nRUN uname -m > /machine\n")
    other = reference.replace(":1", "-other:2")
    output = f'type=image,"name={reference},{other}",push=true,annotation-index.org.example=v'
    files = ("--metadata-file", "meta", "--iidfile", "iid")
    job = product.with_env(BUILDX_NO_DEFAULT_OCI_ARTIFACT="true")
    run = job.build("--platform", BOTH, "-o", output, "--provenance", "mode=max", *files, str(context))
    assert run.code == 0, run.stderr
    metadata = json.loads((product.cwd / "meta").read_text())
    assert metadata["image.name"] == f"{reference},{other}"
    assert (product.cwd / "iid").read_text() == metadata["containerimage.digest"]
    assert f"image     {reference}\nimage     {other}\n" in run.stderr
    repository = f"e2e/{context.name}"
    index = manifest(open_registry, repository, "1")
    assert index["annotations"] == {"org.example": "v"}
    assert manifest(open_registry, f"{repository}-other", "2") == index
    architectures = [entry["platform"]["architecture"] for entry in index["manifests"]]
    assert architectures == ["amd64", "arm64", "unknown", "unknown"]
    attested = [manifest(open_registry, repository, entry["digest"]) for entry in index["manifests"][2:]]
    assert {one["config"]["mediaType"] for one in attested} == {"application/vnd.oci.image.config.v1+json"}


def test_names_of_a_registry_output(product: Product, context: Path, reference: str, open_registry: Registry) -> None:
    """``type=registry`` is ``type=image,push=true``: the index has the names, and no node leaves a tag of its own."""
    (context / "Dockerfile").write_text("FROM busybox\n")
    repository, untagged = f"e2e/{context.name}", reference.removesuffix(":1")
    output = f'type=registry,"name={reference},{untagged}",oci-mediatypes=false'
    options = ("--platform", BOTH, "--provenance=false", "-o", output, "--metadata-file", "meta")
    run = product.build(*options, str(context))
    assert run.code == 0, run.stderr
    metadata = json.loads((product.cwd / "meta").read_text())
    assert metadata["image.name"] == f"{reference},{untagged}:latest"
    index = manifest(open_registry, repository, "1")
    assert index["mediaType"] == DOCKERS_INDEX
    assert index == manifest(open_registry, repository, metadata["containerimage.digest"])
    assert index == manifest(open_registry, repository, "latest")
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
    tags = requests.get(f"{open_registry.url}/v2/{repository}/tags/list", timeout=30).json()["tags"]
    assert sorted(tags) == ["1", "latest"]


def test_an_index_by_its_digest_alone(
    product: Product, context: Path, reference: str, open_registry: Registry, builders: Builders
) -> None:
    (context / "Dockerfile").write_text("FROM busybox\n")
    name = reference.removesuffix(":1")
    output = ("--platform", BOTH, "--provenance=false", "-o", f"type=registry,name={name},push-by-digest=true")
    run = product.build(*output, "--metadata-file", "meta", str(context))
    assert run.code == 0, run.stderr
    digest = json.loads((product.cwd / "meta").read_text())["containerimage.digest"]
    repository = f"e2e/{context.name}"
    assert len(manifest(open_registry, repository, digest)["manifests"]) == 2
    assert requests.get(f"{open_registry.url}/v2/{repository}/tags/list", timeout=30).json().get("tags") is None
    refused = product.build("--platform", BOTH, "-t", reference, *output[3:], str(context))
    assert refused.code == 2
    assert "push-by-digest=true conflicts with the tag" in refused.stderr
    assert builders.left() == []


def test_a_folder_holds_what_was_built_and_nothing_else(
    product: Product, context: Path, builders: Builders, tmp_path: Path
) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY keep /\n")
    (context / "keep").write_text("k\n")
    out, outside = product.cwd / "out", tmp_path / "outside"
    for stale in (out / "stale/deep", out / "linux_amd64/old", outside):
        stale.mkdir(parents=True)
        (stale / "file").write_text("old\n")
    (out / "linux_arm64").symlink_to(outside)
    output = ("--platform", BOTH, "-o", "type=local,mode=delete,dest=out")
    failed = product.build(*output, "--target", "missing", str(context))
    assert failed.code == 1
    assert (out / "stale/deep/file").exists(), "nothing is removed unless all was built"
    run = product.build(*output, str(context))
    assert run.code == 0, run.stderr
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "linux_amd64/keep",
        "linux_arm64/keep",
    ]
    assert (outside / "file").exists()
    refused = product.build("-o", "type=local,mode=delete,dest=.", str(context))
    assert (refused.code, "--allow=buildx.local.delete" in refused.stderr) == (2, True)
    assert builders.left() == []
