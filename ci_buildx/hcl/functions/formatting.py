"""``format`` and ``formatlist``: verbs as in C's printf (go-cty 1.17.0, ``stdlib/format.go``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

from ci_buildx.hcl.functions.signature import CallError, HclFunction, Parameter, ParameterError
from ci_buildx.hcl.functions.text import split_graphemes
from ci_buildx.hcl.types.conversion import ConversionError, convert
from ci_buildx.hcl.types.json_values import encode_json, quote_json
from ci_buildx.hcl.types.numbers import BigFloat
from ci_buildx.hcl.types.values import (
    BOOL,
    ITERABLES,
    NUMBER,
    STRING,
    HclType,
    HclValue,
    make_list,
    make_string,
)

_PART = re.compile(
    r"%%|%(?P<flags>[0#\-+ ]*)(?P<width>[1-9]\d*)?(?:\.(?P<precision>\d*))?"
    r"(?:\[(?P<index>[1-9]\d*)\])?(?P<mode>[A-Za-z])|[^%]+|%"
)
_LARGEST = 10_000
"""Maximum width and precision."""
_BASES = {"b": 2, "o": 8, "d": 10, "x": 16, "X": 16}
_DIGITS = Context(prec=400, rounding=ROUND_HALF_EVEN)


def format_text(template: str, arguments: Sequence[HclValue]) -> str:
    """Return a text with its verbs replaced. Raises CallError."""
    found: list[str] = []
    following, highest, offset = 1, 0, 0
    for match in _PART.finditer(template):
        part = match[0]
        if part == "%":
            raise CallError(f"unrecognized format character at offset {offset}")
        if match["mode"]:
            index = int(match["index"] or following)
            following, highest = index + 1, max(highest, index)
            if index > len(arguments):
                total = f"need index {index} but have {len(arguments)} total"
                raise CallError(f'not enough arguments for "{part}" at {offset}: {total}')
            try:
                found.append(_format(match, arguments[index - 1]))
            except (ConversionError, ValueError) as error:
                raise CallError(f'unsupported value for "{part}" at {offset}: {error}') from None
        else:
            found.append("%" if part == "%%" else part)
        offset += len(part)
    if highest < len(arguments):
        used = f"only {highest} used by format string" if highest else "no verbs in format string"
        raise ParameterError(highest + 1, f"too many arguments; {used}")
    return "".join(found)


def _format(match: re.Match[str], value: HclValue) -> str:
    mode, flags = match["mode"], match["flags"]
    width, precision = int(match["width"] or 0), match["precision"]
    digits = None if precision is None else int(precision or 0)
    if max(width, digits or 0) > _LARGEST:
        raise ValueError("the width is too large")
    if mode == "v":
        return _pad(_format_default(value, sharp="#" in flags), width, flags)
    if value.is_null:
        raise ValueError("null value cannot be formatted")
    if mode == "t":
        return "true" if convert(value, BOOL).raw else "false"
    if mode in ("s", "q"):
        text = convert(value, STRING).text
        if digits:
            text = "".join(split_graphemes(text)[:digits])
        return _pad(quote_json(text) if mode == "q" else text, width, flags)
    if mode in _BASES:
        return _format_integer(convert(value, NUMBER).number, mode, width, digits, flags)
    if mode in "eEfgG":
        return _format_float(convert(value, NUMBER).number, mode, width, digits, flags)
    raise ValueError(f'unsupported format verb "{mode}"')


def _format_default(value: HclValue, *, sharp: bool) -> str:
    if not sharp and not value.is_null:
        if value.type == STRING:
            return value.text
        if value.type == NUMBER:
            return _format_shortest(value.number)
    return encode_json(value)


def _format_shortest(number: BigFloat) -> str:
    """Return a number as Go's ``%g`` without precision: an exponent from 21 digits on, or below 0.0001."""
    text = str(number)
    bare = text.lstrip("-")
    whole, _, fraction = bare.partition(".")
    digits = (whole + fraction).strip("0") if whole.strip("0") else fraction.strip("0")
    if not digits:
        return text
    exponent = len(whole) - 1 if whole != "0" else -(len(fraction) - len(fraction.lstrip("0"))) - 1
    if -4 <= exponent < max(len(digits), 21):
        return text
    sign = "-" if text.startswith("-") else ""
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{'-' if exponent < 0 else '+'}{abs(exponent):02}"


