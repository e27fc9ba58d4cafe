"""How the parts of a progress line are written: names, amounts, times, log output.

Formats are those of BuildKit 0.34.2 (``util/progress/progressui``) and of tonistiigi/units, which prints its amounts.
"""

from __future__ import annotations

from ci_buildx.model.pattern import pattern

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_CONTROLS = pattern(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNSAFE = pattern(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\n\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
)
"""Sequences of ECMA-48 in 7 and 8 bits, whole strings such as OSC, other controls and line breaks, and overrides of
direction."""
_STRIPPED = pattern(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\n\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?|[\u202a-\u202e\u2066-\u2069]"
)
"""The same, without controls that stand for white space."""
_OBEYED = pattern(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_COLOUR = pattern(r"\x1b\[[0-9;:]*m")
_PLATFORM = pattern(r"\[[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9]+)?[ \]]")
CANCELED = "context canceled"
"""How the error of a step ends that was stopped because the build was."""


def amount(size: int) -> str:
    """Bytes in decimal units with two places: ``2.10MB``; bare bytes below 1000."""
    value, unit = float(size), 0
    while abs(value) >= 1000 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.2f}{_UNITS[unit]}" if unit else f"{size}B"


def transferred(current: int, total: int) -> str:
    """``1.20MB / 3.40MB``, or what there is of it."""
    if total:
        return f"{amount(current)} / {amount(total)}"
    return amount(current) if current else ""


def stamp(seconds: float) -> str:
    """The time of a log line inside its step, always about five characters."""
    seconds = max(0.0, seconds)
    places = 3 if seconds < 10 else 2 if seconds < 100 else 1
    return f"{seconds:.{places}f}"


def prefixed(node: str, name: str) -> str:
    """A step's name with its node, unless it carries a platform, which says the same.

    The shape is that of buildx 0.38.2 (``util/progress/multiwriter.go``).
    """
    if not node or _PLATFORM.match(name):
        return name
    return f"[{node} {name[1:]}" if name.startswith("[") else f"[{node}] {name}"


def overwritten(line: str) -> str:
    """What a terminal would leave of a line in which carriage returns go back to its beginning."""
    return line.rstrip("\r").rpartition("\r")[2]


def printable(line: str) -> str:
    """A line without escape sequences and control characters, for a display that counts columns."""
    if line.isprintable():
        return line
    return _CONTROLS.sub(" ", _STRIPPED.sub("", line))


def inert(text: str, *, colours: bool = True) -> str:
    """Lines of others' text without what a terminal or a log would obey: tabs stay, and ``colours`` (SGR).

    So a step can set no title or clipboard, and open no section of GitLab's log.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(lambda found: found[0] if colours and _COLOUR.fullmatch(found[0]) else "", text)


def escaped(document: str) -> str:
    """A JSON document with the characters that :func:`inert` takes out as ``\\u`` escapes."""
    if document.isascii() and document.isprintable():
        return document
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def is_canceled(error: str) -> bool:
    """Whether a step ended because the build did, not by itself."""
    return error.endswith(CANCELED)
