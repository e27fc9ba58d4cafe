"""Images built again from their provenance on a lasting builder, and snapshots of what they were built from."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.registry.content import INDEXES, MANIFESTS
from devcluster.layout import Cluster
from devcluster.registry import Registry
from tests.e2e.product import Run
from tests.integration.build.lasting import Shop
from tests.integration.buildkit.served import serving
from tests.unit.fsutil.repositories import Repository

ATTESTATION = "vnd.docker.reference.type"


class Site:
    """Repositories and files that the cluster's pods can fetch."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder = folder
        self.url = f"http://{host}"

    def make_archive(self, name: str, files: Mapping[str, str]) -> str:
        """Serve a tar of a context and return its URL."""
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as tar:
            for path, text in files.items():
                entry = tarfile.TarInfo(path)
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
        (self.folder / name).write_bytes(made.getvalue())
        return f"{self.url}/{name}"


@pytest.fixture
def site(tmp_path: Path, dev_cluster: Cluster) -> Iterator[Site]:
    """A web server on the cluster's address."""
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(folder, address=str(dev_cluster.host_address)) as host:
        yield Site(folder, host)


@pytest.fixture
def builder(shop: Shop) -> Iterator[Shop]:
    """A lasting builder, the current one."""
    name = f"again-{secrets.token_hex(4)}"
    created = shop.create(
        "--name", name, "--use", "--bootstrap", "--driver-opt", "nodeselector=kubernetes.io/arch=amd64"
    )
    assert created.code == 0, created.stderr
    yield shop
    assert shop.product.run("rm", name).code == 0


@pytest.fixture
def reference(registries: dict[str, Registry], repository_path: str) -> str:
    """The image that the test pushes."""
    return f"{registries['open'].address}/{repository_path}:1"


@pytest.fixture
def dockerfile(registries: dict[str, Registry]) -> str:
    """A Dockerfile whose result depends on the time of its step and on a build argument."""
    base = f"{registries['open'].address}/library/busybox:1"
    return f"FROM {base}\nARG VERSION\nCOPY note /\nRUN date +%s%N > /when; echo $VERSION > /version\n"


def run(shop: Shop, *argv: str) -> Run:
    """Run a verb that must succeed."""
    done = shop.product.run(*argv)
    assert done.code == 0, done.stderr
    return done


def push(shop: Shop, context: str, reference: str, *options: str) -> str:
    """Build and push with complete provenance; return the digest of the image's manifest."""
    run(shop, "build", "--provenance", "mode=max", "-t", reference, "--push", *options, context)
    return find_manifest(shop, reference)


def find_manifest(shop: Shop, reference: str) -> str:
    """The digest of the only image, without that of its attestations."""
    document = json.loads(run(shop, "imagetools", "inspect", "--raw", reference).stdout)
    if "manifests" not in document:
        return "sha256:" + hashlib.sha256(run(shop, "imagetools", "inspect", "--raw", reference).stdout).hexdigest()
    (found,) = [one for one in document["manifests"] if ATTESTATION not in (one.get("annotations") or {})]
    return str(found["digest"])


def read_blob(layout: Path, digest: str) -> bytes:
    """A blob whose content has its digest."""
    algorithm, digits = digest.split(":")
    body = (layout / "blobs" / algorithm / digits).read_bytes()
    assert hashlib.new(algorithm, body).hexdigest() == digits
    return body


