"""The report of a migration: a verdict with a line and a reason for each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from ci_buildx.model.record import dataclass
from ci_buildx.progress.step import drop_controls


class MigrationVerdict(StrEnum):
    """The result for one step."""

    CARRIED = "carried over"
    CHANGED = "changed"
    LEFT = "left"
    BY_HAND = "by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationNote:
    """One line of the report. ``line`` counts from 1 in the file before the migration."""

    verdict: MigrationVerdict
    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratedFile:
    """The new text of a file, and its report."""

    text: str
    notes: tuple[MigrationNote, ...]

    @property
    def needs_hand(self) -> bool:
        """Whether something is left for the user to do."""
        return any(note.verdict is MigrationVerdict.BY_HAND for note in self.notes)


def format_report(source: str, migrated: MigratedFile) -> str:
    """Return the report: one line for each note, sorted by line, and the counts of the verdicts."""
    notes = sorted(dict.fromkeys((note.line, note.verdict, note.text) for note in migrated.notes), key=lambda n: n[0])
    lines = [_write_line(f"{source}:{line}: {verdict}: {text}") for line, verdict, text in notes]
    return "".join(f"{line}\n" for line in [*lines, f"{source}: {_count_verdicts(verdict for _, verdict, _ in notes)}"])


def _write_line(text: str) -> str:
    """Return one line of the report: notes quote values of the file, which may hold line breaks and commands."""
    return drop_controls(" ".join(text.splitlines()), colours=False)


def _count_verdicts(verdicts: Iterable[MigrationVerdict]) -> str:
    counts = Counter(verdicts)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in MigrationVerdict)
