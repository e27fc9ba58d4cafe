"""Archives of records, which Docker Desktop imports: gzip of an OCI layout in a tar file.

Source: buildx 0.38.2, ``util/desktop/bundle`` (the manifest of a record, what is removed from it); containerd 2.4.2,
``core/images/archive`` (the files of the archive, sorted by name).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, BinaryIO, Protocol

from ci_buildx.buildkit.history import BuildRecord, Moment, RecordBlob, RecordResult
from ci_buildx.errors import BuildkitError
from ci_buildx.gotemplate.encoding import encode
from ci_buildx.gotemplate.kinds import (
    ANY,
    BOOLEAN,
    INTEGER,
    OCTETS,
    TEXT,
    GoValue,
    ListKind,
    MapKind,
    PointerKind,
    make_struct,
)
from ci_buildx.history.attachments import INDEX, MANIFEST, BlobSource
from ci_buildx.history.records import CACHE_IMPORTS, strip_cache_imports
from ci_buildx.model.record import dataclass, replace

RECORD = "application/vnd.buildkit.historyrecord.v0"
_ORIGINAL = "vnd.export-build.descriptor.mediatype"
_REFERENCE = "vnd.buildkit.history.reference"
_JSON = "application/json"
_SECRETS = re.compile(r"(ghtoken|token|access_key_id|secret_access_key|session_token)=[^ ,]+", re.IGNORECASE)
_TOKENS = re.compile(r"(?:ghu|ghs)_[A-Za-z0-9]{36}|github_pat_\w{82}", re.ASCII)
_MASK = "xxxxx"
_MODES = {"oci-layout": 0o444, "index.json": 0o644}
_BLOB_MODE = 0o444


_make_struct = partial(make_struct, omits=True)
_LABELS = MapKind(TEXT)
_STORED = PointerKind(
    _make_struct("Descriptor", {"media_type": TEXT, "digest": TEXT, "size": INTEGER, "annotations": _LABELS})
)
_RESULT = PointerKind(
    _make_struct(
        "BuildResultInfo",
        {"ResultDeprecated": _STORED, "Attestations": ListKind(_STORED), "Results": MapKind(_STORED)},
    )
)
_TIMESTAMP = PointerKind(_make_struct("Timestamp", {"seconds": INTEGER, "nanos": INTEGER}))
_STATUS = PointerKind(
    _make_struct(
        "Status",
        {
            "code": INTEGER,
            "message": TEXT,
            "details": ListKind(PointerKind(_make_struct("Any", {"type_url": TEXT, "value": OCTETS}))),
        },
    )
)
_EXPORTERS = ListKind(PointerKind(_make_struct("Exporter", {"Type": TEXT, "Attrs": _LABELS})))
_RECORD = _make_struct(
    "Record",
    {
        "Ref": TEXT,
        "Frontend": TEXT,
        "FrontendAttrs": _LABELS,
        "Exporters": _EXPORTERS,
        "error": _STATUS,
        "CreatedAt": _TIMESTAMP,
        "CompletedAt": _TIMESTAMP,
        "logs": _STORED,
        "ExporterResponse": _LABELS,
        "Result": _RESULT,
        "Results": MapKind(_RESULT),
        "Generation": INTEGER,
        "trace": _STORED,
        "pinned": BOOLEAN,
        "numCachedSteps": INTEGER,
        "numTotalSteps": INTEGER,
        "numCompletedSteps": INTEGER,
        "externalError": _STORED,
        "numWarnings": INTEGER,
        "DefaultPlatform": TEXT,
    },
    always=("DefaultPlatform",),
)
_DESCRIPTOR = _make_struct(
    "Descriptor",
    {"mediaType": TEXT, "digest": TEXT, "size": INTEGER, "annotations": _LABELS},
    always=("mediaType", "digest", "size"),
)
_MANIFEST = _make_struct(
    "Manifest",
    {"schemaVersion": INTEGER, "mediaType": TEXT, "config": _DESCRIPTOR, "layers": ListKind(_DESCRIPTOR)},
    always=("schemaVersion", "config", "layers"),
)
_INDEX = _make_struct(
    "Index",
    {"schemaVersion": INTEGER, "mediaType": TEXT, "manifests": ListKind(_DESCRIPTOR)},
    always=("schemaVersion", "manifests"),
)


class StreamedBlobs(BlobSource, Protocol):
    """A source that also streams blobs of any size. Methods raise BuildkitError."""

    def read_pieces(self, digest: str) -> Iterator[bytes]:
        """Yield a blob in pieces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedRecord:
    """A record to export: where its blobs are, and the platform of its worker."""

    record: BuildRecord
    source: StreamedBlobs
    platform: str = ""


