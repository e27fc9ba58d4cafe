"""Numbers of HCL: binary floating point of 512 bits, rounded and printed as Go's ``math/big`` does."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

PRECISION = 512
"""Bits of a number that was written in a document (go-cty 1.17.0, ``ParseNumberVal``)."""
OF_INTEGERS = 64
"""Bits of a number that a function computed as an integer (Go's ``big.Float.SetInt64``)."""
OF_FLOATS = 53
"""Bits of a number that came from a 64-bit float (Go's ``big.NewFloat``)."""
_NUMBER = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?")
_LARGEST_EXPONENT = 10_000
"""Maximum decimal exponent: a larger one would take seconds to compute."""
MOST_BITS = 5_000
"""Maximum binary exponent, above and below 1: about 1500 decimal digits. Products of larger numbers have no end."""
_TOO_LARGE = "the number is too large"


@dataclass(frozen=True, slots=True)
class BigFloat:
    """A number with a binary mantissa of ``precision`` bits. Equality ignores the precision."""

    value: Fraction
    precision: int = field(default=PRECISION, compare=False)

    @classmethod
    def from_integer(cls, value: int) -> BigFloat:
        """Return an integer as functions compute it; a large one has as many bits as it needs. Raises OverflowError."""
        if value.bit_length() > MOST_BITS:
            raise OverflowError(_TOO_LARGE)
        return cls(Fraction(value), max(OF_INTEGERS, value.bit_length()))

    @classmethod
    def from_float(cls, value: float) -> BigFloat:
        """Return a 64-bit float. Raises OverflowError or ValueError for infinity and NaN."""
        return cls(Fraction(value), OF_FLOATS)

    def round(self) -> BigFloat:
        """Return the nearest number that the precision can represent, ties to even.

        This and all operations raise OverflowError for a number of more than :data:`MOST_BITS` bits above or below 1.
        """
        return BigFloat(_round(self.value, self.precision), self.precision)

    def add(self, other: BigFloat) -> BigFloat:
        """Return the sum, rounded to the larger precision."""
        return BigFloat(self.value + other.value, max(self.precision, other.precision)).round()

    def negate(self) -> BigFloat:
        """Return the number with the opposite sign."""
        return BigFloat(-self.value, self.precision)

    def multiply(self, other: BigFloat) -> BigFloat:
        """Return the product, rounded to 512 bits (go-cty 1.17.0, ``Value.Multiply``)."""
        return BigFloat(self.value * other.value, PRECISION).round()

    def divide(self, other: BigFloat) -> BigFloat:
        """Return the quotient. Raises ZeroDivisionError."""
        return BigFloat(self.value / other.value, max(self.precision, other.precision)).round()

    def find_remainder(self, other: BigFloat) -> BigFloat:
        """Return the remainder of the division truncated towards zero; the number itself if ``other`` is zero."""
        if not other.value:
            return self
        whole = int(self.divide(other).value)
        return BigFloat(self.value - other.value * whole, max(self.precision, other.precision)).round()

    def read_integer(self) -> int | None:
        """Return the number as an integer, None if it has a fraction."""
        return self.value.numerator if self.value.denominator == 1 else None

    def __str__(self) -> str:
        """Return the shortest decimal text that reads back as this number, without an exponent (Go's ``'f', -1``)."""
        whole = self.read_integer()
        if whole is not None and whole.bit_length() <= self.precision:
            return str(whole)
        sign = "-" if self.value < 0 else ""
        digits, point = _shorten(abs(self.value), self.precision)
        if point <= 0:
            return f"{sign}0.{'0' * -point}{digits}"
        if point >= len(digits):
            return sign + digits + "0" * (point - len(digits))
        return f"{sign}{digits[:point]}.{digits[point:]}"


def parse_number(text: str) -> BigFloat:
    """Parse a decimal number, with an optional sign and exponent. Raises ValueError."""
    match = _NUMBER.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise ValueError("a number is required")
    exponent = int(match[4] or 0) - len(match[3] or "")
    if abs(exponent) > _LARGEST_EXPONENT or len(text) > _LARGEST_EXPONENT:
        raise ValueError(_TOO_LARGE)
    whole = int((match[2] or "") + (match[3] or ""))
    value = whole * Fraction(10) ** exponent
    try:
        return BigFloat(-value if match[1] == "-" else value).round()
    except OverflowError as error:
        raise ValueError(str(error)) from None


def _round(value: Fraction, precision: int) -> Fraction:
    if not value:
        return value
    if abs(value.numerator.bit_length() - value.denominator.bit_length()) > MOST_BITS:
        raise OverflowError(_TOO_LARGE)
    scale = _find_scale(value, precision)
    return Fraction(round(value * Fraction(2) ** -scale)) * Fraction(2) ** scale


def _find_scale(value: Fraction, precision: int) -> int:
    """Return the exponent of two with which the mantissa has ``precision`` bits."""
    numerator, denominator = abs(value.numerator), value.denominator
    scale = numerator.bit_length() - denominator.bit_length() - precision
    while abs(value) >= Fraction(2) ** (scale + precision):
        scale += 1
    while abs(value) < Fraction(2) ** (scale + precision - 1):
        scale -= 1
    return scale


def _shorten(value: Fraction, precision: int) -> tuple[str, int]:
    """Return digits and the position of the point: the shortest decimal between the neighbours of ``value``.

    As Go's ``roundShortest`` (``math/big``, ftoa.go): a digit is final once the number so far, or the next one up, is
    inside the interval of decimals that round to ``value``.
    """
    scale = _find_scale(value, precision)
    mantissa = int(value * Fraction(2) ** -scale)
    unit = Fraction(2) ** scale
    is_power = mantissa == 1 << (precision - 1)
    lower, upper = value - unit / (4 if is_power else 2), value + unit / 2
    inclusive = mantissa % 2 == 0
    digits, point = _expand(value)
    low, high = _align(lower, point), _align(upper, point)
    for at, digit in enumerate(digits):
        below = low[at : at + 1] or "0"
        above = high[at : at + 1] or "0"
        ok_down = below != digit or (inclusive and at + 1 == len(low))
        ok_up = digit != above and (inclusive or int(digit) + 1 < int(above) or at + 1 < len(high))
        if ok_down or ok_up:
            return _cut(digits, at + 1, point, up=_is_up(digits, at + 1, down=ok_down, up=ok_up))
    return digits, point


def _expand(value: Fraction) -> tuple[str, int]:
    """Return the exact decimal digits of a binary fraction, and its exponent: ``0.DIGITS`` times a power of ten."""
    places = value.denominator.bit_length() - 1
    text = str(value.numerator * 5**places)
    return text.rstrip("0"), len(text) - places


def _align(value: Fraction, point: int) -> str:
    digits, own = _expand(value)
    return "0" * (point - own) + digits


def _is_up(digits: str, count: int, *, down: bool, up: bool) -> bool:
    if down and up:
        rest = digits[count:]
        return rest > "5" or (rest == "5" and int(digits[count - 1]) % 2 == 1)
    return up


def _cut(digits: str, count: int, point: int, *, up: bool) -> tuple[str, int]:
    kept = int(digits[:count]) + (1 if up else 0)
    text = str(kept)
    return text.rstrip("0") or "0", point + len(text) - count
