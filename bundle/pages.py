"""Tables of the documentation."""

from __future__ import annotations

from bundle.describe import sentence
from ci_buildx.ci import inputs
from ci_buildx.settings.option import Surface


def action_table() -> str:
    """The Action's inputs, one a row."""
    rows = [f"| `{option.name}` | {_cell(sentence(option))} |" for option in inputs.on_surface(Surface.GITHUB)]
    return "\n".join(("| input | what it says |", "|---|---|", *rows, ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
