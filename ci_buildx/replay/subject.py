"""What is built again: an image of one platform with its provenance, from a registry, an OCI layout or a file.

The forms and rules are those of docker buildx 0.38.2 (``replay/subject.go``). BuildKit attaches provenance to an image
as another manifest of its index (v0.34.2, ``docs/attestations/attestation-storage.md``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError, RegistryError
from ci_buildx.imagetools.create import open_store
from ci_buildx.imagetools.location import LAYOUT, parse_location
from ci_buildx.model.documents import MalformedDocument, parse_json
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, replace
from ci_buildx.registry.client import RegistryClient
from ci_buildx.registry.content import ManifestDocument, compute_digest, read_platform
from ci_buildx.registry.stores import ImageStore
from ci_buildx.replay.pins import IMAGE
from ci_buildx.replay.predicate import LARGEST_PROVENANCE, MAX_MODE, BuildPredicate, parse_predicate
from ci_buildx.replay.statements import read_statement
from ci_buildx.settings.contexts import refuse_escape
from ci_buildx.settings.syntax import is_folder

SOURCE = "SUBJECT"
ALL_PLATFORMS = "all"
_JSON = "application/json"
_REFERENCE_TYPE = "vnd.docker.reference.type"
_REFERENCE_DIGEST = "vnd.docker.reference.digest"
_ATTESTATION = "attestation-manifest"
_PREDICATE_TYPE = "in-toto.io/predicate-type"
_PROVENANCE = "https://slsa.dev/provenance/"
_SNAPSHOT = "application/vnd.docker.buildx.snapshots.v1+json"
_SIGNATURES = ("application/vnd.dev.sigstore.bundle", "application/vnd.dev.cosign")
_PATH_STARTS = ("/", "./", "../")
_PATH_ENDS = (".json", ".jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySubject:
    """An image's manifest as its ``descriptor`` describes it, and the manifest of its attestations.

    ``name`` is as the user wrote it. A subject of a file has a ``predicate`` and no ``store``; ``is_alone`` if the name
    is that of a single manifest, which no attestation accompanies.
    """

    name: str
    descriptor: Mapping[str, Any]
    platform: Platform | None = None
    attestation: Mapping[str, Any] | None = None
    store: ImageStore | None = None
    predicate: BuildPredicate | None = None
    is_alone: bool = False

    @property
    def digest(self) -> str:
        """The digest of the manifest, or of a file's predicate."""
        return str(self.descriptor["digest"])


def load_subjects(text: str, client: RegistryClient, *, cwd: Path, env: Mapping[str, str]) -> tuple[ReplaySubject, ...]:
    """Return the images that ``text`` names: ``docker-image://REF``, ``oci-layout://PATH``, a path or a reference.

    Raises InputError, and RegistryError if they cannot be read.
    """
    name = text.strip()
    if not name:
        raise InputError("missing subject", fix="name an image, an OCI layout or a provenance file")
    if not name.startswith((IMAGE, LAYOUT)):
        path = cwd / name
        if os.path.lexists(path):
            path = refuse_escape(path, source=SOURCE, env=env)
            if not is_folder(path, source=SOURCE):
                return (_load_file(path, name),)
            name = f"{LAYOUT}{name}"
        elif name.startswith(_PATH_STARTS) or name.endswith(_PATH_ENDS):
            raise InputError(f"{name!r} does not exist", source=SOURCE)
    location = parse_location(name.removeprefix(IMAGE), source=SOURCE, cwd=cwd, env=env)
    store = open_store(client, location)
    return _list_images(store, store.read_manifest(location.digest or location.tag), name)


def _load_file(path: Path, name: str) -> ReplaySubject:
    statement = read_statement(path, source=SOURCE)
    predicate = parse_predicate(statement.predicate, statement.kind, source=SOURCE)
    descriptor = {"mediaType": _JSON, "digest": compute_digest(statement.body), "size": len(statement.body)}
    return ReplaySubject(name=name, descriptor=descriptor, predicate=predicate)


