"""Provenance as BuildKit v0.34.2 records it, for tests."""

from __future__ import annotations

from typing import Any

from ci_buildx.replay.predicate import SLSA_1, BuildPredicate, parse_predicate

IMAGE_DIGEST = "sha256:" + "a" * 64
FILE_DIGEST = "sha256:" + "b" * 64
COMMIT = "c" * 40
TAR = "https://example.com/app.tar"
REPOSITORY = "https://example.com/team/app.git#main"


def make_document(
    *,
    uri: str = TAR,
    digest: str = FILE_DIGEST,
    path: str = "Dockerfile",
    materials: list[dict[str, Any]] | None = None,
    steps: list[Any] | None = None,
    **request: Any,
) -> dict[str, Any]:
    """Return the predicate of a build from ``uri`` with a base image; ``request`` has other parameters."""
    base = {"uri": "pkg:docker/alpine@3.22?platform=linux%2Famd64", "digest": {"sha256": "a" * 64}}
    algorithm, _, digits = digest.partition(":")
    context = {"uri": uri, "digest": {algorithm: digits} if digits else {}}
    return {
        "buildDefinition": {
            "externalParameters": {
                "configSource": {**context, "path": path},
                "request": {"frontend": "dockerfile.v0", **request},
            },
            "internalParameters": {
                "buildConfig": {"llbDefinition": [{"id": "step0"}] if steps is None else steps},
                "builderPlatform": "linux/amd64",
            },
            "resolvedDependencies": [base, context] if materials is None else materials,
        }
    }


def make_predicate(**given: Any) -> BuildPredicate:
    """Return the predicate of :func:`make_document`."""
    return parse_predicate(make_document(**given), SLSA_1, source="test")