def check_blobs(layout: Path, entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the descriptors that one reaches, each of whose blobs is there and whole.

    The subject of an attestation is the image that was built, which a snapshot does not contain.
    """
    body = read_blob(layout, entry["digest"])
    assert len(body) == entry["size"], entry
    document = json.loads(body) if entry["mediaType"] in INDEXES | MANIFESTS else {}
    found = [entry]
    for one in (*document.get("manifests", ()), *([document["subject"]] if "manifests" in document else ())):
        found += check_blobs(layout, one)
    for one in (*document.get("layers", ()), *([document["config"]] if "config" in document else ())):
        assert len(read_blob(layout, one["digest"])) == one["size"], one
        found.append(one)
    return found


def test_a_repository(builder: Shop, site: Site, reference: str, dockerfile: str) -> None:
    repository = Repository(site.folder / "app.git")
    repository.write(Dockerfile=dockerfile, note="first")
    repository.commit()
    digest = push(builder, f"{site.url}/app.git#main", reference, "--build-arg", "VERSION=3")

    plan = json.loads(run(builder, "replay", "build", "--dry-run", "--format", "json", reference).stdout)
    (subject,) = plan["subjects"]
    assert subject["descriptor"]["digest"] == digest
    assert subject["buildConfig"]["buildArgs"] == {"VERSION": "3"}

    run(builder, "replay", "build", "-o", "type=oci,dest=again,tar=false", reference)
    (entry,) = json.loads((builder.product.cwd / "again" / "index.json").read_text())["manifests"]
    assert entry["digest"] == digest
    run(builder, "replay", "build", "-t", f"{reference}-again", "--push", reference)
    assert find_manifest(builder, f"{reference}-again") == digest
    verified = run(builder, "replay", "verify", reference)
    assert verified.stdout.decode() == f"{reference}: the replay is equal to {digest}\n"

    repository.write(note="second")
    repository.commit()
    refused = builder.product.run("replay", "build", "-o", "type=oci,dest=changed.tar", reference)
    assert refused.code == 1
    commits = repository.git("rev-parse", "HEAD~1", "HEAD").split()
    reason = "expected checksum to match {}, got {}".format(*commits)
    assert refused.stderr.splitlines()[-1] == f"ERROR: failed to solve: failed to load cache key: {reason}"
    assert not (builder.product.cwd / "changed.tar").exists()


def test_a_difference_is_reported(builder: Shop, site: Site, reference: str, dockerfile: str) -> None:
    url = site.make_archive("app.tar", {"Dockerfile": dockerfile, "note": "first"})
    digest = push(builder, url, reference)
    run(builder, "prune", "--all", "--force")  # So that the step, whose result is the time, runs again.
    differs = builder.product.run("replay", "verify", "--compare", "artifact", "-o", "report", reference)
    assert differs.code == 1
    assert "\nERROR: replay mismatch: verify --compare=artifact failed: sha256:" in differs.stderr
    assert differs.stderr.endswith(f" is not {digest}\n")
    summary = json.loads((builder.product.cwd / "report" / "vsa.intoto.jsonl").read_text())
    assert summary["predicate"]["verificationResult"] == "FAILED"
    assert summary["subject"][0]["digest"] == {"sha256": digest.removeprefix("sha256:")}
    report = json.loads((builder.product.cwd / "report" / "diff.json").read_text())
    assert [one["context"] for one in report["children"][1:]] == ["manifest/config", "manifest/layers[2]"]


def test_a_snapshot(builder: Shop, site: Site, reference: str, dockerfile: str) -> None:
    url = site.make_archive("app.tar", {"Dockerfile": dockerfile, "note": "first"})
    archive = site.folder / "app.tar"
    push(builder, url, reference)
    folder = builder.product.cwd

    for output in ("without", "type=oci,dest=without.tar"):
        failed = builder.product.run("replay", "snapshot", "-o", output, reference)
        message = f"--materials: material not found: {url}; name its content: URI=PATH, or a layout that has it"
        assert (failed.code, failed.stderr.splitlines()[-1]) == (2, f"kube-builder: error: {message}")
    assert not list(folder.glob("without*"))

    materials = ("--materials", "provenance", "--materials", f"{url}={archive}")
    run(builder, "replay", "snapshot", *materials, "-o", "kept", reference)
    (entry,) = json.loads((folder / "kept" / "index.json").read_text())["manifests"]
    found = check_blobs(folder / "kept", entry)
    kinds = [one.get("artifactType", "") for one in found]
    assert "application/vnd.docker.buildx.snapshots.materials.v1+json" in kinds
    assert "application/vnd.docker.attestation.manifest.v1+json" in kinds
    assert f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}" in {one["digest"] for one in found}
    assert [one["platform"]["architecture"] for one in found if "platform" in one and "artifactType" not in one] == [
        "amd64"
    ]
    (provenance,) = [one for one in found if one["mediaType"] == "application/vnd.in-toto+json"]
    statement = json.loads(read_blob(folder / "kept", provenance["digest"]))
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"

    archive.unlink()
    run(builder, "replay", "snapshot", "--materials", "oci-layout://kept", "-o", "type=oci,dest=kept.tar", reference)
    with tarfile.open(folder / "kept.tar") as tar:
        assert {one.name for one in tar if one.isfile()} == {
            str(path.relative_to(folder / "kept")) for path in (folder / "kept").rglob("*") if path.is_file()
        }
        index = tar.extractfile("index.json")
        assert index is not None
        assert json.load(index)["manifests"] == [entry]
    refused = builder.product.run("replay", "build", "oci-layout://kept")
    message = "SUBJECT: 'oci-layout://kept' is a snapshot of replay, not an image"
    assert (refused.code, refused.stderr) == (2, f"kube-builder: error: {message}\n")
