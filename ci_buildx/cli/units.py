"""Sizes and times as docker's tools write and read them (docker/go-units 0.5.0)."""

from __future__ import annotations

import re

from ci_buildx.errors import InputError

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(?P<unit>[kKmMgGtTpP]?)(?:[iI]?[bB])?")
_POWERS = "kmgtp"


def size(count: float) -> str:
    """Bytes with four digits, in thousands: ``2.746MB``."""
    return _scaled(count, 1000.0, _DECIMAL)


def binary_size(count: float) -> str:
    """Bytes with four digits, in steps of 1024: ``44KiB``."""
    return _scaled(count, 1024.0, _BINARY)


def read_size(text: str, *, source: str) -> int:
    """Bytes of ``10GB``, ``512mb`` or ``2048``; units are powers of 1024, as docker reads sizes (``RAMInBytes``)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{text!r} is not a size", source=source, fix="write it like 512MB or 10GB")
    power = _POWERS.index(match["unit"].lower()) + 1 if match["unit"] else 0
    return int(float(match["number"]) * 1024**power)


def duration(seconds: float) -> str:
    """About how long: ``Less than a second``, ``About a minute``, ``4 hours``."""
    whole, minutes = int(seconds), int(seconds / 60)
    hours = int(seconds / 3600 + 0.5)
    steps = (
        (whole < 1, "Less than a second"),
        (whole == 1, "1 second"),
        (whole < 60, f"{whole} seconds"),
        (minutes == 1, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 7 * 2, f"{hours // 24} days"),
        (hours < 24 * 30 * 2, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 365 * 2, f"{hours // 24 // 30} months"),
    )
    return next((text for holds, text in steps if holds), f"{int(seconds / 3600) // 24 // 365} years")


def go_duration(nanoseconds: int) -> str:
    """A duration as Go's ``time.Duration`` prints it, in whole seconds: ``48h0m0s``."""
    seconds = nanoseconds // 1_000_000_000
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _scaled(count: float, base: float, units: tuple[str, ...]) -> str:
    step = 0
    while count >= base and step < len(units) - 1:
        count, step = count / base, step + 1
    return f"{count:.4g}{units[step]}"
