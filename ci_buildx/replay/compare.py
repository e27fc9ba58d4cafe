"""Compares an image with its replay, and writes the result as a SLSA verification summary.

The report has the fields of docker buildx 0.38.2 (``replay/verify_compare.go``), the summary those of SLSA's
``verification_summary/v1``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from ci_buildx.registry.content import MANIFESTS, ManifestDocument
from ci_buildx.registry.stores import ImageStore
from ci_buildx.replay.subject import ReplaySubject

_SUMMARY = "https://slsa.dev/verification_summary/v1"
_VERIFIER = "https://github.com/kube-builder"


class CompareMode(StrEnum):
    """What is compared: the manifest's digest alone, or if it differs also everything that the manifest lists."""

    DIGEST = "digest"
    ARTIFACT = "artifact"


def compare_images(
    store: ImageStore, original: Mapping[str, Any], other: ImageStore, replay: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the differences of two images as a tree; without ``children``, they are equal. Raises RegistryError."""
    report: dict[str, Any] = {"context": "root"}
    if original["digest"] == replay["digest"]:
        return report
    ours, theirs = store.read_manifest(original["digest"]), other.read_manifest(replay["digest"])
    kind = ours.descriptor.media_type
    children = [
        _make_event(
            f"descriptor {kind}",
            "DescriptorMismatch",
            f"digest mismatch: {original['digest']} vs {replay['digest']}",
            ({"descriptor": dict(original)}, {"descriptor": dict(replay)}),
        )
    ]
    if kind == theirs.descriptor.media_type and kind in MANIFESTS:
        children += _compare_manifests(ours, theirs)
    return {**report, "children": children}


def _compare_manifests(ours: ManifestDocument, theirs: ManifestDocument) -> list[dict[str, Any]]:
    both = ({"manifest": dict(ours.fields)}, {"manifest": dict(theirs.fields)})
    found = []
    config, other = ours.fields["config"]["digest"], theirs.fields["config"]["digest"]
    if config != other:
        diff = f"config digest mismatch: {config} vs {other}"
        found.append(_make_event("manifest/config", "ConfigBlobMismatch", diff, both))
    layers, others = ours.fields.get("layers", ()), theirs.fields.get("layers", ())
    if len(layers) != len(others):
        diff = f"layer count mismatch: {len(layers)} vs {len(others)}"
        return [*found, _make_event("manifest/layers", "LayerBlobMismatch", diff, both)]
    for number, (one, another) in enumerate(zip(layers, others, strict=True)):
        if one["digest"] != another["digest"]:
            diff = f"layer[{number}] digest mismatch: {one['digest']} vs {another['digest']}"
            inputs = ({"descriptor": one}, {"descriptor": another})
            found.append(_make_event(f"manifest/layers[{number}]", "LayerBlobMismatch", diff, inputs))
    return found


def _make_event(
    context: str, kind: str, diff: str, inputs: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> dict[str, Any]:
    return {"type": kind, "inputs": list(inputs), "diff": diff, "context": context}


def make_summary(subject: ReplaySubject, mode: CompareMode, replayed: str, *, is_equal: bool) -> str:
    """Return the verification summary as one line of JSON; ``replayed`` is the digest of the new image."""
    attestation = subject.attestation["digest"] if subject.attestation is not None else ""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": _SUMMARY,
        "subject": [{"name": subject.name, "digest": _split_digest(subject.digest)}],
        "predicate": {
            "verifier": {"id": _VERIFIER},
            "timeVerified": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "resourceUri": subject.name,
            "policy": {"uri": ""},
            "verificationResult": "PASSED" if is_equal else "FAILED",
            "verifiedLevels": [],
            "dependencyLevels": {},
            "inputAttestations": [{"uri": subject.name, "digest": _split_digest(attestation)}],
            "buildx": {
                "replayMode": "materials",
                "compareMode": str(mode),
                "replayDigest": replayed,
                "subjectDigest": subject.digest,
            },
        },
    }
    return json.dumps(statement, separators=(",", ":"))


def _split_digest(digest: str) -> dict[str, str]:
    algorithm, colon, digits = digest.partition(":")
    return {algorithm: digits} if colon else {}
