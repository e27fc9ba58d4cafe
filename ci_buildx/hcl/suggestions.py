"""The name that was probably meant instead of an unknown one."""

from __future__ import annotations

from collections.abc import Iterable


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean "NAME"?``, "" if no name is similar."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f' Did you mean "{near[0]}"?' if near else ""
