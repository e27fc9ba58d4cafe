"""Progress for the log of GitHub Actions: a fold for each step, its end in the title where that is known already."""

from __future__ import annotations

from ci_buildx.progress.plain import Plain, Track, ending
from ci_buildx.progress.runner import Command, escape, harmless
from ci_buildx.progress.text import inert

_SILENCE = 2.0
"""Seconds after which a running step is shown that says nothing."""
_END = Command("::endgroup::")


class Folded(Plain):
    """Steps that have something to say are folded; of the others one line tells all."""

    def warn(self, text: str) -> None:
        """An annotation of the run."""
        self._leave()
        self._out.append(Command(f"::warning title=kube-builder::{escape(inert(text))}"))
        self._flush()

    def _print(self, track: Track) -> None:
        lines, ended = self._news(track)
        if not (lines or ended) and track.step.duration(self._printed_at) < _SILENCE:
            return
        over = inert(f" {ending(track.step)}".partition("\n")[0]) if ended else ""
        if track is not self._current:
            self._leave()
            name = self._name(track)
            says_nothing = ended and not lines
            title = f"#{track.number} {name}{over}"
            self._out.append(title if says_nothing else Command(f"::group::{escape(harmless(title))}"))
            self._current = None if says_nothing else track
        elif over:
            lines.append(over.lstrip())
        self._number(track, lines)
        if ended:
            self._leave()
            track.events = 0

    def _print_rest(self) -> None:
        super()._print_rest()
        self._leave()

    def _flush(self) -> None:
        self._out = [line if isinstance(line, Command) else harmless(line) for line in self._out]
        super()._flush()

    def _leave(self) -> None:
        if self._current is not None:
            self._out.append(_END)
            self._current.events = 0
            self._current = None
