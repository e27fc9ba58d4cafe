"""Functions of numbers and of logic (go-cty 1.17.0, ``stdlib/number.go``, ``bool.go``, ``general.go``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from ci_buildx.hcl.functions.signature import CallError, HclFunction, Parameter, ParameterError
from ci_buildx.hcl.types.conversion import convert
from ci_buildx.hcl.types.numbers import MOST_BITS, BigFloat
from ci_buildx.hcl.types.unification import ConversionError, unify_types
from ci_buildx.hcl.types.values import BOOL, NUMBER, STRING, HclValue, make_bool, make_integer, make_number

_ONE = (Parameter("num", NUMBER),)
_TWO = (Parameter("a", NUMBER), Parameter("b", NUMBER))
_ANY = (Parameter("a", nullable=True), Parameter("b", nullable=True))
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def read_int(value: HclValue, index: int) -> int:
    """Return an argument as an integer. Raises ParameterError for a fraction."""
    number = value.number.read_integer()
    if number is None:
        raise ParameterError(index, "value must be a whole number")
    return number


def _make_operation(operate: Callable[[BigFloat, BigFloat], BigFloat]) -> HclFunction:
    def compute(arguments: Sequence[HclValue]) -> HclValue:
        try:
            return make_number(operate(arguments[0].number, arguments[1].number))
        except ZeroDivisionError:
            raise CallError("division by zero") from None
        except OverflowError as error:
            raise CallError(str(error)) from None

    return HclFunction(_TWO, compute)


def _make_comparison(compare: Callable[[Fraction, Fraction], bool]) -> HclFunction:
    def compute(arguments: Sequence[HclValue]) -> HclValue:
        return make_bool(value=compare(arguments[0].number.value, arguments[1].number.value))

    return HclFunction(_TWO, compute)


def _make_rounding(adjust: Callable[[Fraction], int]) -> HclFunction:
    def compute(arguments: Sequence[HclValue]) -> HclValue:
        number = arguments[0].number
        return make_number(BigFloat(Fraction(adjust(number.value)), number.precision))

    return HclFunction(_ONE, compute)


def _make_choice(choose: Callable[..., HclValue]) -> HclFunction:
    def compute(arguments: Sequence[HclValue]) -> HclValue:
        if not arguments:
            raise CallError("must pass at least one number")
        return choose(arguments, key=lambda one: one.number.value)

    return HclFunction((), compute, Parameter("numbers", NUMBER))


def _make_float_function(names: tuple[str, str], compute_float: Callable[[float, float], float]) -> HclFunction:
    def compute(arguments: Sequence[HclValue]) -> HclValue:
        try:
            left, right = (float(one.number.value) for one in arguments)
            return make_number(BigFloat.from_float(compute_float(left, right)))
        except (ValueError, OverflowError, ZeroDivisionError):
            raise CallError("the result is not a finite number") from None

    return HclFunction((Parameter(names[0], NUMBER), Parameter(names[1], NUMBER)), compute)


def _truncate(arguments: Sequence[HclValue]) -> HclValue:
    number = arguments[0].number
    return arguments[0] if number.read_integer() is not None else make_integer(int(number.value))


def _find_sign(arguments: Sequence[HclValue]) -> HclValue:
    number = read_int(arguments[0], 0)
    return make_integer((number > 0) - (number < 0))


def _parse_int(arguments: Sequence[HclValue]) -> HclValue:
    if arguments[0].type != STRING:
        raise ParameterError(0, f"first argument must be a string, not {arguments[0].type}")
    text, base = arguments[0].text, read_int(arguments[1], 1)
    if not 2 <= base <= 62:
        raise ParameterError(1, "base must be a whole number between 2 and 62 inclusive")
    digits = text[1:] if text[:1] in ("-", "+") else text
    if base <= 36:
        digits = digits.lower()
    values = [_DIGITS.find(one) for one in digits]
    if not values or any(not 0 <= one < base for one in values):
        raise ParameterError(0, f'cannot parse "{text}" as a base {base} integer')
    number = 0
    for one in values:
        number = number * base + one
        if number.bit_length() > MOST_BITS:
            raise CallError("the number is too large")
    return make_integer(-number if text.startswith("-") else number)


def _coalesce(arguments: Sequence[HclValue]) -> HclValue:
    common = unify_types([one.type for one in arguments])
    if common is None:
        raise CallError("all arguments must have the same type")
    for at, one in enumerate(arguments):
        if not one.is_null:
            try:
                return convert(one, common)
            except ConversionError as error:
                raise ParameterError(at, str(error)) from None
    raise CallError("no non-null arguments")


def _make_logic(combine: Callable[[bool, bool], bool]) -> HclFunction:
    def compute(arguments: Sequence[HclValue]) -> HclValue:
        return make_bool(value=combine(bool(arguments[0].raw), bool(arguments[1].raw)))

    return HclFunction((Parameter("a", BOOL), Parameter("b", BOOL)), compute)


FUNCTIONS = {
    "absolute": HclFunction(
        _ONE, lambda given: make_number(BigFloat(abs(given[0].number.value), given[0].number.precision))
    ),
    "add": _make_operation(BigFloat.add),
    "and": _make_logic(lambda a, b: a and b),
    "ceil": _make_rounding(math.ceil),
    "coalesce": HclFunction((), _coalesce, Parameter("vals", nullable=True)),
    "divide": _make_operation(BigFloat.divide),
    "equal": HclFunction(_ANY, lambda given: make_bool(value=given[0].is_equal(given[1]))),
    "floor": _make_rounding(math.floor),
    "greaterthan": _make_comparison(lambda a, b: a > b),
    "greaterthanorequalto": _make_comparison(lambda a, b: a >= b),
    "int": HclFunction(_ONE, _truncate),
    "lessthan": _make_comparison(lambda a, b: a < b),
    "lessthanorequalto": _make_comparison(lambda a, b: a <= b),
    "log": _make_float_function(("num", "base"), lambda num, base: math.log(num) / math.log(base)),
    "max": _make_choice(max),
    "min": _make_choice(min),
    "modulo": _make_operation(BigFloat.find_remainder),
    "multiply": _make_operation(BigFloat.multiply),
    "negate": HclFunction(_ONE, lambda given: make_number(given[0].number.negate())),
    "not": HclFunction((Parameter("val", BOOL),), lambda given: make_bool(value=not given[0].raw)),
    "notequal": HclFunction(_ANY, lambda given: make_bool(value=not given[0].is_equal(given[1]))),
    "or": _make_logic(lambda a, b: a or b),
    "parseint": HclFunction((Parameter("number"), Parameter("base", NUMBER)), _parse_int),
    "pow": _make_float_function(("num", "power"), math.pow),
    "signum": HclFunction(_ONE, _find_sign),
    "subtract": _make_operation(lambda a, b: a.add(b.negate())),
}
