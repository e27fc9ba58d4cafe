"""The table of driver options, and their schema."""

from __future__ import annotations

import json

from ci_buildx.settings.driver_opts import table
from ci_buildx.settings.driver_opts.schema import format_default, make_schema
from ci_buildx.settings.driver_opts.table import ENV, DriverOption


def options_table() -> str:
    """Return the table: one option per row, with its description and default; buildx's own options come first."""
    rows = [
        *(f"| `{_name(option)}` | {_told(option)} |" for option in table.OF_BUILDX),
        *(f"| `{_name(option)}` \\* | {_told(option)} |" for option in table.OF_OURS),
    ]
    return "\n".join(("| option | description (default) |", "|---|---|", *rows, ""))


def schema_text() -> str:
    """Return the schema as it is published."""
    return json.dumps(make_schema(), indent=2) + "\n"


def _name(option: DriverOption) -> str:
    return f"{ENV}NAME" if option.name == ENV else option.name


def _told(option: DriverOption) -> str:
    told = option.help.replace("|", "\\|")
    words = [f"`{word}`" for word in option.choices]
    if not all(word in told for word in words[:-1]):
        told = f"{told}: {', '.join(words)}"
    default = format_default(option)
    shown = str(default).lower() if isinstance(default, bool) else default
    return told if default is None else f"{told} (`{shown}`)"
