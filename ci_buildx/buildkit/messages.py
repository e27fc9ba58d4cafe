"""Messages of the Control service; ``control.proto`` is their definition."""

from __future__ import annotations

from typing import Any

from ci_buildx.model import platform
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.status import StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from ci_buildx.protobuf.schema import BOOLEAN, BYTES, INTEGER, TEXT, TIME, Schema, many, mapping, one
from ci_buildx.settings.values import Constraint, SourcePolicy, SourceRule, SourceSelector, SourceUpdate

CALL = "requestid"
"""The attribute that names a call (BuildKit 0.34.2, ``frontend/dockerui/requests.go``)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An exporter, or a cache to import from or export to: its type and attributes."""

    type: str
    attrs: dict[str, str]


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Where the build's cache goes to and comes from."""

    exports: tuple[Entry, ...] = ()
    imports: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveRequest:
    """One build; an ``internal`` one leaves no record in the daemon's history.

    The deprecated fields repeat the first exporter for daemons before 0.13, as buildx does.
    """

    ref: str
    session: str
    frontend: str
    frontend_attrs: dict[str, str]
    exporters: tuple[Entry, ...]
    cache: CacheOptions
    entitlements: tuple[str, ...] = ()
    internal: bool = False
    source_policy: SourcePolicy | None = None

    @property
    def is_call(self) -> bool:
        """Whether the frontend is asked something instead of being told to build."""
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
class Version:
    """Which buildkitd this is: Go package, version (``v0.34.2``), revision."""

    package: str = ""
    version: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class GcPolicy:
    """A rule by which a worker clears its cache by itself: a duration in nanoseconds, sizes in bytes."""

    all: bool = False
    keep_duration: int = 0
    reserved_space: int = 0
    filters: tuple[str, ...] = ()
    max_used_space: int = 0
    min_free_space: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """What can run build steps in a buildkitd. ``version`` is buildkitd's, "" before 0.10."""

    id: str
    platforms: tuple[Platform, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    version: str = ""
    gc_policy: tuple[GcPolicy, ...] = ()


@dataclass(frozen=True, slots=True)
class DiskUsageRequest:
    """Each of ``filter`` is a list between commas, all of which must hold; a record must fit one of them."""

    filter: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PruneRequest:
    """What of the cache may go: what fits ``filter`` and was not used for ``keep_duration`` nanoseconds.

    The sizes, in bytes, say how much may stay; ``all`` takes in frontends and internal records.
    """

    filter: tuple[str, ...] = ()
    all: bool = False
    keep_duration: int = 0
    reserved_space: int = 0
    max_used_space: int = 0
    min_free_space: int = 0


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One record of the cache: bytes, and times in seconds since the epoch."""

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
    """``google.rpc.Status``: what gRPC's ``grpc-status-details-bin`` holds."""

    code: int = 0
    message: str = ""
    details: tuple[Detail, ...] = ()


@dataclass(frozen=True, slots=True)
class Detail:
    """``google.protobuf.Any``."""

    type_url: str = ""
    value: bytes = b""


def _worker(*, version: Version | None, **fields: Any) -> Worker:
    return Worker(version=version.version if version else "", **fields)


def _platform(architecture: str, os: str, variant: str) -> Platform:
    return platform.parse("/".join(part for part in (os, architecture, variant) if part))


@dataclass(frozen=True, slots=True)
class _Source:
    filename: str = ""
    data: bytes = b""
    language: str = ""


def _warning(*, info: _Source | None, **fields: Any) -> VertexWarning:
    source = info or _Source()
    return VertexWarning(filename=source.filename, source=source.data, language=source.language, **fields)


def _range(start: int | None, end: int | None) -> tuple[int, int]:
    """The first and the last line."""
    return start or 0, max(start or 0, end or 0)


def _only(**field: Any) -> Any:
    """The value of a message's only field."""
    (value,) = field.values()
    return value


# Tables of control.proto, written by dev/protos.py.
_ENTRY = Schema(Entry, one(1, "type", TEXT), mapping(2, "attrs"))
_CACHE = Schema(CacheOptions, many(4, "exports", _ENTRY), many(5, "imports", _ENTRY))
_CONSTRAINT = Schema(Constraint, one(1, "key", TEXT), one(2, "value", TEXT), one(3, "condition", INTEGER))
_SELECTOR = Schema(
    SourceSelector, one(1, "identifier", TEXT), one(2, "match_type", INTEGER), many(3, "constraints", _CONSTRAINT)
)
_UPDATE = Schema(SourceUpdate, one(1, "identifier", TEXT), mapping(2, "attrs"))
_RULE = Schema(SourceRule, one(1, "action", INTEGER), one(2, "selector", _SELECTOR), one(3, "updates", _UPDATE))
_POLICY = Schema(SourcePolicy, one(1, "version", INTEGER), many(2, "rules", _RULE))
SOLVE_REQUEST = Schema(
    SolveRequest,
    one(1, "ref", TEXT),
    one(3, "exporter_deprecated", TEXT),
    mapping(4, "exporter_attrs_deprecated"),
    one(5, "session", TEXT),
    one(6, "frontend", TEXT),
    mapping(7, "frontend_attrs"),
    one(8, "cache", _CACHE),
    many(9, "entitlements", TEXT),
    one(11, "internal", BOOLEAN),
    one(12, "source_policy", _POLICY),
    many(13, "exporters", _ENTRY),
)
SOLVE_RESPONSE: Schema[dict[str, str]] = Schema(_only, mapping(1, "exporter_response"))
_VERTEX = Schema(
    Vertex,
    one(1, "digest", TEXT),
    many(2, "inputs", TEXT),
    one(3, "name", TEXT),
    one(4, "cached", BOOLEAN),
    one(5, "started", TIME),
    one(6, "completed", TIME),
    one(7, "error", TEXT),
)
_VERTEX_STATUS = Schema(
    VertexStatus,
    one(1, "id", TEXT),
    one(2, "vertex", TEXT),
    one(3, "name", TEXT),
    one(4, "current", INTEGER),
    one(5, "total", INTEGER),
    one(6, "timestamp", TIME),
    one(7, "started", TIME),
    one(8, "completed", TIME),
)
_VERTEX_LOG = Schema(
    VertexLog, one(1, "vertex", TEXT), one(2, "timestamp", TIME), one(3, "stream", INTEGER), one(4, "data", BYTES)
)
_SOURCE = Schema(_Source, one(1, "filename", TEXT), one(2, "data", BYTES), one(4, "language", TEXT))
_LINE: Schema[int] = Schema(_only, one(1, "line", INTEGER))
_RANGE = Schema(_range, one(1, "start", _LINE), one(2, "end", _LINE))
_VERTEX_WARNING = Schema(
    _warning,
    one(1, "vertex", TEXT),
    one(2, "level", INTEGER),
    one(3, "short", TEXT),
    many(4, "detail", TEXT),
    one(5, "url", TEXT),
    one(6, "info", _SOURCE),
    many(7, "ranges", _RANGE),
)
STATUS_RESPONSE = Schema(
    StatusUpdate,
    many(1, "vertexes", _VERTEX),
    many(2, "statuses", _VERTEX_STATUS),
    many(3, "logs", _VERTEX_LOG),
    many(4, "warnings", _VERTEX_WARNING),
)
DISK_USAGE_REQUEST = Schema(DiskUsageRequest, many(1, "filter", TEXT))
USAGE_RECORD = Schema(
    UsageRecord,
    one(1, "id", TEXT),
    one(2, "mutable", BOOLEAN),
    one(3, "in_use", BOOLEAN),
    one(4, "size", INTEGER),
    one(6, "created", TIME),
    one(7, "last_used", TIME),
    one(8, "usage_count", INTEGER),
    one(9, "description", TEXT),
    one(10, "type", TEXT),
    one(11, "shared", BOOLEAN),
    many(12, "parents", TEXT),
)
DISK_USAGE_RESPONSE: Schema[tuple[UsageRecord, ...]] = Schema(_only, many(1, "record", USAGE_RECORD))
PRUNE_REQUEST = Schema(
    PruneRequest,
    many(1, "filter", TEXT),
    one(2, "all", BOOLEAN),
    one(3, "keep_duration", INTEGER),
    one(4, "reserved_space", INTEGER),
    one(5, "max_used_space", INTEGER),
    one(6, "min_free_space", INTEGER),
)
_PLATFORM = Schema(_platform, one(1, "architecture", TEXT), one(2, "os", TEXT), one(3, "variant", TEXT))
_GC_POLICY = Schema(
    GcPolicy,
    one(1, "all", BOOLEAN),
    one(2, "keep_duration", INTEGER),
    one(3, "reserved_space", INTEGER),
    many(4, "filters", TEXT),
    one(5, "max_used_space", INTEGER),
    one(6, "min_free_space", INTEGER),
)
_VERSION = Schema(Version, one(1, "package", TEXT), one(2, "version", TEXT), one(3, "revision", TEXT))
_WORKER = Schema(
    _worker,
    one(1, "id", TEXT),
    mapping(2, "labels"),
    many(3, "platforms", _PLATFORM),
    many(4, "gc_policy", _GC_POLICY),
    one(5, "version", _VERSION),
)
LIST_WORKERS_RESPONSE: Schema[tuple[Worker, ...]] = Schema(_only, many(1, "record", _WORKER))
INFO_RESPONSE: Schema[Version | None] = Schema(_only, one(1, "version", _VERSION))
_DETAIL = Schema(Detail, one(1, "type_url", TEXT), one(2, "value", BYTES))
RPC_STATUS = Schema(RpcStatus, one(1, "code", INTEGER), one(2, "message", TEXT), many(3, "details", _DETAIL))
# End of the tables.
