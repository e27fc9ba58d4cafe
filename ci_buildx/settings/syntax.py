"""Syntax of values: CSV fields, booleans, durations, quantities."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily

if TYPE_CHECKING:
    from decimal import Decimal

_LINE_END = compile_lazily(r"\r\n|\n|\r")
_QUOTED = compile_lazily(r'"(?P<inner>[^"]*(?:""[^"]*)*)"')
_BARE = compile_lazily(r"[^,\r\n]*")
_FIELD = compile_lazily(r'"(?P<quoted>(?:[^"]|"")*)"(?=,|\Z)|(?P<bare>[^,"]*)(?=,|\Z)')


def split_fields(text: str) -> list[str]:
    """Split one CSV value into its fields; an empty text has none. Raises ValueError for misplaced quotes."""
    if not text:
        return []
    fields = []
    position = 0
    while True:
        match = _FIELD.match(text, position)
        if not match:
            raise ValueError(f"misplaced quote in {text[position:]!r}")
        quoted = match["quoted"]
        fields.append(match["bare"] if quoted is None else quoted.replace('""', '"'))
        if match.end() == len(text):
            return fields
        position = match.end() + 1


def join_fields(fields: Iterable[str]) -> str:
    """Join fields to one value; fields with a comma or a quote are quoted (buildx 0.38.2 ``csvBuilder``)."""
    quoted = ('"' + field.replace('"', '""') + '"' if "," in field or '"' in field else field for field in fields)
    return ",".join(quoted)


def split_pairs(text: str) -> list[tuple[str, str]]:
    """Split into ``key=value`` fields, keys stripped and in lower case.

    Raises ValueError for a field without ``=`` or key.
    """
    pairs = []
    for field in split_fields(text):
        key, equals, value = field.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{field!r} is not key=value")
        pairs.append((key.strip().lower(), value))
    return pairs


def split_lines(text: str) -> list[str]:
    """Split an input into stripped lines without parsing quotes, which buildx's reader does; drop blank lines."""
    lines = (line.strip() for line in _LINE_END.split(text))
    return [line for line in lines if line]


def split_records(text: str, *, comments: bool = False) -> list[list[str]]:
    """Split a list input into records and fields as docker's actions do.

    They use csv-parse with ``relax_quotes``, ``relax_column_count`` and ``skip_empty_lines`` (docker/actions-toolkit
    0.95.0, ``src/util.ts``, getList): quotes around a field are removed, a doubled quote inside is one quote, a quoted
    field may hold commas and line breaks, and quotes elsewhere are text. With ``comments``, records that begin with
    ``#`` are dropped. Raises ValueError for an unclosed quote; the message quotes nothing of the text.
    """
    records: list[list[str]] = []
    record: list[str] = []
    position, start_of_record = 0, True
    while position < len(text):
        if start_of_record and (skipped := _skip_comment(text, position, comments=comments)) > position:
            position = skipped
            continue
        field, position = _read_field(text, position)
        record.append(field)
        start_of_record = False
        if text[position : position + 1] == ",":
            position += 1
            if position < len(text):
                continue
            record.append("")
        records.append(record)
        record, start_of_record = [], True
        position = _skip_line_end(text, position)
    return records


def _skip_comment(text: str, position: int, *, comments: bool) -> int:
    """Return the position after an empty line or a comment that begins at ``position``."""
    if comments and text[position] == "#":
        found = _LINE_END.search(text, position)
        return found.end() if found else len(text)
    return _skip_line_end(text, position)


def _skip_line_end(text: str, position: int) -> int:
    found = _LINE_END.match(text, position)
    return found.end() if found else position


def _read_field(text: str, position: int) -> tuple[str, int]:
    """Return the field at ``position`` and its end. Quotes that close within the field are kept as text."""
    value = ""
    if text[position] == '"':
        quoted = _QUOTED.match(text, position)
        if not quoted:
            raise ValueError("unclosed quote")
        value, position = quoted["inner"].replace('""', '"'), quoted.end()
        if position == len(text) or text[position] in ",\r\n":
            return value, position
        value = f'"{value}"'
    rest = _BARE.match(text, position)
    assert rest is not None
    return value + rest[0], rest.end()


GO_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
GO_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
"""Texts that Go's ``strconv.ParseBool`` accepts: BuildKit parses attributes with it."""
_TRUE = frozenset(("1", "t", "true", "yes", "on"))
_FALSE = frozenset(("0", "f", "false", "no", "off"))


