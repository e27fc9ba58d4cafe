"""Functions of times (go-cty 1.17.0, ``stdlib/datetime.go``; buildx 0.38.2, ``hclparser/stdlib.go``)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone

from ci_buildx.hcl.functions.signature import CallError, HclFunction, Parameter, ParameterError
from ci_buildx.hcl.functions.text import make_text_function
from ci_buildx.hcl.types.values import NUMBER, STRING, HclValue, make_integer, make_object, make_string

_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_FORMAT_PART = re.compile(r"''|'(?:[^']|'')*'|'.*|([A-Za-z])\1*|[^A-Za-z']+", re.DOTALL)
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def parse_timestamp(text: str) -> datetime:
    """Parse RFC 3339. Raises ValueError with the reason."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not a valid RFC3339 timestamp")
    offset = match[8]
    zone = UTC
    if offset != "Z":
        minutes = int(offset[1:3]) * 60 + int(offset[4:])
        zone = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
    try:
        year, month, day, hour, minute, second = (int(match[at]) for at in range(1, 7))
        fraction = int(float(f"0.{match[7]}") * 10**6) if match[7] else 0
        return datetime(year, month, day, hour, minute, second, fraction, tzinfo=zone)
    except ValueError as error:
        raise ValueError(f"not a valid RFC3339 timestamp: {error}") from None


def format_rfc3339(moment: datetime) -> str:
    """Return a time as RFC 3339, whole seconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + _format_zone(moment, "Z", "{}:{}")


def _format_zone(moment: datetime, utc: str, template: str) -> str:
    minutes = int((moment.utcoffset() or timedelta()).total_seconds() // 60)
    if not minutes and utc:
        return utc
    sign = "-" if minutes < 0 else "+"
    return sign + template.format(f"{abs(minutes) // 60:02}", f"{abs(minutes) % 60:02}")


_Formatter = Callable[[datetime], str]
_VERBS: dict[str, _Formatter] = {
    "YY": lambda moment: f"{moment.year % 100:02}",
    "YYYY": lambda moment: f"{moment.year:04}",
    "M": lambda moment: str(moment.month),
    "MM": lambda moment: f"{moment.month:02}",
    "MMM": lambda moment: _MONTHS[moment.month - 1][:3],
    "MMMM": lambda moment: _MONTHS[moment.month - 1],
    "D": lambda moment: str(moment.day),
    "DD": lambda moment: f"{moment.day:02}",
    "EEE": lambda moment: _DAYS[moment.weekday()][:3],
    "EEEE": lambda moment: _DAYS[moment.weekday()],
    "h": lambda moment: str(moment.hour),
    "hh": lambda moment: f"{moment.hour:02}",
    "H": lambda moment: str(moment.hour % 12 or 12),
    "HH": lambda moment: f"{moment.hour % 12 or 12:02}",
    "AA": lambda moment: "AM" if moment.hour < 12 else "PM",
    "aa": lambda moment: "am" if moment.hour < 12 else "pm",
    "m": lambda moment: str(moment.minute),
    "mm": lambda moment: f"{moment.minute:02}",
    "s": lambda moment: str(moment.second),
    "ss": lambda moment: f"{moment.second:02}",
    "Z": lambda moment: _format_zone(moment, "Z", "{}:{}"),
    "ZZZ": lambda moment: _format_zone(moment, "UTC", "{}{}"),
    "ZZZZ": lambda moment: _format_zone(moment, "", "{}{}"),
    "ZZZZZ": lambda moment: _format_zone(moment, "", "{}:{}"),
}


def format_moment(template: str, moment: datetime) -> str:
    """Return a time in the format of ``formatdate``. Raises ParameterError."""
    found: list[str] = []
    for match in _FORMAT_PART.finditer(template):
        part = match[0]
        if part == "''":
            found.append("'")
        elif part.startswith("'"):
            if len(part) == 1 or not part.endswith("'"):
                raise ParameterError(0, "unterminated literal '")
            found.append(part[1:-1].replace("''", "'"))
        elif match[1]:
            if part not in _VERBS:
                raise ParameterError(0, f'invalid date format verb "{part}"')
            found.append(_VERBS[part](moment))
        else:
            found.append(part)
    return "".join(found)


def _format_date(template: str, text: str) -> str:
    try:
        moment = parse_timestamp(text)
    except ValueError as error:
        raise ParameterError(1, str(error)) from None
    return format_moment(template, moment)


def _read_unix(value: HclValue, index: int) -> datetime:
    number = value.number.read_integer()
    if number is None:
        raise ParameterError(index, "unix timestamp must be an integer")
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    except OverflowError:
        raise ParameterError(index, "unix timestamp is out of range") from None


def _format_timestamp(given: Sequence[HclValue]) -> HclValue:
    template, time = given[0].text, given[1]
    if time.type == NUMBER:
        moment = _read_unix(time, 1)
    elif time.type == STRING:
        try:
            moment = parse_timestamp(time.text)
        except ValueError as error:
            reason = "timestamp string must be RFC3339" if template == "X" else str(error)
            raise ParameterError(1, reason) from None
    else:
        raise ParameterError(1, "must be a string timestamp or a unix timestamp number")
    return make_string(str(int(moment.timestamp())) if template == "X" else format_moment(template, moment))


def _add_time(timestamp: str, duration: str) -> str:
    sign = -1 if duration.startswith("-") else 1
    bare = duration.lstrip("+-") if duration[:1] in ("-", "+") else duration
    parts = _DURATION.findall(bare)
    if bare != "0" and (not parts or "".join(number + unit for number, unit in parts) != bare):
        raise CallError(f'time: invalid duration "{duration}"')
    try:
        moment = parse_timestamp(timestamp)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        return format_rfc3339(moment + timedelta(seconds=sign * seconds))
    except (ValueError, OverflowError) as error:
        raise CallError(str(error)) from None


def _parse_unix(given: Sequence[HclValue]) -> HclValue:
    moment = _read_unix(given[0], 0)
    iso = moment.isocalendar()
    numbers = {
        "year": moment.year,
        "year_day": moment.timetuple().tm_yday,
        "day": moment.day,
        "month": moment.month,
        "weekday": moment.isoweekday() % 7,
        "hour": moment.hour,
        "minute": moment.minute,
        "second": moment.second,
        "iso_year": iso.year,
        "iso_week": iso.week,
    }
    texts = {
        "month_name": _MONTHS[moment.month - 1],
        "weekday_name": _DAYS[moment.weekday()],
        "rfc3339": format_rfc3339(moment),
    }
    found = {name: make_integer(number) for name, number in numbers.items()}
    return make_object(found | {name: make_string(text) for name, text in texts.items()})


def _read_clock(_: Sequence[HclValue]) -> HclValue:
    return make_string(format_rfc3339(datetime.now(UTC)))


FUNCTIONS = {
    "formatdate": make_text_function(("format", "time"), _format_date),
    "formattimestamp": HclFunction((Parameter("format", STRING), Parameter("time")), _format_timestamp),
    "timeadd": make_text_function(("timestamp", "duration"), _add_time),
    "timestamp": HclFunction((), _read_clock),
    "unixtimestampparse": HclFunction((Parameter("unix_timestamp", NUMBER),), _parse_unix),
}
