"""Text in columns, as Go's text/tabwriter aligns it for docker's tools, and the formats of their cells."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ci_buildx.errors import InputError
from ci_buildx.model.platform import Platform
from ci_buildx.progress.step import strip_control_characters
from ci_buildx.settings.syntax import compute_bytes


def align_columns(rows: Sequence[Sequence[str]], *, least: int = 0, padding: int = 1) -> str:
    """Align cells in columns.

    A column is as wide as its widest cell plus ``padding`` characters, but at least ``least``. A row's last cell is not
    aligned. Adjacent rows that have a cell in a column share its width. Control characters and escape sequences of
    untrusted text are removed.
    """
    rows = [[strip_control_characters(cell) for cell in row] for row in rows]
    widths: list[list[int]] = [[0] * (len(row) - 1) for row in rows]
    for column in range(max((len(row) for row in rows), default=1) - 1):
        for block in _list_blocks(rows, column):
            widest = max(len(rows[index][column]) for index in block)
            for index in block:
                widths[index][column] = max(least, widest + padding)
    return "".join(_format_line(row, width) for row, width in zip(rows, widths, strict=True))


_TAB = 8


def align_with_tabs(rows: Sequence[Sequence[str]]) -> str:
    """Align cells in columns by tabs, each column a multiple of eight characters wide; as docker buildx's history does.

    A row's last cell is not aligned. Control characters and escape sequences of untrusted text are removed.
    """
    rows = [[strip_control_characters(cell) for cell in row] for row in rows]
    lines = [""] * len(rows)
    for column in range(max(map(len, rows), default=0)):
        for block in _list_blocks(rows, column):
            widest = max((len(rows[index][column]) for index in block), default=0)
            width = -(-(widest + 1) // _TAB) * _TAB
            for index in block:
                cell = rows[index][column]
                lines[index] += cell + "\t" * -(-(width - len(cell)) // _TAB)
        for index, row in enumerate(rows):
            if len(row) - 1 == column:
                lines[index] += row[column]
    return "".join(f"{line}\n" for line in lines)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as docker does: columns of at least ten characters, three spaces apart (cli/command/formatter)."""
    return align_columns([header, *rows], least=10, padding=3)


def _list_blocks(rows: Sequence[Sequence[str]], column: int) -> list[list[int]]:
    """Return the runs of adjacent rows that have a cell in this column that is not their last."""
    blocks: list[list[int]] = [[]]
    for index, row in enumerate(rows):
        if len(row) - 1 > column:
            blocks[-1].append(index)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _format_line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
    text = "".join([*padded, row[-1] if row else ""])
    return f"{text if row and row[-1] else text.rstrip()}\n"


_FIRST = tuple(f"linux/{name}" for name in ("amd64", "arm64", "arm", "ppc64le", "s390x", "riscv64", "mips64"))
_SHOWN = 4
"""Number of architectures shown in a table."""


def mark_named_platforms(named: Sequence[Platform], runs: Sequence[Platform]) -> list[str]:
    """Return each platform once: first those that the user named, with a star, then the node's others."""
    marked = {str(one): f"{one}*" for one in named}
    return list({**marked, **{str(one): str(one) for one in runs if str(one) not in marked}}.values())


def shorten_platforms(names: Sequence[str]) -> str:
    """Shorten platforms to four architectures.

    An architecture with several variants is shown with their number; the end shows how many platforms are left out.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_read_architecture(name), []).append(name)
    order = sorted(groups, key=lambda one: (_FIRST.index(one), "") if one in _FIRST else (len(_FIRST), one))
    shown = order[:_SHOWN]
    parts = [_format_group(architecture, groups[architecture]) for architecture in shown]
    left = len(names) - sum(len(groups[architecture]) for architecture in shown)
    return ", ".join([*parts, f"({left} more)"] if left else parts)


def _read_architecture(name: str) -> str:
    return "/".join(name.removesuffix("*").split("/")[:2])


def _format_group(architecture: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    star = "*" if any(name.endswith("*") for name in names) else ""
    return f"{architecture}{star} (+{len(names)})"


_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(?P<unit>[kKmMgGtTpP]?)(?:[iI]?[bB])?")
_POWERS = "kmgtp"


def format_size(count: float) -> str:
    """Format bytes with four digits and decimal units: ``2.746MB``."""
    return _scale(count, 1000.0, _DECIMAL)


def format_binary_size(count: float) -> str:
    """Format bytes with four digits and binary units: ``44KiB``."""
    return _scale(count, 1024.0, _BINARY)


def read_size(text: str, *, source: str) -> int:
    """Parse a size such as ``10GB``, ``512mb`` or ``2048`` and return bytes. Raises InputError.

    Units are powers of 1024, as docker reads sizes (``RAMInBytes``).
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{text!r} is not a size", source=source, fix="write it like 512MB or 10GB")
    power = _POWERS.index(match["unit"].lower()) + 1 if match["unit"] else 0
    return compute_bytes(match["number"], power, text=text, source=source)


def format_duration(seconds: float) -> str:
    """Format a rounded duration: ``Less than a second``, ``About a minute``, ``4 hours``."""
    whole, minutes = int(seconds), int(seconds / 60)
    hours = int(seconds / 3600 + 0.5)
    steps = (
        (whole < 1, "Less than a second"),
        (whole == 1, "1 second"),
        (whole < 60, f"{whole} seconds"),
        (minutes == 1, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 7 * 2, f"{hours // 24} days"),
        (hours < 24 * 30 * 2, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 365 * 2, f"{hours // 24 // 30} months"),
    )
    return next((text for holds, text in steps if holds), f"{int(seconds / 3600) // 24 // 365} years")


def format_go_duration(nanoseconds: int) -> str:
    """Format nanoseconds as Go's ``time.Duration`` does, in whole seconds: ``48h0m0s``."""
    seconds = nanoseconds // 1_000_000_000
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _scale(count: float, base: float, units: tuple[str, ...]) -> str:
    step = 0
    while count >= base and step < len(units) - 1:
        count, step = count / base, step + 1
    return f"{count:.4g}{units[step]}"
