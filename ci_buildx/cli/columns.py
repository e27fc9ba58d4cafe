"""Text in columns, as Go's text/tabwriter lays it out: what docker's tools print their lists with."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.progress.text import printable


def align(rows: Sequence[Sequence[str]], *, least: int = 0, padding: int = 1) -> str:
    """Lines of cells. A column is as wide as its widest cell and ``padding``, ``least`` at least.

    A row's last cell belongs to no column. Rows that have a cell in a column, one below the other, share its width.
    Control characters and escape sequences of others' texts are left out.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths: list[list[int]] = [[0] * (len(row) - 1) for row in rows]
    for column in range(max((len(row) for row in rows), default=1) - 1):
        for block in _blocks(rows, column):
            widest = max(len(rows[index][column]) for index in block)
            for index in block:
                widths[index][column] = max(least, widest + padding)
    return "".join(_line(row, width) for row, width in zip(rows, widths, strict=True))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of docker's: three spaces between columns of ten characters at least (cli/command/formatter)."""
    return align([header, *rows], least=10, padding=3)


def _blocks(rows: Sequence[Sequence[str]], column: int) -> list[list[int]]:
    """The runs of rows that have a cell in a column, other than their last."""
    blocks: list[list[int]] = [[]]
    for index, row in enumerate(rows):
        if len(row) - 1 > column:
            blocks[-1].append(index)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
    return "".join([*padded, row[-1] if row else ""]).rstrip() + "\n"
