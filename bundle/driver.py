"""The table of driver options, from their schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ci_buildx.settings.driver_opts import document
from ci_buildx.settings.driver_opts.table import ENV, OF_BUILDX, find_shape


def options_table() -> str:
    """Return the table: one option per row, with its description and default."""
    rows = [f"| {_name(name)} | {_told(one)} |" for name, one in sorted(_options(document.load_schema()), key=_order)]
    return "\n".join(("| option | description (default) |", "|---|---|", *rows, ""))


def schema_text() -> str:
    """Return the schema as it is published."""
    import json

    return json.dumps(document.load_schema(), indent=2) + "\n"


def _options(rules: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, one in rules["properties"].items():
        name = ".".join((*path, key))
        if key == ENV.rstrip("."):
            yield f"{ENV}NAME", one
        elif find_shape(name) is not None:
            yield name, one
        else:
            yield from _options(one, (*path, key))


def _order(row: tuple[str, Mapping[str, Any]]) -> bool:
    """Sort key: buildx's own options first, each group in the schema's order."""
    name = row[0]
    return name not in OF_BUILDX and not name.startswith(ENV)


def _name(name: str) -> str:
    return f"`{name}`" if _order((name, {})) is False else f"`{name}` \\*"


def _told(one: Mapping[str, Any]) -> str:
    told = str(one["description"]).replace("|", "\\|")
    if "enum" in one:
        words = [f"`{word}`" for word in one["enum"] if isinstance(word, str)]
        told = told if all(word in told for word in words[:-1]) else f"{told}: {', '.join(words)}"
    default = one.get("default")
    shown = str(default).lower() if isinstance(default, bool) else default
    return told if default is None else f"{told} (`{shown}`)"