def _list_images(store: ImageStore, document: ManifestDocument, name: str) -> tuple[ReplaySubject, ...]:
    if not document.is_index:
        return (ReplaySubject(name=name, descriptor=document.descriptor.to_json(), store=store, is_alone=True),)
    if document.fields.get("artifactType") == _SNAPSHOT:
        raise InputError(f"{name!r} is a snapshot of replay, not an image", source=SOURCE)
    attestations: dict[str, Mapping[str, Any]] = {}
    images = []
    for entry in document.entries:
        notes = entry.get("annotations") or {}
        if notes.get(_REFERENCE_TYPE) == _ATTESTATION:
            attestations.setdefault(notes.get(_REFERENCE_DIGEST, ""), entry)
        else:
            images.append(entry)
    if not images:
        raise InputError(f"the index of {name!r} has no images", source=SOURCE)
    return tuple(
        ReplaySubject(
            name=name,
            descriptor=entry,
            platform=read_platform(entry),
            attestation=attestations.get(entry["digest"]),
            store=store,
        )
        for entry in images
    )


def load_predicate(subject: ReplaySubject) -> BuildPredicate:
    """Return the provenance of a subject. Raises InputError if it has none, RegistryError if it cannot be read."""
    if subject.predicate is not None:
        return subject.predicate
    layer = _find_provenance(subject)
    assert subject.store is not None
    body = subject.store.read_blob(layer["digest"], limit=LARGEST_PROVENANCE)
    try:
        statement = parse_json(body)
    except MalformedDocument as error:
        raise RegistryError(f"the provenance {layer['digest']} is malformed: {error.problem[:200]}") from error
    if not isinstance(statement, dict):
        raise RegistryError(f"the provenance {layer['digest']} is malformed: it is not an object")
    return parse_predicate(statement.get("predicate"), str(statement.get("predicateType", "")), source=subject.name)


def _find_provenance(subject: ReplaySubject) -> Mapping[str, Any]:
    if subject.attestation is not None and subject.store is not None:
        manifest = subject.store.read_manifest(subject.attestation["digest"])
        for layer in () if manifest.is_index else manifest.fields.get("layers", ()):
            if (layer.get("annotations") or {}).get(_PREDICATE_TYPE, "").startswith(_PROVENANCE):
                found: Mapping[str, Any] = layer
                return found
    fix = MAX_MODE
    if subject.is_alone:
        fix = f"name the image's index if this is one of its platforms; otherwise {fix}"
    raise InputError("no SLSA provenance attestation found", source=subject.name, fix=fix)


def is_signed(subject: ReplaySubject) -> bool:
    """Return whether a signature refers to the provenance. Raises RegistryError."""
    if subject.attestation is None or subject.store is None:
        return False
    found = subject.store.list_referrers(subject.attestation["digest"])
    return any(str(one.get("artifactType", "")).startswith(_SIGNATURES) for one in found)


def select_subjects(
    subjects: Sequence[ReplaySubject], platforms: Sequence[Platform], *, every: bool = False
) -> tuple[ReplaySubject, ...]:
    """Return the subjects of ``platforms``; without any, the only one. Raises InputError.

    A single subject without a platform, such as a file's, gets the requested one.
    """
    if every or (len(subjects) == 1 and not platforms):
        return tuple(subjects)
    if platforms and len(subjects) == 1 and subjects[0].platform is None:
        return tuple(replace(subjects[0], platform=one) for one in platforms)
    available = ", ".join(str(one.platform) for one in subjects if one.platform is not None)
    if not platforms:
        raise InputError(
            f"{subjects[0].name} has several platforms: {available}", source=SOURCE, fix="select one with --platform"
        )
    known = {one.platform: one for one in reversed(subjects) if one.platform is not None}
    missing = [str(one) for one in platforms if one not in known]
    if missing:
        message = f"the image has no platform {', '.join(missing)}"
        raise InputError(message, source="--platform", fix=f"available: {available}")
    return tuple(known[one] for one in dict.fromkeys(platforms))
