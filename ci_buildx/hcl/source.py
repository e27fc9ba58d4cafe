"""Positions in a document, and the error that names one."""

from __future__ import annotations

from typing import NamedTuple


class SourceRange(NamedTuple):
    """A part of a file. Lines and columns begin with 1; the end is behind the last character."""

    file: str
    line: int = 1
    column: int = 1
    end_line: int = 1
    end_column: int = 1

    def extend(self, last: SourceRange) -> SourceRange:
        """Return the range from the start of this one to the end of ``last``."""
        return self._replace(end_line=last.end_line, end_column=last.end_column)

    def __str__(self) -> str:
        """Return ``FILE:LINE,COLUMN-COLUMN``, as HCL's own errors begin."""
        end = str(self.end_column) if self.line == self.end_line else f"{self.end_line},{self.end_column}"
        return f"{self.file}:{self.line},{self.column}-{end}"


class HclError(Exception):
    """A document is invalid, or an expression failed. ``where`` is None if no position is known."""

    def __init__(self, summary: str, detail: str, where: SourceRange | None = None) -> None:
        super().__init__(summary, detail, where)
        self.summary = summary
        self.detail = detail
        self.where = where

    def __str__(self) -> str:
        text = f"{self.summary}; {self.detail}"
        return f"{self.where}: {text}" if self.where else text
