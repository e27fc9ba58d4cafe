"""One option as it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci_buildx.model.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A value of the option's shape; ``source`` is the head of errors about it: where it was given, and its name."""

    value: Any
    source: str


Entries = Mapping[str, Entry]
"""The options by their names; later ones have replaced earlier ones."""
