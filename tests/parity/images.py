"""Images of many shapes, pushed to a registry: what builders write, and what the specifications permit."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.content import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    compute_digest,
    parse_document,
)
from tests.integration.registry.image import CONFIG, IN_TOTO, LAYER, Piece

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
ATTESTATION = "application/vnd.docker.attestation.manifest.v1+json"
SIGNATURE = "application/vnd.dev.sigstore.bundle.v0.3+json"
Entry = dict[str, Any]

FULL: Entry = {
    "created": "2026-01-02T03:04:05.100200300+02:00",
    "author": 'A <a@example.org> & "co" \u2028 \u00fc\U0001f600',
    "config": {
        "User": "1000:1000",
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
        "Env": ["PATH=/bin", "X=<&>"],
        "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": [],
        "Volumes": {"/data": {}},
        "WorkingDir": "/w",
        "Labels": {"b": "2", "a": "1", "\u00e4": ""},
        "StopSignal": "SIGTERM",
        "ArgsEscaped": True,
        "Healthcheck": {"Test": ["NONE"]},
        "OnBuild": None,
    },
    "history": [
        {"created": "2026-01-02T03:04:05Z", "created_by": "RUN a && b", "comment": "buildkit", "empty_layer": True},
        {"created_by": "COPY", "author": "me", "unknown": 1},
        {},
    ],
    "docker_version": "29.8.2",
    "container_config": {"Env": []},
    "moby.buildkit.buildinfo.v1": "x",
}


class ImagePusher:
    """Pushes images into one repository."""

    def __init__(self, client: RegistryClient, repository: RegistryRepository) -> None:
        self._client = client
        self._repository = repository

    def push_blob(self, body: bytes, kind: str) -> Entry:
        digest = compute_digest(body)
        if not self._client.has_blob(self._repository, digest):
            self._client.upload_blob(self._repository, digest, partial(Piece, body))
        return {"mediaType": kind, "digest": digest, "size": len(body)}

    def push(self, document: Entry, *tags: str, indent: int | None = None) -> Entry:
        body = json.dumps(document, indent=indent).encode()
        announced = document.get("mediaType") or (OCI_INDEX if "manifests" in document else OCI_MANIFEST)
        pushed = parse_document(body, announced)
        for name in (pushed.descriptor.digest, *tags):
            self._client.put_manifest(self._repository, name, pushed)
        return {"mediaType": announced, "digest": pushed.descriptor.digest, "size": len(body)}

    def push_image(
        self, architecture: str, *tags: str, docker: bool = False, bare: bool = False, **config: Any
    ) -> Entry:
        content = {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, **config}
        layer = self.push_blob(f"layer of {architecture} {len(config)}".encode(), LAYER)
        document = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
            "config": self.push_blob(json.dumps(content).encode(), DOCKER_CONFIG if docker else CONFIG),
            "layers": [layer, layer],
            "annotations": {} if docker else {"of": "the manifest"},
        }
        if docker:
            del document["annotations"]
        if bare:
            del document["mediaType"]
        return self.push(document, *tags)

    def push_index(self, entries: list[Entry], *tags: str, docker: bool = False, **more: Any) -> Entry:
        kind = {"mediaType": DOCKER_LIST if docker else OCI_INDEX}
        return self.push({"schemaVersion": 2, **kind, "manifests": entries, **more}, *tags, indent=2)

    def push_attestation(self, image: Entry, *, artifact: bool = False, signed: bool = False, sboms: int = 1) -> Entry:
        layers = []
        predicates: list[tuple[str, Any]] = [("https://spdx.dev/Document", {"n": n, "<": 1.5e22}) for n in range(sboms)]
        predicates.append(("https://slsa.dev/provenance/v1", {"builder": {"id": "x"}, "n": [1, 2.5, None, 1e-7]}))
        for kind, predicate in predicates:
            body = json.dumps({"predicateType": kind, "predicate": predicate}).encode()
            media_type = IN_TOTO
            if signed:
                body = json.dumps({"payload": base64.b64encode(body).decode(), "signatures": []}).encode()
                media_type = "application/vnd.in-toto.provenance+dsse"
            layers.append({**self.push_blob(body, media_type), "annotations": {"in-toto.io/predicate-type": kind}})
        config = {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": []},
        }
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            **({"artifactType": ATTESTATION} if artifact else {}),
            "config": self.push_blob(b"{}", EMPTY) if artifact else self.push_blob(json.dumps(config).encode(), CONFIG),
            "layers": layers,
            **({"subject": image} if artifact else {}),
        }
        return self.push(document)

    def push_signature(self, subject: Entry) -> Entry:
        """Push a signature, and the index under the tag where registries without the referrers API have it."""
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": SIGNATURE,
            "config": self.push_blob(b"{}", EMPTY),
            "layers": [self.push_blob(b'{"bundle": 1}', SIGNATURE)],
            "subject": subject,
            "annotations": {"dev.sigstore.bundle.content": "dsse-envelope"},
        }
        signature = {**self.push(document), "artifactType": SIGNATURE}
        self.push_index([signature], subject["digest"].replace(":", "-"))
        return signature


def on(entry: Entry, architecture: str, **more: Any) -> Entry:
    """An index's entry for a platform."""
    return {**entry, "platform": {"architecture": architecture, "os": "linux", **more}}


