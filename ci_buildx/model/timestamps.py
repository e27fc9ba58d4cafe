"""Timestamps of HTTP and Kubernetes, parsed to whole seconds since the epoch.

``time.strptime`` would do, but its first call imports ``calendar``, ``locale`` and ``datetime`` and compiles its
patterns: a tenth of a cached build. ``calendar.timegm`` alone is no better.
"""

from __future__ import annotations

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def parse_timestamp(text: str) -> int:
    """Parse RFC 3339 in UTC, ``2026-11-25T20:01:02Z``; fractions of a second are dropped. Raises ValueError."""
    if text[4:5] + text[7:8] + text[10:11] != "--T":
        raise ValueError(f"not a timestamp: {text!r}")
    return _compute_epoch(int(text[:4]), int(text[5:7]), int(text[8:10]), text[11:19])


def parse_http_date(text: str) -> int:
    """Parse a Date header, ``Wed, 25 Nov 2026 20:01:02 GMT`` (RFC 9110, 5.6.7). Raises ValueError."""
    if len(text) != 29 or not text.endswith(" GMT"):
        raise ValueError(f"not an HTTP date: {text!r}")
    return _compute_epoch(int(text[12:16]), _MONTHS.index(text[8:11]) + 1, int(text[5:7]), text[17:25])


def _compute_epoch(year: int, month: int, day: int, clock: str) -> int:
    hour, minute, second = (int(part) for part in clock.split(":"))
    if not (1 <= month <= 12 and 1 <= day <= 31 and 0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 61):
        raise ValueError(f"no such moment: {year}-{month}-{day} {clock}")
    # Counting years from March puts the leap day at the end and makes the average month 30.6 days.
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    leap_days = year // 4 - year // 100 + year // 400
    days = year * 365 + leap_days + (month * 153 + 2) // 5 + day - 1 - 719_468
    return ((days * 24 + hour) * 60 + minute) * 60 + second