def _pad(text: str, width: int, flags: str) -> str:
    missing = width - len(split_graphemes(text))
    if missing <= 0:
        return text
    padding = ("0" if "0" in flags else " ") * missing
    return text + padding if "-" in flags else padding + text


def _pad_number(sign: str, prefix: str, digits: str, width: int, flags: str) -> str:
    bare = sign + prefix + digits
    if "-" in flags:
        return bare.ljust(width)
    if "0" in flags:
        return sign + prefix + digits.rjust(width - len(sign + prefix), "0")
    return bare.rjust(width)


def _find_sign(*, negative: bool, flags: str) -> str:
    return "-" if negative else "+" if "+" in flags else " " if " " in flags else ""


def _format_integer(number: BigFloat, mode: str, width: int, precision: int | None, flags: str) -> str:
    whole = number.read_integer()
    if whole is None:
        raise ValueError("an integer is required")
    digits = {2: "b", 8: "o", 10: "d", 16: mode}[_BASES[mode]]
    text = format(abs(whole), digits)
    if precision is not None:
        text = text.rjust(precision, "0") if whole or precision else ""
        flags = flags.replace("0", "")
    prefix = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}.get(mode, "") if "#" in flags else ""
    return _pad_number(_find_sign(negative=whole < 0, flags=flags), prefix, text, width, flags)


def _format_float(number: BigFloat, mode: str, width: int, precision: int | None, flags: str) -> str:
    value = abs(number.value)
    sign = _find_sign(negative=number.value < 0, flags=flags)
    if mode == "f":
        text = _round_fixed(value, 6 if precision is None else precision)
    elif mode in "gG" and precision is None:
        text = _format_shortest(BigFloat(value, number.precision))
    else:
        exact = _DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))
        text = format(exact, f".{6 if precision is None else precision}{mode}")
        text = re.sub(r"([eE][+-])(\d)$", r"\g<1>0\2", text)
    return _pad_number(sign, "", text.upper() if mode in "EG" else text, width, flags)


def _round_fixed(value: Fraction, places: int) -> str:
    scaled = str(round(value * 10**places)).rjust(places + 1, "0")
    return f"{scaled[:-places]}.{scaled[-places:]}" if places else scaled


def _format_value(given: Sequence[HclValue]) -> HclValue:
    return make_string(format_text(given[0].text, given[1:]))


def _format_list(given: Sequence[HclValue]) -> HclValue:
    template, arguments = given[0].text, given[1:]
    lengths = {at: len(one.items) for at, one in enumerate(arguments) if _is_sequence(one)}
    if len(set(lengths.values())) > 1:
        first = min(lengths)
        other = next(at for at in sorted(lengths) if lengths[at] != lengths[first])
        detail = f"inconsistent with argument {first + 1} of length {lengths[first]}"
        raise ParameterError(other + 1, f"argument {other + 1} has length {lengths[other]}, which is {detail}")
    count = next(iter(lengths.values())) if lengths else 1
    rows = ([one.items[at] if _is_sequence(one) else one for one in arguments] for at in range(count))
    found: list[HclValue] = []
    for at, row in enumerate(rows):
        try:
            found.append(make_string(format_text(template, row)))
        except CallError as error:
            raise CallError(f"error on format iteration {at}: {error}") from None
    return make_list(found, STRING)


def _is_sequence(value: HclValue) -> bool:
    return not value.is_null and value.type.is_one_of(*ITERABLES)


_TEMPLATE: tuple[str, HclType] = ("format", STRING)
FUNCTIONS = {
    "format": HclFunction((Parameter(*_TEMPLATE),), _format_value, Parameter("args", nullable=True)),
    "formatlist": HclFunction((Parameter(*_TEMPLATE),), _format_list, Parameter("args", nullable=True)),
}
