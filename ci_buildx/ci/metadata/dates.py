"""Dates in the formats of moment.js 2.30 (its documentation, "Format"), which metadata-action's expressions use.

All of its tokens in the locale "en"; what is none of them is text, as there.
"""

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
    "llll": "ddd, MMM D, YYYY h:mm A",
    "lll": "MMM D, YYYY h:mm A",
    "ll": "MMM D, YYYY",
    "l": "M/D/YYYY",
}
_LOCALE_TOKEN = re.compile(r"\[[^\[]*\]|\\?(?:LTS|LT|LL?L?L?|l{1,4})")
_TOKEN = re.compile(
    r"\[[^\[]*\]|\\?(?:[Hh]mm(?:ss)?|Mo|MM?M?M?|Do|DDDo|DD?D?D?|ddd?d?|do?|w[o|w]?|W[o|W]?|Qo?|N{1,5}"
    r"|YYYYYY|YYYYY|YYYY|YY|y{2,4}|yo?|gg(?:ggg?)?|GG(?:GGG?)?|e|E|a|A|hh?|HH?|kk?|mm?|ss?|S{1,9}|x|X|zz?|ZZ?|.)"
    r"|\n"
)
"""moment 2.30.1, ``src/lib/format/format.js``; what it finds and knows no function for is text."""
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
        if known := _any_case(zone):
            return when.astimezone(ZoneInfo(known))
        fix = "write a name such as Europe/Berlin, and see that the system has tzdata"
        raise InputError(f"unknown time zone {zone!r}", source=source, fix=fix) from error


def _any_case(zone: str) -> str:
    """The zone's name in its own spelling: moment-timezone does not tell upper from lower case."""
    from zoneinfo import available_timezones

    return next((name for name in available_timezones() if name.lower() == zone.lower() != name), "")


def formatted(when: datetime, pattern: str) -> str:
    """The moment as ``pattern`` says; without one as ISO 8601."""
    if not pattern:
        return formatted(when, "YYYY-MM-DD[T]HH:mm:ss") + _iso_zone(when)
    expanded = _LOCALE_TOKEN.sub(lambda found: _LOCALE.get(found[0], found[0]), pattern)
    return _TOKEN.sub(lambda found: _write(found[0], when), expanded)


def _write(token: str, when: datetime) -> str:
    if token in _WRITERS:
        return _WRITERS[token](when)
    if token[0] == "[" and len(token) > 1:
        return token[1:-1]
    if token.strip("S") == "":
        return f"{when.microsecond // 1000:03d}000000"[: len(token)]
    return token.replace("\\", "")


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


def _week(when: datetime) -> tuple[int, int]:
    """Year and week of the locale "en": weeks begin on Sunday, and the first of a year holds the first of January."""
    first = when.replace(month=1, day=1).isoweekday() % 7
    week = (when.timetuple().tm_yday + first - 1) // 7 + 1
    next_first = when.replace(year=when.year + 1, month=1, day=1).isoweekday() % 7
    days = when.replace(month=12, day=31).timetuple().tm_yday
    return (when.year + 1, 1) if week > (days + first - next_first) // 7 else (when.year, week)


def _hour(when: datetime) -> int:
    return (when.hour - 1) % 12 + 1


_WRITERS: Mapping[str, Callable[[datetime], str]] = {
    "Y": lambda when: f"{when.year:04d}",
    "YYYYYY": lambda when: f"+{when.year:06d}",
    "YYYYY": lambda when: f"{when.year:05d}",
    "yyyy": lambda when: f"{when.year:04d}",
    "yyy": lambda when: f"{when.year:03d}",
    "yy": lambda when: f"{when.year:02d}",
    "y": lambda when: str(when.year),
    "yo": lambda when: _ordinal(when.year),
    **dict.fromkeys(("N", "NN", "NNN", "NNNNN"), lambda _: "AD"),
    "NNNN": lambda _: "Anno Domini",
    "YYYY": lambda when: f"{when.year:04d}",
    "YY": lambda when: f"{when.year % 100:02d}",
    "Q": lambda when: str((when.month + 2) // 3),
    "Qo": lambda when: _ordinal((when.month + 2) // 3),
    "MMMM": lambda when: _MONTHS[when.month - 1],
    "MMM": lambda when: _MONTHS[when.month - 1][:3],
    "MM": lambda when: f"{when.month:02d}",
    "Mo": lambda when: _ordinal(when.month),
    "M": lambda when: str(when.month),
    "DDDo": lambda when: _ordinal(when.timetuple().tm_yday),
    "DDDD": lambda when: f"{when.timetuple().tm_yday:03d}",
    "DDD": lambda when: str(when.timetuple().tm_yday),
    "DD": lambda when: f"{when.day:02d}",
    "Do": lambda when: _ordinal(when.day),
    "D": lambda when: str(when.day),
    "dddd": lambda when: _DAYS[when.weekday()],
    "ddd": lambda when: _DAYS[when.weekday()][:3],
    "dd": lambda when: _DAYS[when.weekday()][:2],
    "do": lambda when: _ordinal(when.isoweekday() % 7),
    "d": lambda when: str(when.isoweekday() % 7),
    "e": lambda when: str(when.isoweekday() % 7),
    "E": lambda when: str(when.isoweekday()),
    "GGGGG": lambda when: f"{when.isocalendar().year:05d}",
    "GGGG": lambda when: f"{when.isocalendar().year:04d}",
    "GG": lambda when: f"{when.isocalendar().year % 100:02d}",
    "ggggg": lambda when: f"{_week(when)[0]:05d}",
    "gggg": lambda when: f"{_week(when)[0]:04d}",
    "gg": lambda when: f"{_week(when)[0] % 100:02d}",
    "ww": lambda when: f"{_week(when)[1]:02d}",
    "wo": lambda when: _ordinal(_week(when)[1]),
    "w": lambda when: str(_week(when)[1]),
    "Wo": lambda when: _ordinal(when.isocalendar().week),
    "WW": lambda when: f"{when.isocalendar().week:02d}",
    "W": lambda when: str(when.isocalendar().week),
    "Hmmss": lambda when: f"{when.hour}{when.minute:02d}{when.second:02d}",
    "Hmm": lambda when: f"{when.hour}{when.minute:02d}",
    "hmmss": lambda when: f"{_hour(when)}{when.minute:02d}{when.second:02d}",
    "hmm": lambda when: f"{_hour(when)}{when.minute:02d}",
    "HH": lambda when: f"{when.hour:02d}",
    "H": lambda when: str(when.hour),
    "hh": lambda when: f"{_hour(when):02d}",
    "h": lambda when: str(_hour(when)),
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
    "x": lambda when: f"{int(when.timestamp())}{when.microsecond // 1000:03d}",
}
