"""Progress for the log of GitHub Actions: a fold for each step, its end in the title where that is known already.

What a step writes is never taken for a command by the runner: those of one form begin a line (ours begin with the
step's number), those of the other, ``##[name]``, are honoured anywhere (actions/runner 2.330,
``src/Runner.Common/ActionCommand.cs``).
"""

from __future__ import annotations

from ci_buildx.progress.plain import Plain, Track, ending

_SILENCE = 2.0
"""Seconds after which a running step is shown that says nothing."""
_COMMAND, _HARMLESS = "##[", "# #["


class Folded(Plain):
    """Steps that have something to say are folded; of the others one line tells all."""

    def warn(self, text: str) -> None:
        """An annotation of the run."""
        self._leave()
        self._out.append(f"::warning title=kube-builder::{text.replace('%', '%25')}")
        self._flush()

    def _print(self, track: Track) -> None:
        lines, ended = self._news(track)
        if not (lines or ended) and track.step.duration(self._printed_at) < _SILENCE:
            return
        over = f" {ending(track.step)}".partition("\n")[0] if ended else ""
        if track is not self._current:
            self._leave()
            name = self._name(track)
            says_nothing = ended and not lines
            self._out.append(f"{'' if says_nothing else '::group::'}#{track.number} {name}{over}")
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
        # Behind a lone carriage return the runner would begin another line, and read a command there.
        self._out = [line.replace("\r", " ").replace(_COMMAND, _HARMLESS) for line in self._out]
        super()._flush()

    def _leave(self) -> None:
        if self._current is not None:
            self._out.append("::endgroup::")
            self._current.events = 0
            self._current = None
