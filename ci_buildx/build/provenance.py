"""Provenance in the metadata file: read from the history of each node's buildkitd, in the form of docker buildx 0.38.2.

Source: buildx 0.38.2, ``build/provenance.go``; BuildKit 0.34.2, ``solver/llbsolver/provenance/types`` (the conversion).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ci_buildx.buildkit.history import HistoryRequest, RecordResult
from ci_buildx.errors import BuildkitError
from ci_buildx.model.documents import parse_json
from ci_buildx.model.record import replace
from ci_buildx.settings.values import MetadataProvenance

if TYPE_CHECKING:
    from ci_buildx.build.build_run import BuildRun
    from ci_buildx.build.solve import NodeResult
    from ci_buildx.buildkit.history import BuildHistory

KEY = "buildx.build.provenance"
_TYPE = "application/vnd.in-toto+json"
_PREDICATE = "in-toto.io/predicate-type"
_PREDICATES = "https://slsa.dev/provenance/"
_VERSION_1 = f"{_PREDICATES}v1"
_BUILD_TYPE = "https://mobyproject.org/buildkit@v1"
_KNOWN_PARAMETERS = ("buildConfig", "builderPlatform", "targetPlatform", "dockerfileVersion")
_TIMEOUT = 30.0
"""Seconds for buildkitd to find a record."""


def add_provenance(site: BuildRun, solved: Sequence[NodeResult]) -> list[NodeResult]:
    """Return the results with the provenance of each in its response.

    A buildkitd that returns none is reported by a warning: the build has succeeded, and its image may be pushed.
    """
    mode = site.settings.build.metadata_provenance
    assert mode is not None
    found = []
    with site.display.begin_phase("resolving provenance for metadata file"):
        for one in solved:
            added: dict[str, str] = {}
            try:
                added = read_provenance(
                    one.connection.control.open_history(), one.record.rpartition("/")[2], mode, site.display.mask
                )
                if not added:
                    site.display.warn("the metadata file has no provenance: buildkitd has no record of this build")
            except BuildkitError as failure:
                site.display.warn(f"the metadata file has no provenance: {failure}")
            found.append(replace(one, response={**one.response, **added}))
    return found


def read_provenance(
    history: BuildHistory, ref: str, mode: MetadataProvenance, mask: Callable[[str], str]
) -> dict[str, str]:
    """Return the provenance of a build, in base64, by key of the metadata: one for each platform if there are several.

    ``mask`` hides secrets, since the arguments of a build may hold some. Raises BuildkitError.
    """
    listing = history.list_records(HistoryRequest(ref=ref), _TIMEOUT)
    results: dict[str, RecordResult] = {}
    for event in listing.events:
        if event.record is not None:
            several = {f"{KEY}/{platform}": result for platform, result in event.record.results.items()}
            results |= several or ({KEY: event.record.result} if event.record.result else {})
    encoded = {}
    for key, result in sorted(results.items()):
        for blob in result.attestations:
            predicate = blob.annotations.get(_PREDICATE, "")
            if blob.media_type == _TYPE and predicate.startswith(_PREDICATES):
                document = read_predicate(history.read_blob(blob.digest), predicate, mode)
                encoded[key] = base64.b64encode(json.dumps(_mask_texts(document, mask)).encode()).decode()
                break
    return encoded


def read_predicate(body: bytes, predicate: str, mode: MetadataProvenance) -> dict[str, Any]:
    """Return a predicate as SLSA 0.2; without ``max``, it lacks the build's steps and times. Raises BuildkitError."""
    try:
        document = parse_json(body)
        if not isinstance(document, dict):
            raise ValueError
        found: dict[str, Any] = convert_predicate(document) if predicate == _VERSION_1 else document
    except (ValueError, AttributeError, TypeError) as error:
        raise BuildkitError("buildkitd sent a malformed provenance") from error
    if mode is MetadataProvenance.MIN:
        return {key: value for key, value in found.items() if key not in ("buildConfig", "metadata")}
    return found


def convert_predicate(document: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a predicate of SLSA 1 to 0.2."""
    definition, details = document.get("buildDefinition") or {}, document.get("runDetails") or {}
    external, inner = definition.get("externalParameters") or {}, definition.get("internalParameters") or {}
    source = external.get("configSource") or {}
    invocation = {
        "configSource": _drop_empty(
            {"uri": source.get("uri"), "digest": source.get("digest"), "entryPoint": source.get("path")}
        ),
        "parameters": external.get("request") or {},
        "environment": {
            **{key: value for key, value in inner.items() if key not in _KNOWN_PARAMETERS},
            "platform": inner.get("builderPlatform") or "",
            **_drop_empty({"dockerfileVersion": inner.get("dockerfileVersion")}),
        },
    }
    materials = [
        _drop_empty({"uri": one.get("uri"), "digest": one.get("digest")})
        for one in definition.get("resolvedDependencies") or ()
    ]
    return {
        "builder": {"id": (details.get("builder") or {}).get("id") or ""},
        "buildType": _BUILD_TYPE,
        **_drop_empty({"materials": materials}),
        "invocation": invocation,
        **_drop_empty({"buildConfig": inner.get("buildConfig"), "metadata": _convert_times(details.get("metadata"))}),
    }


def _convert_times(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    complete = found.get("buildkit_completeness") or {}
    return {
        **_drop_empty(
            {
                "buildInvocationID": found.get("invocationID") or found.get("invocationId"),
                "buildStartedOn": found.get("startedOn"),
                "buildFinishedOn": found.get("finishedOn"),
            }
        ),
        "completeness": {
            "parameters": complete.get("request", False),
            "environment": True,
            "materials": complete.get("resolvedDependencies", False),
        },
        "reproducible": found.get("buildkit_reproducible", False),
        f"{_BUILD_TYPE}#metadata": found.get("buildkit_metadata") or {},
        **_drop_empty({f"{_BUILD_TYPE}#hermetic": found.get("buildkit_hermetic")}),
    }


def _drop_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _mask_texts(value: Any, mask: Callable[[str], str]) -> Any:
    match value:
        case str():
            return mask(value)
        case dict():
            return {key: _mask_texts(one, mask) for key, one in value.items()}
        case list():
            return [_mask_texts(one, mask) for one in value]
        case _:
            return value
