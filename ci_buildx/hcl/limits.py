"""Bounds of values: a definition may be a stranger's, and each of its lines could double a text."""

from __future__ import annotations

MOST_CHARACTERS = 4 << 20
"""Maximum length of a text: twice that of the largest definition."""
MOST_ITEMS = 100_000
"""Maximum number of elements that one call makes."""


def describe_excess(characters: int) -> str:
    """Return what is wrong with a text of this length, "" if nothing is."""
    return f"the text has more than {MOST_CHARACTERS} characters" if characters > MOST_CHARACTERS else ""