def read_boolean(text: str) -> bool | None:
    """Parse a boolean as Go's ``strconv.ParseBool``, in any case, or YAML's yes, no, on, off; None for other texts."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    return False if word in _FALSE else None


def require_boolean(text: str, *, source: str) -> bool:
    """Parse a boolean like :func:`read_boolean`. Raises InputError for other texts."""
    found = read_boolean(text)
    if found is None:
        raise InputError(f"{text!r} is neither true nor false", source=source, fix="write true or false")
    return found


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})"
_PART = compile_lazily(rf"(?P<number>{_NUMBER})(?P<unit>{'|'.join(_UNITS)})")
_PLAIN = compile_lazily(_NUMBER)


def parse_duration(text: str, *, source: str) -> float:
    """Parse a duration into seconds, more than zero, with the units of Go's ``time.ParseDuration``.

    A number without a unit is in seconds. Raises InputError.
    """
    seconds = _read_duration(text.strip())
    if seconds is None:
        raise InputError(f"{text!r} is not a duration", source=source, fix="write it like 90s, 2m or 1h30m")
    if seconds <= 0:
        raise InputError(f"duration {text!r} must be more than zero", source=source)
    return seconds


def _read_duration(text: str) -> float | None:
    if _PLAIN.fullmatch(text):
        return float(text)
    total = 0.0
    position = 0
    while match := _PART.match(text, position):
        total += float(match["number"]) * _UNITS[match["unit"]]
        position = match.end()
    return total if text and position == len(text) else None


_MOST_DIGITS = 18
_SHOWN = 100
"""Characters of a text that an error quotes."""


def compute_bytes(number: str, power: int, *, text: str, source: str) -> int:
    """Return a decimal ``number`` times 1024 to the ``power``.

    Raises InputError, which quotes ``text``, if that is too large.
    """
    whole, _, fraction = number.partition(".")
    fraction = fraction[:_LONGEST]
    if len(whole) <= _LONGEST:
        amount = (int(f"{whole}{fraction}") << 10 * power) // int(f"1{'0' * len(fraction)}")
        if amount <= _LARGEST:
            return amount
    raise InputError(f"size {show_start(text)} is more than 2^63-1", source=source)


def is_whole_number(text: str) -> bool:
    """Return whether the text is a whole number, possibly negative, of at most 18 digits: BuildKit reads 64 bits."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS


def show_start(text: str) -> str:
    """Quote a text for an error, or its start if it is long."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"


def read_mode(path: Path, *, source: str) -> int | None:
    """Return the mode of a file or folder (``st_mode``), None if it is missing.

    Raises InputError if the system cannot look: a name that is too long, a loop of symlinks, a folder without access.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot use path {show_start(str(path))}: {reason}", source=source) from error


def is_folder(path: Path, *, source: str) -> bool:
    """Return whether a path is a folder. Raises as :func:`read_mode` does."""
    mode = read_mode(path, source=source)
    return mode is not None and stat.S_ISDIR(mode)


_SUFFIXES = {
    "": (1, 0),
    **{unit: (1000, power) for unit, power in zip("numkMGTPE", (-3, -2, -1, 1, 2, 3, 4, 5, 6), strict=True)},
    **{f"{unit}i": (1024, power) for power, unit in enumerate("KMGTPE", start=1)},
}
"""Base and exponent of each unit."""
_QUANTITY = compile_lazily(
    r"(?P<sign>[+-]?)(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]{1,3})|(?P<suffix>[A-Za-z]*))"
)
_LARGEST = 2**63 - 1
_LONGEST = 40


def parse_quantity(text: str, *, source: str, whole: bool = False) -> Decimal:
    """Parse a Kubernetes quantity into its amount, more than zero.

    ``whole`` rejects fractions: half a byte is always a mistake, usually ``m`` (milli) for ``Mi``. Raises InputError.
    """
    from decimal import Decimal  # takes a millisecond, and few builds have quantities

    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if not match:
        raise InputError(f"{text!r} is not a quantity", source=source, fix="write it like 2, 500m or 512Mi")
    suffix = match["suffix"] or ""
    if suffix not in _SUFFIXES:
        raise InputError(f"unknown unit {suffix!r} in quantity {text!r}", source=source, fix=_suggest_unit(suffix))
    base, power = (10, int(match["exponent"])) if match["exponent"] else _SUFFIXES[suffix]
    amount = Decimal(match["number"]) * Decimal(base) ** power
    if match["sign"] == "-" or amount <= 0:
        raise InputError(f"quantity {text!r} must be more than zero", source=source)
    if amount > _LARGEST:
        raise InputError(f"quantity {text!r} is more than 2^63-1", source=source)
    if whole and amount != amount.to_integral_value():
        number = match["number"]
        raise InputError(f"{text!r} is not a whole number of bytes", source=source, fix=f"did you mean '{number}Mi'?")
    return amount


def _suggest_unit(suffix: str) -> str:
    """Suggest ``M`` for ``MB`` and ``mb``, ``Mi`` for ``mib``; otherwise list all units."""
    plain = suffix.lower().removesuffix("b")
    for unit in _SUFFIXES:
        if unit and plain == unit.lower() and unit not in ("n", "u", "m"):
            return f"did you mean {unit!r}?"
    return f"known: {', '.join(unit for unit in _SUFFIXES if unit)}"
