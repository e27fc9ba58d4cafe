"""The devcluster's own images, in its registry and on its nodes."""

import secrets
import subprocess
from pathlib import Path

import requests

from devcluster.images import catalogue, host_files, layer, nodes, oci
from devcluster.images.image import Content, Image, Variant
from devcluster.images.layer import File
from devcluster.layout import Cluster
from devcluster.registry import Registry


def pull(server: Registry, path: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Accept": f"{oci.INDEX}, {oci.MANIFEST}"}
        response = session.get(f"{server.url}/v2/{path}", headers=headers, timeout=60)
    response.raise_for_status()
    return response


def test_every_image_is_whole(registries: dict[str, Registry]) -> None:
    """Each blob that a manifest names is there and hashes to its name."""
    server = registries["open"]
    for image in catalogue.images():
        top = pull(server, f"{image.repository}/manifests/{image.tags[0]}").json()
        entries = top.get("manifests", [])
        manifests = [pull(server, f"{image.repository}/manifests/{entry['digest']}").json() for entry in entries]
        for manifest in manifests or [top]:
            for descriptor in (manifest["config"], *manifest["layers"]):
                blob = pull(server, f"{image.repository}/blobs/{descriptor['digest']}").content
                assert (oci.digest(blob), len(blob)) == (descriptor["digest"], descriptor["size"]), image.repository


def test_a_collected_program_runs_from_nothing_else(tmp_path: Path) -> None:
    entries = [*host_files.program(Path("/usr/bin/git")), File(path="/dev/null", source=b"", mode=0o666)]
    with (tmp_path / "layer.tar").open("w+b") as stream:
        layer.write(entries, stream)
    subprocess.run(["tar", "-xf", "layer.tar"], cwd=tmp_path, check=True)
    isolated = ["chroot", str(tmp_path), "/usr/bin/git", "--version"]
    done = subprocess.run(isolated, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.startswith("git version"), done.stderr


def test_the_base_image_is_for_every_architecture_that_nodes_run(registries: dict[str, Registry]) -> None:
    index = pull(registries["open"], "library/busybox/manifests/latest").json()
    platforms = [entry["platform"] for entry in index["manifests"]]
    assert platforms == [oci.platform(name) for name in ("386", "amd64", "arm/v7", "arm64")]


def test_a_node_forgets_a_tag_that_was_pushed_anew(dev_cluster: Cluster, registries: dict[str, Registry]) -> None:
    tag = secrets.token_hex(6)
    node = dev_cluster.nodes[0]
    name = f"{registries['open'].address}/tests/forget:{tag}"
    catalogue.push(dev_cluster, [image(tag, b"old")])
    nodes.ctr(node, "images", "pull", "--plain-http", name)
    catalogue.forget_stale(dev_cluster)
    assert name in nodes.held(node)
    catalogue.push(dev_cluster, [image(tag, b"new")])
    catalogue.forget_stale(dev_cluster)
    assert name not in nodes.held(node)


def image(tag: str, content: bytes) -> Image:
    layers = (Content(entries=(File(path="/file", source=content),)),)
    return Image(repository="tests/forget", tags=(tag,), variants=(Variant(architecture="amd64", layers=layers),))
