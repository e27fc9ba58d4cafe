"""Dates in the formats of moment.js 2.30 (its documentation, "Format"), which metadata-action's expressions use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from ci_buildx.errors import InputError

_LOCALE = {
    "LTS": "h:mm:ss A",
    "LT": "h:mm A",
    "LLLL": "dddd, MMMM D, YYYY h:mm A",
    "LLL": "MMMM D, YYYY h:mm A",
    "LL": "MMMM D, YYYY",
    "L": "MM/DD/YYYY",
}
_TOKEN = re.compile(
    r"\[(?P<literal>[^\]]*)\]|(?P<locale>LTS|LT|LL?L?L?)"
    r"|YYYY|YY|Qo|Q|MMMM|MMM|MM|Mo|M|DDDD|DDD|DD|Do|D|dddd|ddd|dd|d|E|e|GGGG|WW|W"
    r"|HH|H|hh|h|kk|k|mm|m|ss|s|S{1,9}|ZZ|Z|zz|z|A|a|X|x"
)
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def in_zone(when: datetime, zone: str, *, source: str) -> datetime:
    """The moment by the clocks of a zone of the tz database, such as ``Asia/Tokyo``. Raises InputError."""
    from zoneinfo import ZoneInfo

    try:
        return when.astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        fix = "write a name such as Europe/Berlin, and see that the system has tzdata"
        raise InputError(f"unknown time zone {zone!r}", source=source, fix=fix) from error


def formatted(when: datetime, pattern: str) -> str:
    """The moment as ``pattern`` says; without one as ISO 8601."""
    return _TOKEN.sub(lambda found: _replace(found, when), pattern or "YYYY-MM-DDTHH:mm:ss") + (
        "" if pattern else _iso_zone(when)
    )


def _replace(found: re.Match[str], when: datetime) -> str:
    if found["literal"] is not None:
        return found["literal"]
    if found["locale"]:
        return formatted(when, _LOCALE[found["locale"]])
    token = found[0]
    if token.startswith("S"):
        return f"{when.microsecond:06d}000"[: len(token)]
    return _WRITERS[token](when)


def _iso_zone(when: datetime) -> str:
    offset = _offset(when, ":")
    return "Z" if offset == "+00:00" else offset


def _offset(when: datetime, colon: str) -> str:
    minutes = round((when.utcoffset() or when - when).total_seconds() / 60)
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}{colon}{rest:02d}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


_WRITERS: Mapping[str, Callable[[datetime], str]] = {
    "YYYY": lambda when: f"{when.year:04d}",
    "YY": lambda when: f"{when.year % 100:02d}",
    "Q": lambda when: str((when.month + 2) // 3),
    "Qo": lambda when: _ordinal((when.month + 2) // 3),
    "MMMM": lambda when: _MONTHS[when.month - 1],
    "MMM": lambda when: _MONTHS[when.month - 1][:3],
    "MM": lambda when: f"{when.month:02d}",
    "Mo": lambda when: _ordinal(when.month),
    "M": lambda when: str(when.month),
    "DDDD": lambda when: f"{when.timetuple().tm_yday:03d}",
    "DDD": lambda when: str(when.timetuple().tm_yday),
    "DD": lambda when: f"{when.day:02d}",
    "Do": lambda when: _ordinal(when.day),
    "D": lambda when: str(when.day),
    "dddd": lambda when: _DAYS[when.weekday()],
    "ddd": lambda when: _DAYS[when.weekday()][:3],
    "dd": lambda when: _DAYS[when.weekday()][:2],
    "d": lambda when: str(when.isoweekday() % 7),
    "e": lambda when: str(when.isoweekday() % 7),
    "E": lambda when: str(when.isoweekday()),
    "GGGG": lambda when: str(when.isocalendar().year),
    "WW": lambda when: f"{when.isocalendar().week:02d}",
    "W": lambda when: str(when.isocalendar().week),
    "HH": lambda when: f"{when.hour:02d}",
    "H": lambda when: str(when.hour),
    "hh": lambda when: f"{(when.hour - 1) % 12 + 1:02d}",
    "h": lambda when: str((when.hour - 1) % 12 + 1),
    "kk": lambda when: f"{when.hour or 24:02d}",
    "k": lambda when: str(when.hour or 24),
    "mm": lambda when: f"{when.minute:02d}",
    "m": lambda when: str(when.minute),
    "ss": lambda when: f"{when.second:02d}",
    "s": lambda when: str(when.second),
    "ZZ": lambda when: _offset(when, ""),
    "Z": lambda when: _offset(when, ":"),
    "zz": lambda when: when.tzname() or "",
    "z": lambda when: when.tzname() or "",
    "A": lambda when: "AM" if when.hour < 12 else "PM",
    "a": lambda when: "am" if when.hour < 12 else "pm",
    "X": lambda when: str(int(when.timestamp())),
    "x": lambda when: str(int(when.timestamp() * 1000)),
}
