"""Tables of the documentation."""

from __future__ import annotations

from collections.abc import Iterable

from bundle.describe import sentence
from ci_buildx.ci import inputs
from ci_buildx.settings.option import Option, Surface


def action_table() -> str:
    """The Action's inputs, one a row."""
    return _table(inputs.on_surface(Surface.GITHUB))


def setup_table() -> str:
    """Those of the step that only sets a builder up."""
    return _table(inputs.OF_SETUP)


def _table(options: Iterable[Option]) -> str:
    rows = [f"| `{option.name}` | {_cell(sentence(option))} |" for option in options]
    return "\n".join(("| input | what it says |", "|---|---|", *rows, ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
