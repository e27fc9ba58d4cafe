"""All records of the product, described: run by test_record.py once with either kind of dataclasses."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from typing import Any

if "standard" in sys.argv:
    import tests.standard_dataclasses  # noqa: F401 - replaces them

import ci_buildx

_METHODS = ("__eq__", "__repr__", "__lt__", "__le__", "__gt__", "__ge__", "__setattr__", "__delattr__")


def modules() -> Iterator[Any]:
    """Import everything."""
    for found in pkgutil.walk_packages(ci_buildx.__path__, "ci_buildx."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def describe(cls: Any) -> dict[str, Any]:
    """Return what users of a record can see of its class."""
    try:
        # ours compiles its initialiser when a call does not fit
        cls(**{"no field": 1})
    except TypeError as error:
        refusal = str(error)
    parameters = inspect.signature(cls).parameters.values()
    return {
        "refusal": refusal,
        "parameters": [(one.name, one.kind.name, one.default is not one.empty) for one in parameters],
        "fields": [
            (one.name, one.repr, _shown(one.default), _made(one.default_factory)) for one in dataclasses.fields(cls)
        ],
        "match": cls.__match_args__,
        "slots": list(cls.__dict__.get("__slots__", ["none"])),
        "hashable": cls.__hash__ is not None,
        "methods": [name for name in _METHODS if getattr(cls, name) is not getattr(object, name)],
    }


def _shown(default: Any) -> str:
    if default is dataclasses.MISSING:
        return ""
    return getattr(default, "__qualname__", None) or repr(default)


def _made(factory: Any) -> str:
    return "" if factory is dataclasses.MISSING else re.sub(r" at 0x[0-9a-f]+", "", repr(factory()))


if __name__ == "__main__":
    found = {
        f"{module.__name__}.{name}": describe(cls)
        for module in modules()
        for name, cls in vars(module).items()
        if inspect.isclass(cls) and dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__
    }
    json.dump(found, sys.stdout)
