"""Progress for CI logs: folds and workflow commands for GitHub Actions, sections for GitLab.

Commands of one form start a line, possibly after spaces; those of the other, ``##[name]``, are recognized anywhere. A
lone carriage return also ends a line (actions/runner 2.330, ``src/Runner.Common/ActionCommand.cs``; .NET's ReadLine).

On GitHub each step is a fold, with its result in the title if it has already ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ci_buildx.progress.plain import PlainLog, StepTrack, format_ending
from ci_buildx.progress.renderer import TextOutlet
from ci_buildx.progress.step import BuildStep, drop_controls


class WorkflowCommand(str):
    """A line that the runner is to interpret; untrusted text in it is escaped."""

    __slots__ = ()


def escape_value(text: str) -> str:
    """Escape a command's value, so that it stays on one line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def defuse_commands(text: str) -> str:
    """Return the text with all commands broken up, so that the runner finds none."""
    lines = text.replace("\r\n", "\n").replace("\r", " ").replace("##[", "# #[").split("\n")
    return "\n".join(_defuse_line(line) for line in lines)


def _defuse_line(line: str) -> str:
    return line.replace("::", ": :", 1) if line.lstrip().startswith("::") else line


_SILENCE = 2.0
"""Seconds after which a running step without output is shown."""
_END = WorkflowCommand("::endgroup::")


class GitHubLog(PlainLog):
    """Plain log with a fold for each step that has output, and a single line for each other step."""

    def warn(self, text: str) -> None:
        """Print the warning as an annotation of the run."""
        self._leave()
        self._out.append(WorkflowCommand(f"::warning title=kube-builder::{escape_value(drop_controls(text))}"))
        self._flush()

    def _print(self, track: StepTrack) -> None:
        lines, ended = self._format_news(track)
        if not (lines or ended) and track.step.compute_duration(self._printed_at) < _SILENCE:
            return
        over = drop_controls(f" {format_ending(track.step)}".partition("\n")[0]) if ended else ""
        if track is not self._current:
            self._leave()
            name = self._name(track)
            says_nothing = ended and not lines
            title = f"#{track.number} {name}{over}"
            self._out.append(
                title if says_nothing else WorkflowCommand(f"::group::{escape_value(defuse_commands(title))}")
            )
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
        self._out = [line if isinstance(line, WorkflowCommand) else defuse_commands(line) for line in self._out]
        super()._flush()

    def _leave(self) -> None:
        if self._current is not None:
            self._out.append(_END)
            self._current.events = 0
            self._current = None


_PHASES = (
    ("creating builder", "builder", "Builder"),
    ("booting builder", "builder", "Builder"),
    ("merging index", "merge", "Merge"),
    ("removing builder", "teardown", "Clean-up"),
)
_BUILD = ("build", "Build")


class GitLabLog(PlainLog):
    """Plain log in sections.

    A section ends when a step of a later phase is shown, and is never reopened: GitLab accepts each section name only
    once in a log.
    """

    def __init__(self, outlet: TextOutlet, *, clock: Callable[[], float] = time.time, heading: str = "") -> None:
        super().__init__(outlet, heading=heading)
        self._clock = clock
        self._open = ""
        self._seen: set[str] = set()

    def _enter(self, track: StepTrack) -> None:
        if track is not self._current:
            self._begin(*_name_section(track.step))
        super()._enter(track)

    def _print_rest(self) -> None:
        super()._print_rest()
        self._end()

    def _begin(self, name: str, title: str) -> None:
        if name in self._seen:
            return
        self._end()
        self._seen.add(name)
        self._open = name
        self._begun = False
        self._out.append(f"\x1b[0Ksection_start:{int(self._clock())}:kube_builder_{name}\r\x1b[0Kkube-builder: {title}")

    def _end(self) -> None:
        if not self._open:
            return
        self._leave()
        self._out.append(f"\x1b[0Ksection_end:{int(self._clock())}:kube_builder_{self._open}\r\x1b[0K")
        self._open = ""


def _name_section(step: BuildStep) -> tuple[str, str]:
    """Return name and title of the section that a step belongs to."""
    words = step.name.removeprefix("[internal] ")
    return next(((name, title) for head, name, title in _PHASES if step.ours and words.startswith(head)), _BUILD)
