"""What packages require, as the installed ones say."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement


def list_closure(*names: str) -> set[str]:
    """The packages, and all that they require here."""
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        wanted = map(Requirement, metadata.requires(name) or ())
        waiting += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found
