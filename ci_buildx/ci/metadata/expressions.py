"""metadata-action's expressions, and dates in the formats of moment.js 2.30 (its documentation, "Format").

All of moment's tokens are supported in the locale "en". As in moment, other text is copied unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from ci_buildx.ci.metadata.facts import HEADS, TAGS, CommitFacts
from ci_buildx.errors import InputError
from ci_buildx.settings.names import suggest_name

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
"""From moment 2.30.1, ``src/lib/format/format.js``. A match without a writer function is copied as text."""
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def convert_zone(when: datetime, zone: str, *, source: str) -> datetime:
    """Convert a time to a zone of the tz database, such as ``Asia/Tokyo``. Raises InputError for an unknown zone."""
    from zoneinfo import ZoneInfo

    try:
        return when.astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        if known := _match_any_case(zone):
            return when.astimezone(ZoneInfo(known))
        fix = "write a name such as Europe/Berlin, and check that tzdata is installed"
        raise InputError(f"unknown time zone {zone!r}", source=source, fix=fix) from error


def _match_any_case(zone: str) -> str:
    """Return the zone's canonical name, or "": moment-timezone ignores case."""
    from zoneinfo import available_timezones

    return next((name for name in available_timezones() if name.lower() == zone.lower() != name), "")


def format_date(when: datetime, pattern: str) -> str:
    """Format a time by moment's ``pattern``, or as ISO 8601 if it is empty."""
    if not pattern:
        return format_date(when, "YYYY-MM-DD[T]HH:mm:ss") + _format_zone(when)
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


def _format_zone(when: datetime) -> str:
    offset = _format_offset(when, ":")
    return "Z" if offset == "+00:00" else offset


def _format_offset(when: datetime, colon: str) -> str:
    minutes = round((when.utcoffset() or when - when).total_seconds() / 60)
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}{colon}{rest:02d}"


def _format_ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _compute_week(when: datetime) -> tuple[int, int]:
    """Return year and week in the locale "en": weeks begin on Sunday, and week 1 contains January 1."""
    first = when.replace(month=1, day=1).isoweekday() % 7
    week = (when.timetuple().tm_yday + first - 1) // 7 + 1
    next_first = when.replace(year=when.year + 1, month=1, day=1).isoweekday() % 7
    days = when.replace(month=12, day=31).timetuple().tm_yday
    return (when.year + 1, 1) if week > (days + first - next_first) // 7 else (when.year, week)


def _format_hour(when: datetime) -> int:
    return (when.hour - 1) % 12 + 1


