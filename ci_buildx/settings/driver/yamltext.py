"""YAML of the user's: a mapping, or a clear error with the line."""

from __future__ import annotations

from typing import Any

from ci_buildx.errors import InputError


def load_mapping(text: str, *, name: str, source: str) -> dict[str, Any]:
    """The mapping that YAML (or JSON) text holds; ``name`` is its file's, "" for none. Raises InputError."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(explain(error, name), source=source) from error
    if not isinstance(value, dict):
        what = f"{name!r} holds" if name else "it is"
        raise InputError(f"{what} no mapping", source=source, fix="write names and values, 'name: value'")
    return value


def explain(error: Exception, name: str) -> str:
    """What is wrong with a YAML text, in one line with the place."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    place = f"{mark.line + 1}:{mark.column + 1}" if mark else ""
    where = ":".join(part for part in (name, place) if part)
    return f"{where}: {problem or ' '.join(str(error).split())}" if where else f"no YAML: {problem or error}"
