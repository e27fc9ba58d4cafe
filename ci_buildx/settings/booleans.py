"""Yes and no, as options of the command line, CI inputs and variables write them."""

from __future__ import annotations

_TRUE = frozenset(("1", "t", "true", "yes", "on"))
_FALSE = frozenset(("0", "f", "false", "no", "off"))


def read_boolean(text: str) -> bool | None:
    """Go's ``strconv.ParseBool`` in any case, and YAML's yes, no, on, off; None for anything else."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    return False if word in _FALSE else None