_WRITERS: Mapping[str, Callable[[datetime], str]] = {
    "Y": lambda when: f"{when.year:04d}",
    "YYYYYY": lambda when: f"+{when.year:06d}",
    "YYYYY": lambda when: f"{when.year:05d}",
    "yyyy": lambda when: f"{when.year:04d}",
    "yyy": lambda when: f"{when.year:03d}",
    "yy": lambda when: f"{when.year:02d}",
    "y": lambda when: str(when.year),
    "yo": lambda when: _format_ordinal(when.year),
    **dict.fromkeys(("N", "NN", "NNN", "NNNNN"), lambda _: "AD"),
    "NNNN": lambda _: "Anno Domini",
    "YYYY": lambda when: f"{when.year:04d}",
    "YY": lambda when: f"{when.year % 100:02d}",
    "Q": lambda when: str((when.month + 2) // 3),
    "Qo": lambda when: _format_ordinal((when.month + 2) // 3),
    "MMMM": lambda when: _MONTHS[when.month - 1],
    "MMM": lambda when: _MONTHS[when.month - 1][:3],
    "MM": lambda when: f"{when.month:02d}",
    "Mo": lambda when: _format_ordinal(when.month),
    "M": lambda when: str(when.month),
    "DDDo": lambda when: _format_ordinal(when.timetuple().tm_yday),
    "DDDD": lambda when: f"{when.timetuple().tm_yday:03d}",
    "DDD": lambda when: str(when.timetuple().tm_yday),
    "DD": lambda when: f"{when.day:02d}",
    "Do": lambda when: _format_ordinal(when.day),
    "D": lambda when: str(when.day),
    "dddd": lambda when: _DAYS[when.weekday()],
    "ddd": lambda when: _DAYS[when.weekday()][:3],
    "dd": lambda when: _DAYS[when.weekday()][:2],
    "do": lambda when: _format_ordinal(when.isoweekday() % 7),
    "d": lambda when: str(when.isoweekday() % 7),
    "e": lambda when: str(when.isoweekday() % 7),
    "E": lambda when: str(when.isoweekday()),
    "GGGGG": lambda when: f"{when.isocalendar().year:05d}",
    "GGGG": lambda when: f"{when.isocalendar().year:04d}",
    "GG": lambda when: f"{when.isocalendar().year % 100:02d}",
    "ggggg": lambda when: f"{_compute_week(when)[0]:05d}",
    "gggg": lambda when: f"{_compute_week(when)[0]:04d}",
    "gg": lambda when: f"{_compute_week(when)[0] % 100:02d}",
    "ww": lambda when: f"{_compute_week(when)[1]:02d}",
    "wo": lambda when: _format_ordinal(_compute_week(when)[1]),
    "w": lambda when: str(_compute_week(when)[1]),
    "Wo": lambda when: _format_ordinal(when.isocalendar().week),
    "WW": lambda when: f"{when.isocalendar().week:02d}",
    "W": lambda when: str(when.isocalendar().week),
    "Hmmss": lambda when: f"{when.hour}{when.minute:02d}{when.second:02d}",
    "Hmm": lambda when: f"{when.hour}{when.minute:02d}",
    "hmmss": lambda when: f"{_format_hour(when)}{when.minute:02d}{when.second:02d}",
    "hmm": lambda when: f"{_format_hour(when)}{when.minute:02d}",
    "HH": lambda when: f"{when.hour:02d}",
    "H": lambda when: str(when.hour),
    "hh": lambda when: f"{_format_hour(when):02d}",
    "h": lambda when: str(_format_hour(when)),
    "kk": lambda when: f"{when.hour or 24:02d}",
    "k": lambda when: str(when.hour or 24),
    "mm": lambda when: f"{when.minute:02d}",
    "m": lambda when: str(when.minute),
    "ss": lambda when: f"{when.second:02d}",
    "s": lambda when: str(when.second),
    "ZZ": lambda when: _format_offset(when, ""),
    "Z": lambda when: _format_offset(when, ":"),
    "zz": lambda when: when.tzname() or "",
    "z": lambda when: when.tzname() or "",
    "A": lambda when: "AM" if when.hour < 12 else "PM",
    "a": lambda when: "am" if when.hour < 12 else "pm",
    "X": lambda when: str(int(when.timestamp())),
    "x": lambda when: f"{int(when.timestamp())}{when.microsecond // 1000:03d}",
}


_ARGUMENT = re.compile(r"(?:(?P<key>\w+)=)?(?:'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\"|(?P<bare>[\w./+-]+))")
_PLAIN = re.sub(r"\?P<\w+>", "?:", _ARGUMENT.pattern)
_EXPRESSION = re.compile(
    rf"(?P<escape>\\)?\{{\{{(?P<third>\{{)?\s*(?P<name>[A-Za-z_]\w*)(?P<rest>(?:\s+{_PLAIN})*)\s*(?(third)\}}\}}\}}|\}}\}})"
)
_BRACES = "{{"
_SHOWN = 40
"""Characters of an unsupported expression that the error quotes."""

Call = Callable[[list[str], Mapping[str, str]], str]
"""Function that returns an expression's value from its positional and its keyword arguments."""


def evaluate(text: str, names: Mapping[str, Call], *, source: str) -> str:
    """Replace each expression in the text by its value.

    Raises InputError for an unknown name and for unsupported Handlebars.
    """

    def replace_expression(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in names:
            raise InputError(f"unknown expression {{{{{name}}}}}", source=source, fix=suggest_name(name, names))
        arguments: list[str] = []
        keyed: dict[str, str] = {}
        for one in _ARGUMENT.finditer(found["rest"]):
            value = one["single"] or one["double"] or ""
            if one["key"]:
                keyed[one["key"]] = value or one["bare"] or ""
            else:
                arguments.append(value)
        return names[name](arguments, keyed)

    check(text, source=source)
    return _EXPRESSION.sub(replace_expression, text)


def check(text: str, *, source: str) -> None:
    """Raise InputError for unsupported Handlebars: blocks, comments, partials, paths and subexpressions.

    Unevaluated, they would end up in a tag.
    """
    position = 0
    while (found := text.find(_BRACES, position)) >= 0:
        start = found - 1 if found and text[found - 1] == "\\" else found
        known = _EXPRESSION.match(text, start)
        if not known or known["escape"]:
            shown = text[start : start + _SHOWN].partition("}}")
            message = f"unsupported expression {''.join(shown[:2])!r}"
            fix = "write {{NAME}} or {{NAME 'TEXT' key='TEXT'}}; other Handlebars is not evaluated"
            raise InputError(message, source=source, fix=fix)
        position = known.end()


def is_only(text: str, name: str) -> bool:
    """Return whether the text consists of one expression without arguments, called ``name``."""
    found = _EXPRESSION.fullmatch(text)
    return bool(found) and found["name"] == name and not found["rest"].strip() if found else False


def list_values(**texts: str) -> dict[str, Call]:
    """Map each name to a constant text."""
    return {name: _make_constant(text) for name, text in texts.items()}


def make_date_functions(facts: CommitFacts, *, source: str) -> dict[str, Call]:
    """Return the expressions ``date`` and ``commit_date``."""

    def make_writer(name: str) -> Call:
        def write(arguments: list[str], keyed: Mapping[str, str]) -> str:
            if unknown := sorted(keyed.keys() - {"tz"}):
                raise InputError(f"unknown attribute {unknown[0]!r} of {{{{{name}}}}}", source=source, fix="use tz")
            when = facts.now if name == "date" else facts.commit_date
            here = convert_zone(when, keyed.get("tz", "UTC"), source=source)
            return format_date(here, arguments[0] if arguments else "")

        return write

    return {name: make_writer(name) for name in ("date", "commit_date")}


def make_global_values(facts: CommitFacts, *, source: str) -> dict[str, Call]:
    """Return the expressions that metadata-action's documentation calls global expressions."""
    default = facts.on_default_branch
    return make_date_functions(facts, source=source) | list_values(
        branch=facts.strip_ref_prefix(HEADS),
        tag=facts.strip_ref_prefix(TAGS),
        sha=facts.short_sha,
        base_ref=facts.base,
        is_default_branch=str(default).lower(),
        is_not_default_branch=str(not default).lower(),
    )


def _make_constant(text: str) -> Call:
    return lambda _arguments, _keyed: text
