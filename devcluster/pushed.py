"""Images read back from a registry: every manifest, configuration and layer is checked against its digest."""

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

import requests

from devcluster.errors import DevclusterError

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedImage:
    """One platform's image. `files` are the regular files of all layers by path; later layers win."""

    platform: str
    digest: str
    config: dict[str, Any]
    files: dict[str, bytes]


def images(url: str, repository: str, reference: str) -> dict[str, PushedImage]:
    """Read the images of a pushed index completely, by platform (`linux/arm/v7`). `reference` is a tag or digest.

    An image without an index is returned under the platform of its configuration; attestations are skipped. Raises
    DevclusterError if content is missing or does not match its digest.
    """
    place = f"{url}/v2/{repository}"
    top = json.loads(fetch(f"{place}/manifests/{reference}", reference, accept=f"{INDEX}, {MANIFEST}"))
    if top["mediaType"] == MANIFEST:
        found = [image(place, reference, top)]
    else:
        entries = [entry for entry in top["manifests"] if entry["platform"]["architecture"] != "unknown"]
        found = [image(place, entry["digest"], manifest(place, entry["digest"])) for entry in entries]
    return {one.platform: one for one in found}


def manifest(place: str, digest: str) -> dict[str, Any]:
    """Fetch an image's manifest."""
    return dict(json.loads(fetch(f"{place}/manifests/{digest}", digest, accept=MANIFEST)))


def image(place: str, digest: str, content: dict[str, Any]) -> PushedImage:
    """Read the image of a manifest completely."""
    config = json.loads(fetch(f"{place}/blobs/{content['config']['digest']}", content["config"]["digest"]))
    found: dict[str, bytes] = {}
    for layer in content["layers"] or ():
        found |= files(fetch(f"{place}/blobs/{layer['digest']}", layer["digest"]))
    parts = (config["os"], config["architecture"], config.get("variant", ""))
    return PushedImage(platform="/".join(filter(None, parts)), digest=digest, config=config, files=found)


def fetch(url: str, digest: str, accept: str = "*/*") -> bytes:
    """Fetch content from the registry; check it if `digest` is a digest."""
    answer = requests.get(url, headers={"Accept": accept}, timeout=30)
    if not answer.ok:
        raise DevclusterError(f"{url} answers {answer.status_code}")
    if digest.startswith("sha256:") and f"sha256:{hashlib.sha256(answer.content).hexdigest()}" != digest:
        raise DevclusterError(f"{url} is not what its digest says")
    return answer.content


def files(layer: bytes) -> dict[str, bytes]:
    """Return the regular files of a gzipped layer by name."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as archive:
        return {
            member.name: stream.read()
            for member in archive
            if member.isreg() and (stream := archive.extractfile(member)) is not None
        }
