"""Copies of images between repositories have a bound and ask for nothing twice."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.content import OCI_INDEX, OCI_MANIFEST, ManifestDocument, compute_digest, parse_document
from ci_buildx.registry.copies import MOST_COPIED, copy_manifest
from ci_buildx.registry.credentials import CredentialStore

SOURCE, TARGET = RegistryRepository("a.io", "x"), RegistryRepository("b.io", "x")
EMPTY = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": compute_digest(b"{}"), "size": 2}


class HostileRegistry(RegistryClient):
    """Has any manifest that ``make`` answers for a digest, and every blob."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__(CredentialStore([], env={}))
        self.make = make
        self.asked: list[str] = []

    def has_manifest(self, repository: RegistryRepository, digest: str) -> bool:
        return False

    def read_manifest(self, repository: RegistryRepository, name: str) -> ManifestDocument:
        self.asked.append(name)
        return parse_document(json.dumps(self.make(name)).encode())

    def has_blob(self, repository: RegistryRepository, digest: str) -> bool:
        self.asked.append(digest)
        return True

    def put_manifest(self, repository: RegistryRepository, name: str, document: ManifestDocument) -> None:
        pass


def describe(name: object, media_type: str = OCI_MANIFEST) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": compute_digest(str(name).encode()), "size": 1}


def test_an_image_without_end_is_not_copied() -> None:
    made = 0

    def make(_: str) -> Any:
        nonlocal made
        made += 1
        if made == 1:
            return {"mediaType": OCI_INDEX, "manifests": [describe(f"m{number}") for number in range(4096)]}
        layers = [describe(f"{made} {number}", "layer") for number in range(1000)]
        return {"mediaType": OCI_MANIFEST, "config": EMPTY, "layers": layers}

    with HostileRegistry(make) as client:
        with pytest.raises(RegistryError, match=rf"image of a.io/x has more than {MOST_COPIED} manifests and blobs"):
            copy_manifest(client, compute_digest(b""), SOURCE, TARGET)
        assert len(client.asked) == 18, "manifests, and no blob"


def test_what_is_listed_twice_is_asked_for_once() -> None:
    index = {"mediaType": OCI_INDEX, "manifests": [describe("m")] * 1000}
    image = {"mediaType": OCI_MANIFEST, "config": EMPTY, "layers": [describe("l", "layer")] * 1000}
    with HostileRegistry(lambda name: image if name == describe("m")["digest"] else index) as client:
        copy_manifest(client, compute_digest(b""), SOURCE, TARGET)
        assert sorted(client.asked) == sorted(compute_digest(each.encode()) for each in ("", "m", "{}", "l"))
