"""The known name that a mistyped one probably stands for."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known name that is most like ``name``, "" if none is like it (``cutoff``: from 0, any, to 1, the same)."""
    from difflib import get_close_matches

    folded = {candidate.lower(): str(candidate) for candidate in known}
    matches = get_close_matches(name.lower(), folded, n=1, cutoff=cutoff)
    return folded[matches[0]] if matches else ""


def suggest(name: str, known: Iterable[str]) -> str:
    """The fix of an error about an unknown name: the nearest known one, or all of them where none is near."""
    candidates = list(known)
    match = nearest(name, candidates)
    return f"did you mean {match!r}?" if match else f"known: {', '.join(candidates)}"
