"""Quantities of Kubernetes: ``500m``, ``2``, ``512Mi``, ``1e9``.

The grammar is that of k8s.io/apimachinery v0.34.2 (``pkg/api/resource/quantity.go``). Values stay as typed, so that
the objects we create say what the user said.
"""

from __future__ import annotations

import re
from decimal import Decimal

from ci_buildx.errors import InputError

_SUFFIXES = {
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for unit, power in zip("numkMGTPE", (-3, -2, -1, 1, 2, 3, 4, 5, 6), strict=True)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(
    r"(?P<sign>[+-]?)(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]{1,3})|(?P<suffix>[A-Za-z]*))"
)
_LARGEST = Decimal(2**63 - 1)
_LONGEST = 40


def parse_quantity(text: str, *, source: str, whole: bool = False) -> Decimal:
    """The amount that a quantity stands for, more than zero.

    ``whole`` refuses fractions: half a byte is always a slip, mostly of ``m`` (milli) for ``Mi``.
    """
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if not match:
        raise InputError(f"{text!r} is not a quantity", source=source, fix="write it like 2, 500m or 512Mi")
    suffix = match["suffix"] or ""
    if suffix not in _SUFFIXES:
        raise InputError(f"unknown unit {suffix!r} in quantity {text!r}", source=source, fix=_suggest_unit(suffix))
    scale = Decimal(f"1e{match['exponent']}") if match["exponent"] else _SUFFIXES[suffix]
    amount = Decimal(match["number"]) * scale
    if match["sign"] == "-" or amount <= 0:
        raise InputError(f"quantity {text!r} must be more than zero", source=source)
    if amount > _LARGEST:
        raise InputError(f"quantity {text!r} is more than 2^63-1", source=source)
    if whole and amount != amount.to_integral_value():
        number = match["number"]
        raise InputError(f"{text!r} is not a whole number of bytes", source=source, fix=f"did you mean '{number}Mi'?")
    return amount


def _suggest_unit(suffix: str) -> str:
    """``MB`` and ``mb`` mean ``M``, ``mib`` means ``Mi``; else all units are named."""
    plain = suffix.lower().removesuffix("b")
    for unit in _SUFFIXES:
        if unit and plain == unit.lower() and unit not in ("n", "u", "m"):
            return f"did you mean {unit!r}?"
    return f"known: {', '.join(unit for unit in _SUFFIXES if unit)}"
