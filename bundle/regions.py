"""Generated regions of a file, each between two marks; the rest of the file is handwritten.

A mark is a comment in the file's language that contains ``bundle: NAME`` or, at the end, ``bundle: end``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_MARK = re.compile(r"^[ ]*(?:#|<!--) bundle: (?P<name>[a-z-]+)(?: -->)?$")
_END = "end"


def fill(text: str, regions: Mapping[str, Callable[[], str]]) -> str:
    """Replace each region by its renderer's text. Raises ValueError for wrong marks."""
    lines: list[str] = []
    inside = ""
    for line in text.splitlines():
        found = _MARK.match(line)
        name = found["name"] if found else ""
        if name == _END:
            if not inside:
                raise ValueError("a region ends that did not begin")
            inside = ""
        elif name:
            if inside or name not in regions:
                raise ValueError(f"region {name!r} {'is inside ' + inside if inside else 'is unknown'}")
            lines += [line, *regions[name]().splitlines()]
            inside = name
            continue
        if not inside:
            lines.append(line)
    if inside:
        raise ValueError(f"region {inside!r} does not end")
    return "".join(f"{line}\n" for line in lines)
