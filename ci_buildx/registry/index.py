"""One index of what several nodes built.

What it holds follows buildx 0.38.2 (``util/imagetools/create.go``: ``Combine``): each node's manifests with their
platforms and annotations, attestations included; an OCI index unless everything in it is Docker's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ci_buildx.errors import RegistryError
from ci_buildx.model.platform import Platform
from ci_buildx.model.reference import Reference
from ci_buildx.registry.client import RegistryClient, Repository
from ci_buildx.registry.content import DOCKER_LIST, OCI_INDEX, Descriptor, Document, parse, parse_platform, platform_of
from ci_buildx.registry.copy import copy_manifest

_ATTESTED = "vnd.docker.reference.digest"
"""The annotation of an attestation that names its image (BuildKit, ``docs/attestations/attestation-storage.md``)."""


def merge(
    client: RegistryClient,
    target: Reference,
    tags: Sequence[Reference],
    sources: Sequence[str],
    *,
    annotations: Mapping[str, str] | None = None,
) -> Descriptor:
    """Merge what the nodes pushed by digest (``sources``) to ``target``'s repository; write it under each of ``tags``.

    Tags may be of other repositories and registries: what the index lists is copied there first. A reference without a
    tag gets the index by its digest alone. A tag that names the index already is not written again: in registries with
    immutable tags that would fail (containerd 2.4 asks first, too: ``core/remotes/docker/pusher.go``).
    RegistryError says which tags were written if one fails.
    """
    home = Repository.of(target)
    documents = [client.manifest(home, digest) for digest in sources]
    index = documents[0]
    if len(documents) > 1 or annotations:
        index = parse(combine([_entries(client, home, document) for document in documents], annotations or {}))
    _publish(client, index, home, tags)
    return index.descriptor


def combine(parts: Sequence[Sequence[Mapping[str, Any]]], annotations: Mapping[str, str]) -> bytes:
    """The index of each node's descriptors: images in the nodes' order, then attestations, each once.

    RegistryError if two nodes built the same platform.
    """
    entries: dict[str, dict[str, Any]] = {}
    for entry in (entry for part in parts for entry in part):
        known = entries.setdefault(entry["digest"], {})
        combined = {**(known.get("annotations") or {}), **(entry.get("annotations") or {})}
        known.update(entry)
        if combined:
            known["annotations"] = combined
    ordered = sorted(entries.values(), key=_is_attestation)
    _check_platforms(ordered)
    docker = all(entry["mediaType"].startswith("application/vnd.docker.") for entry in ordered)
    index: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST if docker and not annotations else OCI_INDEX,
        "manifests": ordered,
    }
    if annotations:
        index["annotations"] = dict(sorted(annotations.items()))
    return json.dumps(index, indent=2).encode()


def _entries(client: RegistryClient, home: Repository, document: Document) -> list[dict[str, Any]]:
    """The descriptors that a node's result adds to the index; a bare manifest's platform is in its config."""
    if document.is_index:
        return document.entries
    config = client.blob(home, document.fields["config"]["digest"])
    found = document.descriptor
    return [
        {
            "mediaType": found.media_type,
            "digest": found.digest,
            "size": found.size,
            "platform": parse_platform(config),
        }
    ]


def _publish(client: RegistryClient, index: Document, home: Repository, tags: Sequence[Reference]) -> None:
    written: list[str] = []
    for tag in tags:
        try:
            _write(client, index, home, tag)
        except RegistryError as error:
            done = f"pushed already: {', '.join(written)}" if written else "no tag was pushed"
            raise RegistryError(f"{error.message} ({done})", status=error.status, fix=error.fix) from error
        written.append(str(tag))


def _write(client: RegistryClient, index: Document, home: Repository, tag: Reference) -> None:
    repository, digest = Repository.of(tag), index.descriptor.digest
    if tag.tag and client.has_tag(repository, tag.tag, digest):
        return
    if repository != home:
        for entry in index.entries:
            copy_manifest(client, entry["digest"], home, repository)
        if not index.is_index:
            copy_manifest(client, digest, home, repository)
    client.put_manifest(repository, tag.tag or digest, index)


def _is_attestation(entry: Mapping[str, Any]) -> bool:
    return _ATTESTED in (entry.get("annotations") or {})


def _check_platforms(entries: Sequence[Mapping[str, Any]]) -> None:
    seen: dict[tuple[Platform, str], str] = {}
    for entry in entries:
        platform = platform_of(entry)
        if platform is None or _is_attestation(entry):
            continue
        key = (platform, str(entry["platform"].get("os.version", "")))
        if key in seen:
            raise RegistryError(f"two nodes pushed {platform}: {seen[key]} and {entry['digest']}")
        seen[key] = entry["digest"]
