"""Filters of the cache, as buildx 0.38.2 reads them (``commands/prune.go``, ``toBuildkitPruneInfo``)."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.settings.durations import parse_duration
from ci_buildx.settings.nearest import suggest
from ci_buildx.settings.option import Group, Kind, Option

AGES = ("until", "unused-for")
KEYS = ("id", "parents", "description", "inuse", "mutable", "immutable", "shared", "private", "type", *AGES)
"""What BuildKit 0.34.2 knows of a record (``cache/manager.go``, ``adaptUsageInfo``), and the ages."""
OPTION = Option(
    name="filter",
    flags=("--filter",),
    kind=Kind.LINES,
    metavar="KEY[=VALUE]",
    group=Group.BUILDER,
    help="only records of which this holds: id=, parents=, description=, type=, until=DURATION (not used for so "
    "long), inuse, mutable, immutable, shared or private; KEY~=REGEX and KEY!=VALUE work, too",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What BuildKit is asked for: its filter, and nanoseconds for which a record was not used."""

    filter: tuple[str, ...] = ()
    keep_duration: int = 0


def read(texts: Sequence[str]) -> Filters:
    """All filters together. Raises InputError."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        name = key.rstrip("!~")
        if name not in KEYS:
            raise InputError(f"unknown filter {name!r}", source="--filter", fix=suggest(name, KEYS))
        if key in found:
            raise InputError(f"filter {key!r} is given twice", source="--filter")
        found[key] = value if equals else ""
    ages = [key for key in AGES if key in found]
    if len(ages) > 1:
        raise InputError("'until' and 'unused-for' are the same", source="--filter", fix="give one of them")
    seconds = parse_duration(found.pop(ages[0]), source=f"--filter {ages[0]}") if ages else 0.0
    parts = [_clause(key, value) for key, value in found.items()]
    return Filters(filter=(",".join(parts),) if parts else (), keep_duration=round(seconds * 1e9))


def _clause(key: str, value: str) -> str:
    if not value:
        return key
    if key == "id":
        return f"id~={value}"
    return f"{key}={value}" if key.endswith(("!", "~")) else f"{key}=={value}"
