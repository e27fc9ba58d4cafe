"""Filters of ``history ls``, as buildx 0.38.2 reads them (``commands/history/utils.go``)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from ci_buildx.errors import InputError
from ci_buildx.history.records import MOST_RECORDS, PlacedRecord, is_git_url, parse_time
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.syntax import parse_duration

VALUES = ("ref", "repository", "status")
TIMES = ("startedAt", "completedAt", "duration")
_SEPARATORS = ("!=", "<=", ">=", "=", "<", ">")
_SECOND = 1_000_000_000
_SOURCE = "--filter"
_PLAIN = compile_lazily(r"[A-Za-z]+[=~!<>]+[\w./:@+-]+", re.ASCII)
"""Conditions that need no quotes in containerd's filters, which take them as regular expressions."""

Matcher = Callable[[PlacedRecord], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilters:
    """Conditions that all must hold: for buildkitd, which limits the number of records, and for running builds.

    buildkitd does not apply its filters to running builds.
    """

    conditions: tuple[str, ...] = ()
    matchers: tuple[Matcher, ...] = ()

    @property
    def filter(self) -> tuple[str, ...]:
        """The filters of the request: one line of CSV, as buildkitd joins lines by "or"."""
        plain = [one for one in self.conditions if _PLAIN.fullmatch(one)]
        return (",".join(plain),) if plain else ()

    @property
    def limit(self) -> int:
        """The limit of the request: none if buildkitd cannot be sent all conditions."""
        return MOST_RECORDS if all(map(_PLAIN.fullmatch, self.conditions)) else 0

    def accepts(self, found: PlacedRecord) -> bool:
        """Return whether a record fulfils all conditions."""
        return all(matches(found) for matches in self.matchers)


def read_filters(texts: Sequence[str], *, now: float | None = None) -> RecordFilters:
    """Parse filters such as ``status=error``; ``now`` (epoch seconds) is for ages. Raises InputError."""
    now = time.time() if now is None else now
    conditions, matchers = [], []
    for text in texts:
        key, separator, value = _split(text)
        if key not in VALUES + TIMES:
            raise InputError(f"unknown filter {key!r}", source=_SOURCE, fix=suggest_name(key, VALUES + TIMES))
        known = ("=", "!=") if key in VALUES else ("<=", "<", ">=", ">")
        if separator not in known:
            raise InputError(f"{text!r} needs one of {' '.join(known)}", source=_SOURCE)
        matchers.append(
            _match_value(key, separator, value) if key in VALUES else _match_time(key, separator, value, now)
        )
        shown = {"status": "=="}.get(key, "~=") if separator == "=" else separator
        conditions.append(f"{key}{shown}{value}")
    return RecordFilters(conditions=tuple(conditions), matchers=tuple(matchers))


def _split(text: str) -> tuple[str, str, str]:
    places = [(text.find(one), -len(one), one) for one in _SEPARATORS if one in text]
    if not places:
        raise InputError(f"invalid filter {text!r}", source=_SOURCE, fix="write it like status=error or duration>2m")
    _, _, separator = min(places)
    key, _, value = text.partition(separator)
    return key, separator, value


def _match_value(key: str, separator: str, value: str) -> Matcher:
    read = {"ref": lambda found: found.ref, "repository": _read_repository, "status": _read_status}[key]
    if separator == "!=":
        return lambda found: read(found) != value
    if key == "status":
        return lambda found: read(found) == value
    return lambda found: value in read(found)


def _read_repository(found: PlacedRecord) -> str:
    attrs = found.record.frontend_attrs
    context = attrs.get("context", "")
    remote = context.partition("#")[0].partition("?")[0] if is_git_url(context) else ""
    return attrs.get("vcs:source", remote)


def _read_status(found: PlacedRecord) -> str:
    if found.completed is None:
        return "running"
    error = found.record.error
    if error is None:
        return "completed"
    return "canceled" if "context canceled" in error.message else "error"


def _match_time(key: str, separator: str, value: str, now: float) -> Matcher:
    limit = _read_limit(key, value, now)

    def read(found: PlacedRecord) -> int:
        if key == "startedAt":
            return found.created // _SECOND
        if found.completed is None:
            return 0
        return found.completed // _SECOND if key == "completedAt" else found.completed - found.created

    match separator:
        case "<=":
            return lambda found: read(found) <= limit
        case "<":
            return lambda found: read(found) < limit
        case ">=":
            return lambda found: read(found) >= limit
        case _:
            return lambda found: read(found) > limit


def _read_limit(key: str, value: str, now: float) -> int:
    """Return a duration in nanoseconds, or a time in seconds since the epoch."""
    if key == "duration":
        return round(parse_duration(value, source=f"{_SOURCE} {key}") * _SECOND)
    try:
        return parse_time(value) // _SECOND
    except ValueError:
        return int(now - parse_duration(value, source=f"{_SOURCE} {key}"))
