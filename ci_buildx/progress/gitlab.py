"""Progress for the log of a GitLab job: a section for each phase, which folds (its documentation, "Custom collapsible
sections"). A section's duration is shown at its title.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ci_buildx.progress.outlet import Outlet
from ci_buildx.progress.plain import Plain, Track
from ci_buildx.progress.step import Step

_PHASES = (
    ("creating builder", "builder", "Builder"),
    ("booting builder", "builder", "Builder"),
    ("merging index", "merge", "Merge"),
    ("removing builder", "teardown", "Clean-up"),
)
_BUILD = ("build", "Build")


class Sectioned(Plain):
    """Plain lines; a section ends for good when a step of a later phase is shown, for names count once in a log."""

    def __init__(self, outlet: Outlet, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(outlet)
        self._clock = clock
        self._open = ""
        self._seen: set[str] = set()

    def _enter(self, track: Track) -> None:
        if track is not self._current:
            self._begin(*_section(track.step))
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


def _section(step: Step) -> tuple[str, str]:
    """The name and title of a step's section."""
    words = step.name.removeprefix("[internal] ")
    return next(((name, title) for head, name, title in _PHASES if step.ours and words.startswith(head)), _BUILD)
