"""Durations: Go's syntax (``2m``, ``1h30m``, ``1.5s``) or plain seconds."""

from __future__ import annotations

from ci_buildx.errors import InputError
from ci_buildx.model.pattern import pattern

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})"
_PART = pattern(rf"(?P<number>{_NUMBER})(?P<unit>{'|'.join(_UNITS)})")
_PLAIN = pattern(_NUMBER)


def parse_duration(text: str, *, source: str) -> float:
    """Seconds, more than zero. The units are those of Go's ``time.ParseDuration``."""
    seconds = _read(text.strip())
    if seconds is None:
        raise InputError(f"{text!r} is not a duration", source=source, fix="write it like 90s, 2m or 1h30m")
    if seconds <= 0:
        raise InputError(f"duration {text!r} must be more than zero", source=source)
    return seconds


def _read(text: str) -> float | None:
    if _PLAIN.fullmatch(text):
        return float(text)
    total = 0.0
    position = 0
    while match := _PART.match(text, position):
        total += float(match["number"]) * _UNITS[match["unit"]]
        position = match.end()
    return total if text and position == len(text) else None