class RecordBundle:
    """Makes an archive of records."""

    def __init__(self) -> None:
        self._made: dict[str, bytes] = {}
        self._stored: dict[str, tuple[int, StreamedBlobs]] = {}

    def write(self, records: Sequence[ExportedRecord], stream: BinaryIO) -> None:
        """Write the archive. Raises BuildkitError if a blob is missing, OSError if it cannot be written."""
        described = [self._add_record(one) for one in records]
        if len(described) == 1:
            top = described[0]
        else:
            named = [
                {**one, "annotations": {_REFERENCE: exported.record.ref}}
                for one, exported in zip(described, records, strict=True)
            ]
            top = self._add_json(INDEX, GoValue(_INDEX, _make_index(named)))
        layout = _encode_line({"imageLayoutVersion": "1.0.0"})
        index = encode(GoValue(_INDEX, _make_index([top]))).encode()
        with (
            gzip.GzipFile(fileobj=stream, mode="wb", mtime=0, filename="") as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
        ):
            for name in sorted({"blobs/", "index.json", "oci-layout", *self._list_places()}):
                if name.endswith("/"):
                    _add_folder(archive, name)
                elif name.startswith("blobs/"):
                    self._add_blob(archive, name)
                else:
                    _add_file(archive, name, layout if name == "oci-layout" else index, mode=_MODES[name])

    def _list_places(self) -> Iterator[str]:
        """Yield the folders and files of all blobs."""
        for digest in (*self._made, *self._stored):
            yield f"blobs/{digest.partition(':')[0]}/"
            yield _make_path(digest)

    def _add_blob(self, archive: tarfile.TarFile, name: str) -> None:
        digest = name.removeprefix("blobs/").replace("/", ":")
        if digest in self._made:
            _add_file(archive, name, self._made[digest], mode=_BLOB_MODE)
        else:
            self._copy(archive, name, digest)

    def _copy(self, archive: tarfile.TarFile, name: str, digest: str) -> None:
        """Copy a blob from buildkitd into the archive without holding it in memory."""
        size, source = self._stored[digest]
        reader = _PieceReader(source.read_pieces(digest))
        archive.addfile(_make_member(name, size=size, mode=_BLOB_MODE), reader)
        if reader.read(1):
            raise BuildkitError(f"the blob {digest} is larger than its record says")

    def _add_record(self, exported: ExportedRecord) -> dict[str, Any]:
        record = _remove_secrets(exported.record)
        source = exported.source
        layers: list[dict[str, Any]] = []
        seen: set[str] = set()

        def add(blob: RecordBlob | None) -> dict[str, Any] | None:
            if blob is None or blob.digest in seen:
                return None
            seen.add(blob.digest)
            if not source.has(blob.digest):
                raise BuildkitError(f"the blob {blob.digest} of record {record.ref} is missing")
            self._stored.setdefault(blob.digest, (blob.size, source))
            layers.append(_describe_blob(blob))
            return layers[-1]

        if record.trace is not None:
            seen.add(record.trace.digest)
            record = replace(record, trace=self._add_trace(record.trace, source))
            assert record.trace is not None
            layers.append({**_describe_blob(record.trace), "annotations": {}})
        config = self._add_json(RECORD, GoValue(_RECORD, _describe_record(record, exported.platform)))
        add(record.logs)
        for result in (record.result, *_split_results(record)):
            for attestation in result.attestations if result else ():
                add(attestation)
            for numbered in result.results if result else ():
                if (described := add(numbered.value)) is not None:
                    # As in buildx: another media type, so that nothing below an image's manifest is looked for.
                    notes = {**described["annotations"], _ORIGINAL: described["mediaType"]}
                    described |= {"mediaType": _JSON, "annotations": notes}
            if result is record.result:
                add(record.external_error)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
        return self._add_json(MANIFEST, GoValue(_MANIFEST, manifest))

    def _add_trace(self, blob: RecordBlob, source: BlobSource) -> RecordBlob:
        """Add the trace without the credentials that its attributes may contain."""
        spans = [_mask_span(span) for span in split_documents(source.read(blob.digest))]
        content = "".join(f"{json.dumps(span, indent=2, ensure_ascii=False)}\n" for span in spans).encode()
        digest = self._add(content)
        return RecordBlob(media_type=blob.media_type, digest=digest, size=len(content))

    def _add_json(self, media_type: str, value: GoValue) -> dict[str, Any]:
        content = encode(value, indent="  ").encode()
        return {"mediaType": media_type, "digest": self._add(content), "size": len(content), "annotations": {}}

    def _add(self, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._made[digest] = content
        return digest


class _PieceReader(io.RawIOBase):
    """The pieces of a blob as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, ``size`` of them unless the blob ends."""
        while len(self._rest) < size and (piece := next(self._pieces, None)) is not None:
            self._rest += piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def split_documents(body: bytes) -> Iterator[Any]:
    """Yield the JSON documents of a blob that follow each other. Raises BuildkitError if one is malformed."""
    text = body.decode(errors="replace")
    decoder, position = json.JSONDecoder(), 0
    try:
        while rest := len(text) - position:
            position += rest - len(text[position:].lstrip()) if text[position].isspace() else 0
            if position >= len(text):
                return
            value, position = decoder.raw_decode(text, position)
            yield value
    except (ValueError, RecursionError):
        raise BuildkitError("the record's trace is malformed") from None


def _mask_span(span: Any) -> Any:
    for attribute in span.get("Attributes") or () if isinstance(span, dict) else ():
        value = attribute.get("Value") if isinstance(attribute, dict) else None
        if isinstance(value, dict) and isinstance(value.get("Value"), str):
            value["Value"] = _TOKENS.sub(_MASK, _SECRETS.sub(rf"\1={_MASK}", value["Value"]))
    return span


def _remove_secrets(record: BuildRecord) -> BuildRecord:
    if CACHE_IMPORTS not in record.frontend_attrs:
        return record
    kept = strip_cache_imports(record.frontend_attrs[CACHE_IMPORTS])
    return replace(record, frontend_attrs={**record.frontend_attrs, CACHE_IMPORTS: kept})


def _split_results(record: BuildRecord) -> list[RecordResult]:
    return [record.results[platform] for platform in sorted(record.results)]


def _describe_record(record: BuildRecord, platform: str) -> dict[str, Any]:
    return {
        "Ref": record.ref,
        "Frontend": record.frontend,
        "FrontendAttrs": record.frontend_attrs,
        "Exporters": [{"Type": one.type, "Attrs": one.attrs} for one in record.exporters],
        "error": record.error
        and {
            "code": record.error.code,
            "message": record.error.message,
            "details": [{"type_url": one.type_url, "value": _encode_base64(one.value)} for one in record.error.details],
        },
        "CreatedAt": _describe_moment(record.created_at),
        "CompletedAt": _describe_moment(record.completed_at),
        "logs": _describe_stored(record.logs),
        "ExporterResponse": record.exporter_response,
        "Result": _describe_result(record.result),
        "Results": {platform: _describe_result(one) for platform, one in record.results.items()},
        "Generation": record.generation,
        "trace": _describe_stored(record.trace),
        "pinned": record.pinned,
        "numCachedSteps": record.cached_steps,
        "numTotalSteps": record.total_steps,
        "numCompletedSteps": record.completed_steps,
        "externalError": _describe_stored(record.external_error),
        "numWarnings": record.warnings,
        "DefaultPlatform": platform,
    }


def _encode_base64(value: bytes) -> str:
    import base64

    return base64.b64encode(value).decode()


def _describe_moment(moment: Moment | None) -> dict[str, Any] | None:
    return None if moment is None else {"seconds": moment.seconds, "nanos": moment.nanos}


def _describe_stored(blob: RecordBlob | None) -> dict[str, Any] | None:
    if blob is None:
        return None
    return {"media_type": blob.media_type, "digest": blob.digest, "size": blob.size, "annotations": blob.annotations}


def _describe_result(result: RecordResult | None) -> dict[str, Any] | None:
    if result is None:
        return None
    return {
        "ResultDeprecated": _describe_stored(result.result_deprecated),
        "Attestations": list(map(_describe_stored, result.attestations)),
        "Results": {str(one.key): _describe_stored(one.value) for one in result.results},
    }


def _describe_blob(blob: RecordBlob) -> dict[str, Any]:
    return {
        "mediaType": blob.media_type,
        "digest": blob.digest,
        "size": blob.size,
        "annotations": dict(blob.annotations),
    }


def _make_index(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}


def _encode_line(document: Mapping[str, Any]) -> bytes:
    return encode(GoValue(ANY, document)).encode()


def _make_path(digest: str) -> str:
    algorithm, _, name = digest.partition(":")
    return f"blobs/{algorithm}/{name}"


def _make_member(name: str, *, size: int, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode
    return member


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int) -> None:
    archive.addfile(_make_member(name, size=len(content), mode=mode), io.BytesIO(content))


def _add_folder(archive: tarfile.TarFile, name: str) -> None:
    member = _make_member(name, size=0, mode=0o755)
    member.type = tarfile.DIRTYPE
    archive.addfile(member)