def attest(entry: Entry, image: Entry) -> Entry:
    """An index's entry for an attestation of an image."""
    notes = {"vnd.docker.reference.digest": image["digest"], "vnd.docker.reference.type": "attestation-manifest"}
    return {**entry, "annotations": notes, "platform": {"architecture": "unknown", "os": "unknown"}}


def push_attested(pusher: ImagePusher, tag: str, *architectures: str, **how: Any) -> None:
    images = [on(pusher.push_image(name), name) for name in architectures]
    attestations = [attest(pusher.push_attestation(one, **how), one) for one in images]
    pusher.push_index([*images, *attestations], tag)


def _push_entries_of_all_kinds(pusher: ImagePusher) -> None:
    image = pusher.push_image("amd64")
    entries = [
        {**on(image, "amd64", **{"os.version": "10.0.1", "os.features": ["win32k"]}), "artifactType": "a/b"},
        {**on(pusher.push_image("arm"), "arm", variant="v6"), "annotations": {"b": "2", "a": "<1>"}, "x": 1},
        {**on(pusher.push_image("arm64"), "arm64", variant="v8"), "data": base64.b64encode(b"d").decode()},
    ]
    pusher.push_index(entries, "entries", annotations={"of": "index", "z": "&"}, unknown=True)


def _push_nested(pusher: ImagePusher) -> None:
    inner = pusher.push_index([on(pusher.push_image("arm64"), "arm64"), on(pusher.push_image("s390x"), "s390x")])
    pusher.push_index([on(pusher.push_image("amd64"), "amd64"), inner], "nested")


_WINDOWS: Entry = {"os": "windows", "os.version": "10.0.20348", "os.features": ["win32k"]}


def _push_artifact(pusher: ImagePusher) -> None:
    subject = pusher.push_image("amd64")
    signature = pusher.push_signature(subject)
    pusher.push_index([signature], "artifacts")


SHAPES: dict[str, Callable[[ImagePusher], object]] = {
    "oci": lambda pusher: pusher.push_image("amd64", "oci"),
    "docker": lambda pusher: pusher.push_image("amd64", "docker", docker=True),
    "full": lambda pusher: pusher.push_image("arm64", "full", variant="v8", **FULL),
    "docker-full": lambda pusher: pusher.push_image("arm", "docker-full", docker=True, variant="v6", **FULL),
    "windows": lambda pusher: pusher.push_image("amd64", "windows", **_WINDOWS),
    "untyped": lambda pusher: pusher.push_image("amd64", "untyped", bare=True),
    "nulls": lambda pusher: pusher.push_image(
        "amd64", "nulls", config={"Env": None, "Cmd": None, "Labels": None}, history=None, created=None
    ),
    "index": lambda pusher: pusher.push_index([on(pusher.push_image(a), a) for a in ("amd64", "arm64")], "index"),
    "list": lambda pusher: pusher.push_index(
        [on(pusher.push_image(a, docker=True), a) for a in ("amd64", "arm64")], "list", docker=True
    ),
    "one": lambda pusher: pusher.push_index([on(pusher.push_image("amd64"), "amd64")], "one"),
    "no-platforms": lambda pusher: pusher.push_index(
        [pusher.push_image("amd64"), pusher.push_image("arm", variant="v7")], "no-platforms"
    ),
    "empty": lambda pusher: pusher.push_index([], "empty"),
    "entries": _push_entries_of_all_kinds,
    "nested": _push_nested,
    "attested": lambda pusher: push_attested(pusher, "attested", "amd64"),
    "attested-two": lambda pusher: push_attested(pusher, "attested-two", "amd64", "arm64", sboms=3),
    "attested-artifacts": lambda pusher: push_attested(pusher, "attested-artifacts", "amd64", "arm64", artifact=True),
    "attested-signed": lambda pusher: push_attested(pusher, "attested-signed", "amd64", signed=True, sboms=0),
    "artifacts": _push_artifact,
}
"""How an image is pushed under the tag that is its key."""
