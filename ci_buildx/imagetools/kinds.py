"""The structs of an image as Go's ``image-spec`` 1.1.1 declares them (``specs-go/v1``), and its platforms.

Templates see these fields, and only these are kept if an index is written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ci_buildx.errors import RegistryError
from ci_buildx.gotemplate.encoding import encode
from ci_buildx.gotemplate.kinds import (
    BOOLEAN,
    INTEGER,
    OCTETS,
    TEXT,
    TIME,
    GoKind,
    GoValue,
    ListKind,
    MalformedValue,
    MapKind,
    PointerKind,
    StructField,
    StructKind,
    decode,
)
from ci_buildx.model.documents import parse_json
from ci_buildx.model.platform import Platform, parse_platform

TEXTS = ListKind(TEXT)
LABELS = MapKind(TEXT)
_SET = MapKind(StructKind("struct {}", ()))

PLATFORM = StructKind(
    "v1.Platform",
    (
        StructField(name="Architecture", kind=TEXT, json="architecture"),
        StructField(name="OS", kind=TEXT, json="os"),
        StructField(name="OSVersion", kind=TEXT, json="os.version", omit=True),
        StructField(name="OSFeatures", kind=TEXTS, json="os.features", omit=True),
        StructField(name="Variant", kind=TEXT, json="variant", omit=True),
    ),
)
DESCRIPTOR = StructKind(
    "v1.Descriptor",
    (
        StructField(name="MediaType", kind=TEXT, json="mediaType"),
        StructField(name="Digest", kind=TEXT, json="digest"),
        StructField(name="Size", kind=INTEGER, json="size"),
        StructField(name="URLs", kind=TEXTS, json="urls", omit=True),
        StructField(name="Annotations", kind=LABELS, json="annotations", omit=True),
        StructField(name="Data", kind=OCTETS, json="data", omit=True),
        StructField(name="Platform", kind=PointerKind(PLATFORM), json="platform", omit=True),
        StructField(name="ArtifactType", kind=TEXT, json="artifactType", omit=True),
    ),
)
_VERSIONED = StructKind("specs.Versioned", (StructField(name="SchemaVersion", kind=INTEGER, json="schemaVersion"),))
INDEX = StructKind(
    "v1.Index",
    (
        StructField(name="Versioned", kind=_VERSIONED, embedded=True),
        StructField(name="MediaType", kind=TEXT, json="mediaType", omit=True),
        StructField(name="ArtifactType", kind=TEXT, json="artifactType", omit=True),
        StructField(name="Manifests", kind=ListKind(DESCRIPTOR), json="manifests"),
        StructField(name="Subject", kind=PointerKind(DESCRIPTOR), json="subject", omit=True),
        StructField(name="Annotations", kind=LABELS, json="annotations", omit=True),
    ),
)
_IMAGE_CONFIG = StructKind(
    "v1.ImageConfig",
    (
        StructField(name="User", kind=TEXT, omit=True),
        StructField(name="ExposedPorts", kind=_SET, omit=True),
        StructField(name="Env", kind=TEXTS, omit=True),
        StructField(name="Entrypoint", kind=TEXTS, omit=True),
        StructField(name="Cmd", kind=TEXTS, omit=True),
        StructField(name="Volumes", kind=_SET, omit=True),
        StructField(name="WorkingDir", kind=TEXT, omit=True),
        StructField(name="Labels", kind=LABELS, omit=True),
        StructField(name="StopSignal", kind=TEXT, omit=True),
        StructField(name="ArgsEscaped", kind=BOOLEAN, omit=True),
    ),
)
_ROOT_FS = StructKind(
    "v1.RootFS",
    (
        StructField(name="Type", kind=TEXT, json="type"),
        StructField(name="DiffIDs", kind=TEXTS, json="diff_ids"),
    ),
)
_HISTORY = StructKind(
    "v1.History",
    (
        StructField(name="Created", kind=PointerKind(TIME), json="created", omit=True),
        StructField(name="CreatedBy", kind=TEXT, json="created_by", omit=True),
        StructField(name="Author", kind=TEXT, json="author", omit=True),
        StructField(name="Comment", kind=TEXT, json="comment", omit=True),
        StructField(name="EmptyLayer", kind=BOOLEAN, json="empty_layer", omit=True),
    ),
)
IMAGE = StructKind(
    "v1.Image",
    (
        StructField(name="Created", kind=PointerKind(TIME), json="created", omit=True),
        StructField(name="Author", kind=TEXT, json="author", omit=True),
        StructField(name="Platform", kind=PLATFORM, embedded=True),
        StructField(name="Config", kind=_IMAGE_CONFIG, json="config", omit=True),
        StructField(name="RootFS", kind=_ROOT_FS, json="rootfs"),
        StructField(name="History", kind=ListKind(_HISTORY), json="history", omit=True),
    ),
)


def decode_document(kind: GoKind, body: bytes, *, what: str) -> Any:
    """Decode the JSON of a registry into data of a kind. Raises RegistryError that names ``what``."""
    try:
        return decode(kind, parse_json(body))
    except MalformedValue as error:
        raise RegistryError(f"{what} is malformed: {error}") from error
    except ValueError:
        raise RegistryError(f"{what} is not JSON") from None


def encode_document(kind: GoKind, data: Any) -> bytes:
    """Encode data as indented JSON, as Go writes it."""
    return encode(GoValue(kind, data), indent="  ").encode()


def encode_descriptor(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a descriptor as a JSON object."""
    found: dict[str, Any] = parse_json(encode(GoValue(DESCRIPTOR, data)))
    return found


def normalize_platform(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a platform with containerd's spelling (platforms 1.0.0-rc.5, ``database.go``).

    An empty operating system becomes that of this machine, which is Linux. An unknown form of an architecture stays
    unchanged.
    """
    found = {name: value for name, value in data.items() if value}
    system = str(found.get("OS", "linux")).lower()
    architecture = str(found.get("Architecture", ""))
    if architecture:
        with suppress(ValueError):
            read = parse_platform("/".join(filter(None, ("linux", architecture, str(found.get("Variant", ""))))))
            found |= {"Architecture": read.architecture, "Variant": read.variant}
    return {**found, "OS": "darwin" if system == "macos" else system}


def format_platform(data: Mapping[str, Any]) -> str:
    """Return a platform as ``os/architecture[/variant]``, as it is spelled."""
    parts = (data.get("OS", ""), data.get("Architecture", ""), data.get("Variant", ""))
    return "/".join(part for part in parts if part) if parts[0] else "unknown"


def is_platform(data: Mapping[str, Any], wanted: Platform) -> bool:
    """Return whether both are the same platform, however it is spelled."""
    return format_platform(normalize_platform(data)) == str(wanted)
