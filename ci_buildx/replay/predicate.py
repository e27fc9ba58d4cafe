"""SLSA provenance as BuildKit records it, read into one value.

The formats are those of BuildKit v0.34.2 (``solver/llbsolver/provenance/types/types.go``): SLSA v1, and v0.2, whose
fields have other places. A provenance is a stranger's document: it is bounded, and every field is checked before use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.platform import Platform, parse_platform
from ci_buildx.model.record import dataclass, field

SLSA_1 = "https://slsa.dev/provenance/v1"
SLSA_02 = "https://slsa.dev/provenance/v0.2"
LARGEST_PROVENANCE = 16 << 20
"""Maximum size in bytes: the provenance of a build with a thousand steps has about one MiB."""
MOST_MATERIALS = 4096
"""Maximum number of sources of a build: each makes rules for BuildKit."""
MAX_MODE = "build the image with --provenance=mode=max to make it replayable"
DOCKERFILE_FRONTEND = "dockerfile.v0"
_MALFORMED = "the provenance is malformed"
_ATTESTATIONS = "attest:"
_PREFERRED = "sha256"
_DIGEST = compile_lazily(r"[a-z0-9]+:[0-9a-f]{32,128}")
_TARGET_PLATFORM = "TARGETPLATFORM="


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildMaterial:
    """A source of a build: its URI, "" for a blob, and its digest ``algorithm:digits``, "" if it has none."""

    uri: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredInput:
    """A secret or an SSH agent that the build declared; steps can do without an ``optional`` one."""

    id: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPredicate:
    """How an image was built. ``attributes`` are the frontend's, without those of attestations.

    ``source`` is the context's URI with its digest, and ``path`` the Dockerfile's name in it. ``locals`` are names of
    folders that were sent. ``has_steps`` is False for provenance of mode min.
    """

    frontend: str = DOCKERFILE_FRONTEND
    attributes: Mapping[str, str] = field(default_factory=dict)
    source: BuildMaterial
    path: str = ""
    secrets: tuple[DeclaredInput, ...] = ()
    ssh: tuple[DeclaredInput, ...] = ()
    locals: tuple[str, ...] = ()
    materials: tuple[BuildMaterial, ...] = ()
    builder_platform: Platform | None = None
    target_platform: Platform | None = None
    has_steps: bool = False


def parse_predicate(value: object, kind: str, *, source: str) -> BuildPredicate:
    """Return the predicate of a provenance statement of the given ``kind``.

    ``source`` names its origin. Raises InputError for other kinds and for a malformed document.
    """
    if kind not in (SLSA_1, SLSA_02):
        message = f"unsupported predicate type {kind[:100]!r}"
        raise InputError(message, source=source, fix="replay requires SLSA provenance, v1 or v0.2")
    try:
        return _read_predicate(value if kind == SLSA_1 else _convert_old(_read_object(value)))
    except _Malformed as error:
        raise InputError(f"{_MALFORMED}: {error}", source=source) from error


class _Malformed(Exception):
    """A field has the wrong type."""


def _convert_old(old: Mapping[str, Any]) -> dict[str, Any]:
    """Return provenance v0.2 as v1 (BuildKit v0.34.2, ``ConvertToSLSA1``)."""
    invocation = _read_object(old.get("invocation"))
    source = _read_object(invocation.get("configSource"))
    return {
        "buildDefinition": {
            "externalParameters": {
                "configSource": {**source, "path": source.get("entryPoint")},
                "request": invocation.get("parameters"),
            },
            "internalParameters": {
                "buildConfig": old.get("buildConfig"),
                "builderPlatform": _read_object(invocation.get("environment")).get("platform"),
            },
            "resolvedDependencies": old.get("materials"),
        }
    }


def _read_predicate(value: object) -> BuildPredicate:
    definition = _read_object(_read_object(value).get("buildDefinition"))
    given = _read_object(definition.get("externalParameters"))
    request = _read_object(given.get("request"))
    config = _read_object(given.get("configSource"))
    internal = _read_object(definition.get("internalParameters"))
    steps = _read_list(_read_object(internal.get("buildConfig")).get("llbDefinition"))
    materials = _read_list(definition.get("resolvedDependencies"))
    if len(materials) > MOST_MATERIALS:
        raise _Malformed(f"it has {len(materials)} materials, more than {MOST_MATERIALS}")
    attributes = {name: _read_text(text) for name, text in _read_object(request.get("args")).items()}
    return BuildPredicate(
        frontend=_read_text(request.get("frontend")) or DOCKERFILE_FRONTEND,
        attributes={name: text for name, text in attributes.items() if not name.startswith(_ATTESTATIONS)},
        source=_read_material(config),
        path=_read_text(config.get("path")),
        secrets=_read_inputs(request.get("secrets")),
        ssh=_read_inputs(request.get("ssh")),
        locals=tuple(_read_text(_read_object(one).get("name")) for one in _read_list(request.get("locals"))),
        materials=tuple(_read_material(_read_object(one)) for one in materials),
        builder_platform=_read_platform(internal.get("builderPlatform")),
        target_platform=_read_platform(internal.get("targetPlatform")) or _find_target(steps),
        has_steps=bool(steps),
    )


def _read_material(fields: Mapping[str, Any]) -> BuildMaterial:
    digests = {name: text for name, one in _read_object(fields.get("digest")).items() if (text := _read_text(one))}
    chosen = _PREFERRED if _PREFERRED in digests else min(digests, default="")
    digest = f"{chosen}:{digests[chosen].removeprefix(f'{chosen}:')}" if chosen else ""
    if digest and not _DIGEST.fullmatch(digest):
        raise _Malformed(f"{digest[:100]!r} is not a digest")
    return BuildMaterial(uri=_read_text(fields.get("uri")), digest=digest)


def _read_inputs(value: object) -> tuple[DeclaredInput, ...]:
    """Return declared secrets or agents by their order, each once; optional if any declaration says so."""
    found: dict[str, bool] = {}
    for one in _read_list(value):
        fields = _read_object(one)
        name = _read_text(fields.get("id"))
        if name:
            found[name] = found.get(name, True) and fields.get("optional") is True
    return tuple(DeclaredInput(id=name, optional=optional) for name, optional in found.items())


def _find_target(steps: Iterable[object]) -> Platform | None:
    """Return the platform that all RUN steps of a Dockerfile agree on: older provenance has no field for it."""
    found = set(_list_targets(steps))
    return _read_platform(found.pop()) if len(found) == 1 else None


def _list_targets(steps: Iterable[object]) -> Iterator[str]:
    for step in steps:
        operation = _read_object(_read_object(_read_object(step).get("op")).get("Op"))
        meta = _read_object(_read_object(operation.get("exec")).get("meta"))
        for one in _read_list(meta.get("env")):
            if isinstance(one, str) and one.startswith(_TARGET_PLATFORM):
                yield one.removeprefix(_TARGET_PLATFORM)


def _read_platform(value: object) -> Platform | None:
    text = _read_text(value)
    try:
        return parse_platform(text) if text else None
    except ValueError:
        return None


def _read_object(value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Malformed(f"expected an object, got {type(value).__name__}")
    return value


def _read_list(value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _Malformed(f"expected a list, got {type(value).__name__}")
    return value


def _read_text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _Malformed(f"expected a text, got {type(value).__name__}")
    return value
