"""Regular expressions that are compiled when they are first used.

Compiling costs 0.1 to 0.6 ms each, and of the forty that a build's modules have, a good build uses ten.
"""

from __future__ import annotations

import re
from typing import Any, cast


def pattern(text: str, flags: int = 0) -> re.Pattern[str]:
    """``re.compile``, later. An error in ``text`` shows at its first use: tests use every one."""
    return cast("re.Pattern[str]", _Later(text, flags))


class _Later:
    """Has the methods of a pattern as soon as one is asked for."""

    def __init__(self, text: str, flags: int) -> None:
        self._asked = (text, flags)

    def __getattr__(self, name: str) -> Any:
        compiled = re.compile(*self._asked)
        for method in ("findall", "finditer", "fullmatch", "match", "search", "split", "sub"):
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)
