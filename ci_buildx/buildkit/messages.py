"""Messages of the Control service, as defined in ``control.proto``."""

from __future__ import annotations

from typing import Any

from ci_buildx.model import platform
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.status import StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from ci_buildx.settings.values import SourceConstraint, SourcePolicy, SourceRule, SourceSelector, SourceUpdate
from ci_buildx.wire.protobuf import (
    BOOLEAN,
    BYTES,
    INTEGER,
    TEXT,
    TIME,
    MessageSchema,
    make_field,
    make_map_field,
    make_repeated_field,
)

CALL = "requestid"
"""The attribute that names a call (BuildKit 0.34.2, ``frontend/dockerui/requests.go``)."""


@dataclass(frozen=True, slots=True)
class ExporterEntry:
    """An exporter, a cache import or a cache export: type and attributes."""

    type: str
    attrs: dict[str, str]


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Where the build's cache is exported to and imported from."""

    exports: tuple[ExporterEntry, ...] = ()
    imports: tuple[ExporterEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveRequest:
    """One build; an ``internal`` one leaves no record in the daemon's history.

    The deprecated fields repeat the first exporter for daemons before 0.13, as buildx does.
    """

    ref: str
    session: str
    frontend: str
    frontend_attrs: dict[str, str]
    exporters: tuple[ExporterEntry, ...]
    cache: CacheOptions
    entitlements: tuple[str, ...] = ()
    internal: bool = False
    source_policy: SourcePolicy | None = None

    @property
    def is_call(self) -> bool:
        """Whether this is a frontend call instead of a build."""
        return CALL in self.frontend_attrs

    @property
    def exporter_deprecated(self) -> str:
        """The first exporter's type."""
        return self.exporters[0].type if self.exporters else ""

    @property
    def exporter_attrs_deprecated(self) -> dict[str, str]:
        """The first exporter's attributes."""
        return self.exporters[0].attrs if self.exporters else {}


@dataclass(frozen=True, slots=True)
class BuildkitVersion:
    """The version of a buildkitd: Go package, version (``v0.34.2``), revision."""

    package: str = ""
    version: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class GcPolicy:
    """A rule for a worker's automatic cache cleanup: duration in nanoseconds, sizes in bytes."""

    all: bool = False
    keep_duration: int = 0
    reserved_space: int = 0
    filters: tuple[str, ...] = ()
    max_used_space: int = 0
    min_free_space: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of a buildkitd, which runs build steps; ``version`` is buildkitd's, "" before 0.10."""

    id: str
    platforms: tuple[Platform, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    version: str = ""
    gc_policy: tuple[GcPolicy, ...] = ()


@dataclass(frozen=True, slots=True)
class DiskUsageRequest:
    """Filters for cache records: each is a comma-separated list that must match entirely; one match suffices."""

    filter: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PruneRequest:
    """Which cache records to delete: those that match ``filter``, unused for ``keep_duration`` nanoseconds.

    The sizes, in bytes, limit how much is kept; ``all`` includes frontends and internal records.
    """

    filter: tuple[str, ...] = ()
    all: bool = False
    keep_duration: int = 0
    reserved_space: int = 0
    max_used_space: int = 0
    min_free_space: int = 0


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """A cache record: sizes in bytes, times in seconds since the epoch."""

    id: str = ""
    mutable: bool = False
    in_use: bool = False
    size: int = 0
    created: float | None = None
    last_used: float | None = None
    usage_count: int = 0
    description: str = ""
    type: str = ""
    shared: bool = False
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RpcStatus:
    """``google.rpc.Status``, the content of gRPC's ``grpc-status-details-bin``."""

    code: int = 0
    message: str = ""
    details: tuple[StatusDetail, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusDetail:
    """``google.protobuf.Any``."""

    type_url: str = ""
    value: bytes = b""


def _make_worker(*, version: BuildkitVersion | None, **fields: Any) -> Worker:
    return Worker(version=version.version if version else "", **fields)


def _make_platform(architecture: str, os: str, variant: str) -> Platform:
    return platform.parse_platform("/".join(part for part in (os, architecture, variant) if part))


@dataclass(frozen=True, slots=True)
class _WarningSource:
    filename: str = ""
    data: bytes = b""
    language: str = ""


def _make_warning(*, info: _WarningSource | None, **fields: Any) -> VertexWarning:
    source = info or _WarningSource()
    return VertexWarning(filename=source.filename, source=source.data, language=source.language, **fields)


def _make_range(start: int | None, end: int | None) -> tuple[int, int]:
    """Return the first and the last line."""
    return start or 0, max(start or 0, end or 0)


def _read_only_field(**field: Any) -> Any:
    """Return the value of a message's only field."""
    (value,) = field.values()
    return value


# Tables of control.proto, written by dev/protos.py.
ENTRY = MessageSchema(ExporterEntry, make_field(1, "type", TEXT), make_map_field(2, "attrs"))
_CACHE = MessageSchema(CacheOptions, make_repeated_field(4, "exports", ENTRY), make_repeated_field(5, "imports", ENTRY))
_CONSTRAINT = MessageSchema(
    SourceConstraint, make_field(1, "key", TEXT), make_field(2, "value", TEXT), make_field(3, "condition", INTEGER)
)
_SELECTOR = MessageSchema(
    SourceSelector,
    make_field(1, "identifier", TEXT),
    make_field(2, "match_type", INTEGER),
    make_repeated_field(3, "constraints", _CONSTRAINT),
)
_UPDATE = MessageSchema(SourceUpdate, make_field(1, "identifier", TEXT), make_map_field(2, "attrs"))
_RULE = MessageSchema(
    SourceRule,
    make_field(1, "action", INTEGER),
    make_field(2, "selector", _SELECTOR),
    make_field(3, "updates", _UPDATE),
)
_POLICY = MessageSchema(SourcePolicy, make_field(1, "version", INTEGER), make_repeated_field(2, "rules", _RULE))
SOLVE_REQUEST = MessageSchema(
    SolveRequest,
    make_field(1, "ref", TEXT),
    make_field(3, "exporter_deprecated", TEXT),
    make_map_field(4, "exporter_attrs_deprecated"),
    make_field(5, "session", TEXT),
    make_field(6, "frontend", TEXT),
    make_map_field(7, "frontend_attrs"),
    make_field(8, "cache", _CACHE),
    make_repeated_field(9, "entitlements", TEXT),
    make_field(11, "internal", BOOLEAN),
    make_field(12, "source_policy", _POLICY),
    make_repeated_field(13, "exporters", ENTRY),
)
SOLVE_RESPONSE: MessageSchema[dict[str, str]] = MessageSchema(_read_only_field, make_map_field(1, "exporter_response"))
_VERTEX = MessageSchema(
    Vertex,
    make_field(1, "digest", TEXT),
    make_repeated_field(2, "inputs", TEXT),
    make_field(3, "name", TEXT),
    make_field(4, "cached", BOOLEAN),
    make_field(5, "started", TIME),
    make_field(6, "completed", TIME),
    make_field(7, "error", TEXT),
)
_VERTEX_STATUS = MessageSchema(
    VertexStatus,
    make_field(1, "id", TEXT),
    make_field(2, "vertex", TEXT),
    make_field(3, "name", TEXT),
    make_field(4, "current", INTEGER),
    make_field(5, "total", INTEGER),
    make_field(6, "timestamp", TIME),
    make_field(7, "started", TIME),
    make_field(8, "completed", TIME),
)
_VERTEX_LOG = MessageSchema(
    VertexLog,
    make_field(1, "vertex", TEXT),
    make_field(2, "timestamp", TIME),
    make_field(3, "stream", INTEGER),
    make_field(4, "data", BYTES),
)
_SOURCE = MessageSchema(
    _WarningSource, make_field(1, "filename", TEXT), make_field(2, "data", BYTES), make_field(4, "language", TEXT)
)
_LINE: MessageSchema[int] = MessageSchema(_read_only_field, make_field(1, "line", INTEGER))
_RANGE = MessageSchema(_make_range, make_field(1, "start", _LINE), make_field(2, "end", _LINE))
_VERTEX_WARNING = MessageSchema(
    _make_warning,
    make_field(1, "vertex", TEXT),
    make_field(2, "level", INTEGER),
    make_field(3, "short", TEXT),
    make_repeated_field(4, "detail", TEXT),
    make_field(5, "url", TEXT),
    make_field(6, "info", _SOURCE),
    make_repeated_field(7, "ranges", _RANGE),
)
STATUS_RESPONSE = MessageSchema(
    StatusUpdate,
    make_repeated_field(1, "vertexes", _VERTEX),
    make_repeated_field(2, "statuses", _VERTEX_STATUS),
    make_repeated_field(3, "logs", _VERTEX_LOG),
    make_repeated_field(4, "warnings", _VERTEX_WARNING),
)
DISK_USAGE_REQUEST = MessageSchema(DiskUsageRequest, make_repeated_field(1, "filter", TEXT))
USAGE_RECORD = MessageSchema(
    UsageRecord,
    make_field(1, "id", TEXT),
    make_field(2, "mutable", BOOLEAN),
    make_field(3, "in_use", BOOLEAN),
    make_field(4, "size", INTEGER),
    make_field(6, "created", TIME),
    make_field(7, "last_used", TIME),
    make_field(8, "usage_count", INTEGER),
    make_field(9, "description", TEXT),
    make_field(10, "type", TEXT),
    make_field(11, "shared", BOOLEAN),
    make_repeated_field(12, "parents", TEXT),
)
DISK_USAGE_RESPONSE: MessageSchema[tuple[UsageRecord, ...]] = MessageSchema(
    _read_only_field, make_repeated_field(1, "record", USAGE_RECORD)
)
PRUNE_REQUEST = MessageSchema(
    PruneRequest,
    make_repeated_field(1, "filter", TEXT),
    make_field(2, "all", BOOLEAN),
    make_field(3, "keep_duration", INTEGER),
    make_field(4, "reserved_space", INTEGER),
    make_field(5, "max_used_space", INTEGER),
    make_field(6, "min_free_space", INTEGER),
)
_PLATFORM = MessageSchema(
    _make_platform, make_field(1, "architecture", TEXT), make_field(2, "os", TEXT), make_field(3, "variant", TEXT)
)
_GC_POLICY = MessageSchema(
    GcPolicy,
    make_field(1, "all", BOOLEAN),
    make_field(2, "keep_duration", INTEGER),
    make_field(3, "reserved_space", INTEGER),
    make_repeated_field(4, "filters", TEXT),
    make_field(5, "max_used_space", INTEGER),
    make_field(6, "min_free_space", INTEGER),
)
_VERSION = MessageSchema(
    BuildkitVersion, make_field(1, "package", TEXT), make_field(2, "version", TEXT), make_field(3, "revision", TEXT)
)
_WORKER = MessageSchema(
    _make_worker,
    make_field(1, "id", TEXT),
    make_map_field(2, "labels"),
    make_repeated_field(3, "platforms", _PLATFORM),
    make_repeated_field(4, "gc_policy", _GC_POLICY),
    make_field(5, "version", _VERSION),
)
LIST_WORKERS_RESPONSE: MessageSchema[tuple[Worker, ...]] = MessageSchema(
    _read_only_field, make_repeated_field(1, "record", _WORKER)
)
INFO_RESPONSE: MessageSchema[BuildkitVersion | None] = MessageSchema(
    _read_only_field, make_field(1, "version", _VERSION)
)
_DETAIL = MessageSchema(StatusDetail, make_field(1, "type_url", TEXT), make_field(2, "value", BYTES))
RPC_STATUS = MessageSchema(
    RpcStatus,
    make_field(1, "code", INTEGER),
    make_field(2, "message", TEXT),
    make_repeated_field(3, "details", _DETAIL),
)
# End of the tables.
