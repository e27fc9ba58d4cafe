"""Table of the attributes of outputs and caches, with type and effect, and the checks of their values.

Names and values are those of BuildKit 0.34.2 (``exporter/containerimage/exptypes/keys.go``, ``exporter/local/fs.go``,
``exporter/oci/export.go``, ``util/compression/attrs.go``; ``cache/remotecache`` by type) and those that buildx 0.38.2
and BuildKit's client handle themselves (``client/solve.go``). BuildKit silently ignores unknown ones.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from enum import Enum, auto

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.pairs import check_tag
from ci_buildx.settings.syntax import GO_FALSE, GO_TRUE, is_whole_number
from ci_buildx.settings.values import TypedAttributes

COMPRESSIONS = ("uncompressed", "gzip", "estargz", "zstd")


class AttributeKind(Enum):
    """Type of a value: text, image names, boolean, flag (true if empty), whole number, positive number, duration."""

    TEXT = auto()
    NAMES = auto()
    BOOLEAN = auto()
    FLAG = auto()
    NUMBER = auto()
    POSITIVE = auto()
    DURATION = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputAttribute:
    """One attribute. ``effect`` is for the documentation; ``refused`` is the fix for an unsupported attribute."""

    name: str
    effect: str
    kind: AttributeKind = AttributeKind.TEXT
    choices: tuple[str, ...] = ()
    refused: str = ""


def _make_flag(name: str, effect: str) -> OutputAttribute:
    return OutputAttribute(name=name, effect=effect, kind=AttributeKind.FLAG)


def _make_boolean(name: str, effect: str) -> OutputAttribute:
    return OutputAttribute(name=name, effect=effect, kind=AttributeKind.BOOLEAN)


def _make_text(name: str, effect: str) -> OutputAttribute:
    return OutputAttribute(name=name, effect=effect)


_EPOCH = OutputAttribute(
    name="source-date-epoch",
    effect="latest time in the exported result, in seconds since 1970",
    kind=AttributeKind.NUMBER,
)
_COMPRESSION = (
    OutputAttribute(name="compression", effect="compression of new layers", choices=COMPRESSIONS),
    OutputAttribute(
        name="compression-level",
        effect="compression level: 0 to 9 for gzip and estargz, 0 to 22 for zstd",
        kind=AttributeKind.NUMBER,
    ),
    _make_flag("force-compression", "recompress existing layers"),
)
_IMAGE = (
    OutputAttribute(
        name="name", effect="image names, separated by commas; `--tag` takes precedence", kind=AttributeKind.NAMES
    ),
    _make_boolean("oci-mediatypes", "use OCI media types (the default) instead of Docker's"),
    _make_boolean("oci-artifact", "store attestations as OCI artifacts (the default) or as image manifests"),
    _make_boolean("attestation-inline", "attach attestations"),
    _make_boolean("prefer-nondist-layers", "keep layers marked non-distributable"),
    _make_boolean("rewrite-timestamp", "also set times in layers to SOURCE_DATE_EPOCH"),
    *_COMPRESSION,
    _EPOCH,
    _make_text(
        "annotation.*", "annotations; also `annotation-index.*`, `annotation-manifest[linux/amd64].*` and similar"
    ),
)
_PUSHED = (
    *_IMAGE,
    _make_flag("push", "push the image; with several nodes, at most one output can push"),
    _make_flag("push-by-digest", "push without a tag; with several nodes, push their index"),
    _make_flag("registry.insecure", "allow plain HTTP and unverified TLS"),
    _make_text("dangling-name-prefix", "repository that also receives the image by digest"),
    _make_flag("danging-name-empty-only", "use that repository only if the image has no name (BuildKit's spelling)"),
    _make_flag("name-canonical", "also name the image by its digest in a containerd worker's image store"),
    _make_flag("unpack", "unpack the image in a containerd worker's image store"),
    _make_flag("store", "store the image in a containerd worker's image store"),
)
_ARCHIVE = (
    *_IMAGE,
    _make_text("dest", "file, or folder with `tar=false`; default: standard output or the docker daemon"),
    _make_flag("tar", "`false` writes an OCI layout into a folder; at most one output can do so"),
)
_FILES = (
    _make_boolean("platform-split", "one folder per platform (the default for several)"),
    _make_text("attestation-prefix", "prefix of the attestation files' names"),
    _make_text("src", "export only this file or folder of the result"),
    _EPOCH,
)
OUTPUTS: Mapping[str, tuple[OutputAttribute, ...]] = {
    "image": _PUSHED,
    "registry": _PUSHED,
    "oci": _ARCHIVE,
    "docker": (
        *_ARCHIVE,
        OutputAttribute(
            name="context", effect="a context of docker's", refused="set DOCKER_HOST to the daemon's address"
        ),
    ),
    "local": (
        _make_text("dest", "the folder"),
        OutputAttribute(
            name="mode",
            effect="`delete` removes all other files from the folder, once all nodes have finished",
            choices=("copy", "delete"),
        ),
        *_FILES,
    ),
    "tar": (_make_text("dest", "file (default: standard output)"), *_FILES),
    "cacheonly": (),
}

_MODE = OutputAttribute(name="mode", effect="`max` exports the layers of all stages", choices=("min", "max"))
_EXPORT = (_MODE, _make_boolean("ignore-error", "if the cache cannot be written, warn instead of failing"))
_MANIFEST = (
    _make_boolean("oci-mediatypes", "use OCI media types (the default) instead of Docker's"),
    _make_boolean("image-manifest", "store the cache as an image manifest (the default) or as an index"),
)
_INSECURE = _make_boolean("registry.insecure", "allow plain HTTP and unverified TLS")
_ACTIONS = (
    _make_text("scope", "name of the cache (`buildkit`); runs of a trust scope have their own in it"),
    OutputAttribute(name="timeout", effect="time limit of a transfer, such as `10m`", kind=AttributeKind.DURATION),
    *(_make_text(name, "by default from the job's variables") for name in ("token", "url", "url_v2")),
    OutputAttribute(name="version", effect="version of GitHub's cache service", choices=("1", "2")),
    _make_text("repository", "the repository; with `ghtoken`, one request lists the layers that exist"),
    _make_text("ghtoken", "token for GitHub's API"),
)
_S3 = (
    _make_text("bucket", "name of the bucket"),
    _make_text("region", "region of the bucket"),
    _make_text("endpoint_url", "URL of the S3 service, if it is not AWS"),
    *(
        _make_text(name, f"by default from `AWS_{name.upper()}`")
        for name in ("access_key_id", "secret_access_key", "session_token")
    ),
    _make_text("prefix", "prefix of all keys"),
    _make_text("manifests_prefix", "prefix of the manifests' keys"),
    _make_text("blobs_prefix", "prefix of the layers' keys"),
    _make_text(
        "name", "name of the cache (`buildkit`); several names are separated by semicolons, and all are written"
    ),
    OutputAttribute(
        name="touch_refresh",
        effect="age at which a reused layer is touched, such as `24h`",
        kind=AttributeKind.DURATION,
    ),
    _make_boolean("use_path_style", "put the bucket into the URL's path instead of the host name"),
    _make_boolean("disable_accept_encoding", "omit the header Accept-Encoding, for stores that change it"),
    OutputAttribute(
        name="upload_parallelism", effect="number of layers that are uploaded at once", kind=AttributeKind.POSITIVE
    ),
    OutputAttribute(name="retry_mode", effect="retry mode of the AWS SDK", choices=("standard", "adaptive")),
    OutputAttribute(
        name="retry_max_attempts", effect="maximum number of attempts per request", kind=AttributeKind.POSITIVE
    ),
)
_AZURE = (
    _make_text("account_url", "URL of the storage account"),
    _make_text("account_name", "name of the storage account"),
    _make_text("secret_access_key", "access key of the storage account"),
    _make_text("container", "name of the container"),
    _make_text("prefix", "prefix of all blobs' names"),
    _make_text("manifests_prefix", "prefix of the manifests' names"),
    _make_text("blobs_prefix", "prefix of the layers' names"),
    _make_text("name", "name of the cache (`buildkit`); several names are separated by semicolons"),
)
_REFERENCE = (_make_text("ref", "reference of the cache, registry/name:tag"), _INSECURE)
CACHE_EXPORTS: Mapping[str, tuple[OutputAttribute, ...]] = {
    "registry": (*_REFERENCE, *_EXPORT, *_MANIFEST, *_COMPRESSION),
    "local": (
        _make_text("dest", "folder of the cache, an OCI layout"),
        _make_text("tag", "name of the cache in the folder (`latest`)"),
        *_EXPORT,
        *_MANIFEST,
        *_COMPRESSION,
        OutputAttribute(name="reset", effect="remove what older caches left", refused="remove the folder instead"),
    ),
    "inline": (
        OutputAttribute(name="mode", effect="an image has the cache of its own layers only", choices=("min",)),
        _EXPORT[1],
    ),
    "gha": (*_ACTIONS, *_EXPORT),
    "s3": (*_S3, *_EXPORT, *_COMPRESSION),
    "azblob": (*_AZURE, *_EXPORT),
}
CACHE_IMPORTS: Mapping[str, tuple[OutputAttribute, ...]] = {
    "registry": _REFERENCE,
    "local": (
        _make_text("src", "the folder"),
        _make_text("tag", "name of the cache in the folder (`latest`)"),
        _make_text("digest", "digest of the cache's manifest"),
    ),
    "inline": (),
    "gha": _ACTIONS,
    "s3": _S3,
    "azblob": _AZURE,
}
"""Attributes of imports. Those of an export are accepted too, without effect: one text often serves both."""


_ANNOTATION = compile_lazily(r"annotation(?:-[a-z-]+)?(?:\[[A-Za-z0-9_/-]+\])?\.\S+")
"""Format of annotations in BuildKit 0.34.2, ``exporter/containerimage/exptypes/annotations.go``."""
_BOOLEANS = GO_TRUE | GO_FALSE
_DURATION = compile_lazily(r"(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+|0")
_NEEDED_BY = (("compression", ("estargz",)), ("oci-artifact", GO_TRUE))
_NEEDED_BY_EXPORTS = (("image-manifest", _NEEDED_BY[1][1]),)


def check_output(output: TypedAttributes, *, source: str) -> None:
    """Raise InputError for an unknown attribute of an output, or for an invalid value."""
    _check(output, OUTPUTS[output.type], f"output type={output.type}", source)
    _check_media_types(output, _NEEDED_BY, source)


def check_export(cache: TypedAttributes, *, source: str) -> None:
    """Raise InputError for an unknown attribute of a cache export, or for an invalid value."""
    _check(cache, CACHE_EXPORTS[cache.type], f"cache type={cache.type}", source)
    _check_media_types(cache, (*_NEEDED_BY, *_NEEDED_BY_EXPORTS), source)


def check_import(cache: TypedAttributes, *, source: str) -> None:
    """Raise InputError for an unknown attribute of a cache import, or for an invalid value.

    Attributes of the export are accepted and have no effect.
    """
    known = {one.name: one for one in (*CACHE_EXPORTS[cache.type], *CACHE_IMPORTS[cache.type])}
    _check(cache, known.values(), f"cache type={cache.type}", source)


def _check(given: TypedAttributes, known: Iterable[OutputAttribute], what: str, source: str) -> None:
    by_name = {one.name: one for one in known}
    for name, value in given.attrs:
        attribute = by_name.get("annotation.*" if _ANNOTATION.fullmatch(name) else name)
        if attribute is None:
            fix = suggest_name(name, by_name) if by_name else "omit it"
            raise InputError(f"unknown attribute {name!r} of {what}", source=source, fix=fix)
        if attribute.refused:
            raise InputError(f"{what}: {name} is not supported", source=source, fix=attribute.refused)
        _check_value(attribute, name, value, source)


def _check_value(attribute: OutputAttribute, name: str, value: str, source: str) -> None:
    wanted = ""
    match attribute.kind:
        case AttributeKind.NAMES:
            for each in filter(None, value.split(",")):
                check_tag(each, source=source)
        case AttributeKind.FLAG:
            wanted = "true or false" if value and value not in _BOOLEANS else ""
        case AttributeKind.BOOLEAN:
            wanted = "true or false" if value not in _BOOLEANS else ""
        case AttributeKind.NUMBER:
            wanted = "a whole number" if not is_whole_number(value) else ""
        case AttributeKind.POSITIVE:
            wanted = "a whole number above zero" if not is_whole_number(value) or int(value) < 1 else ""
        case AttributeKind.DURATION:
            wanted = "a time such as 10m" if not _DURATION.fullmatch(value) else ""
        case _:
            if attribute.choices and value not in attribute.choices:
                wanted = " or ".join(attribute.choices)
    if wanted:
        raise InputError(f"{name}={value} is not {wanted}", source=source)


def _check_media_types(given: TypedAttributes, needed_by: Iterable[tuple[str, Container[str]]], source: str) -> None:
    """Reject attributes that need OCI media types if these are disabled.

    Source: BuildKit 0.34.2, ``containerimage/opts.go``, ``export.go``.
    """
    attrs = dict(given.attrs)
    if attrs.get("oci-mediatypes", "true") not in GO_FALSE:
        return
    for name, values in needed_by:
        if attrs.get(name, "") in values:
            message = f"{name}={attrs[name]} requires OCI media types"
            raise InputError(message, source=source, fix="omit oci-mediatypes=false")
