"""The table of all functions: docker buildx 0.38.2's standard library (``bake/hclparser/stdlib.go``)."""

from __future__ import annotations

from ci_buildx.hcl.functions import (
    arithmetic,
    collections,
    encodings,
    formatting,
    networks,
    patterns,
    text,
    timestamps,
    versions,
)
from ci_buildx.hcl.functions.signature import HclFunction
from ci_buildx.hcl.types.values import make_string

REFUSED = {"bcrypt": "its result is random, and Python has no such hash"}
"""Functions that a call refuses, with the reason."""
UNEVALUATED = ("can", "convert", "try")
"""Functions that get expressions instead of values; ``hcl/calls`` has them."""


def make_functions(home: str) -> dict[str, HclFunction]:
    """Return the functions by name; ``home`` is what ``homedir`` returns."""
    modules = (
        *(arithmetic, collections, encodings, formatting, networks),
        *(patterns, text, timestamps, versions),
    )
    found = {name: function for module in modules for name, function in module.FUNCTIONS.items()}
    return found | {"homedir": HclFunction((), lambda _: make_string(home))}
