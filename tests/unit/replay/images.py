"""Images with provenance in a registry, for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from ci_buildx.registry.client import RegistryClient
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.replay.predicate import SLSA_1
from tests.unit.imagetools.memory_registry import ATTESTATION, IN_TOTO, UNKNOWN, MemoryRegistry
from tests.unit.replay.provenance import TAR, make_document

CONTENT = b"content of the context"
CONTENT_DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def make_client() -> RegistryClient:
    """Return a client without logins."""
    return RegistryClient(CredentialStore([], env={}))


def push_base(registry: MemoryRegistry, *architectures: str) -> dict[str, Any]:
    """Store the base image, an index of ``architectures``; return it as a material."""
    entries = [
        {**registry.push_image("base", one), "platform": {"architecture": one, "os": "linux"}} for one in architectures
    ]
    index = registry.push_index("base", entries, "1")
    uri = f"pkg:docker/{registry.address}/base@1?platform=linux%2Famd64"
    return {"uri": uri, "digest": {"sha256": index["digest"].removeprefix("sha256:")}}


def make_file() -> dict[str, Any]:
    """Return the context as a material."""
    return {"uri": TAR, "digest": {"sha256": CONTENT_DIGEST.removeprefix("sha256:")}}


def push_subject(
    registry: MemoryRegistry,
    architectures: Sequence[str] = ("amd64",),
    *,
    predicate: object = None,
    kind: str = SLSA_1,
    body: bytes = b"",
    **given: Any,
) -> list[dict[str, Any]]:
    """Store ``app:1`` with provenance, whose bytes are ``body`` if given; return the attestations."""
    value = make_document(digest=CONTENT_DIGEST, **given) if predicate is None else predicate
    statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": kind, "predicate": value}
    images, attestations = [], []
    for name in architectures:
        image = registry.push_image("app", name)
        content = body or json.dumps(statement).encode()
        notes = {"in-toto.io/predicate-type": kind}
        found = registry.push_artifact("app", ATTESTATION, image, content, IN_TOTO, **notes)
        images.append({**image, "platform": {"architecture": name, "os": "linux"}})
        notes = {"vnd.docker.reference.digest": image["digest"], "vnd.docker.reference.type": "attestation-manifest"}
        attestations.append({**found, "platform": UNKNOWN, "annotations": notes})
    registry.push_index("app", [*images, *attestations], "1")
    return attestations
