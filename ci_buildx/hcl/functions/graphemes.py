"""Characters as people count them: a letter with its combining marks is one (Unicode's grapheme clusters, in short)."""

from __future__ import annotations

import unicodedata

_JOINER = "\u200d"


def split_graphemes(text: str) -> list[str]:
    """Return the text's characters, each with its combining marks, joined emoji and flags as one."""
    if text.isascii() and "\r" not in text:
        return list(text)
    found: list[str] = []
    for one in text:
        if found and _is_continued(found[-1], one):
            found[-1] += one
        else:
            found.append(one)
    return found


def _is_continued(before: str, one: str) -> bool:
    if before == "\r":
        return one == "\n"
    if before[-1] in "\r\n":
        return False
    if unicodedata.category(one) in ("Mn", "Me", "Mc") or one == _JOINER or "\U0001f3fb" <= one <= "\U0001f3ff":
        return True
    if before.endswith(_JOINER):
        return unicodedata.category(one) == "So"
    return _is_regional(one) and len(before) == 1 and _is_regional(before)


def _is_regional(one: str) -> bool:
    return "\U0001f1e6" <= one <= "\U0001f1ff"
