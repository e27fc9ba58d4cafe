"""What a verb sees of the process around it, so that tests can give it another one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO, cast

from ci_buildx.cli.stdout import watch
from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.progress.outlet import Outlet


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Environment, absolute working directory and streams; ``stdin`` is None where nobody can answer."""

    env: Mapping[str, str]
    cwd: Path
    stdout: TextIO
    stderr: TextIO
    stdin: TextIO | None = None

    @property
    def stdout_is_closed(self) -> bool:
        """Whether there is the null device in the place of standard output."""
        return getattr(self.stdout, "name", "") == os.devnull

    def confirm(self, warning: str) -> bool:
        """Ask whether to go on, as docker's tools do. Raises InputError where nobody answers."""
        answer = ""
        if self.stdin is not None:
            self.stdout.write(f"WARNING! {warning} Are you sure you want to continue? [y/N] ")
            self.stdout.flush()
            answer = self.stdin.readline()
        if not answer:
            raise InputError("nobody confirms this", source="--force", fix="add it to do it without being asked")
        return answer.strip().lower() == "y"

    def note(self, text: str) -> None:
        """Tell the user of what is as it was asked for, and worth knowing."""
        self._tell(f"note: {text}")

    def warn(self, text: str) -> None:
        """Tell the user of what is no error."""
        self._tell(f"warning: {text}")

    def _tell(self, text: str) -> None:
        """A line on standard error, of others' text, too: without secrets, and inert."""
        from ci_buildx.model import masker
        from ci_buildx.progress.text import inert

        shown = inert(masker.without(text, masker.of_process(self.env, ())))
        Outlet(self.stderr).write(f"kube-builder: {' '.join(shown.splitlines())}\n")


def of_process() -> World:
    """The real one, and its streams as those of :mod:`sys`. The null device stands for one that is closed."""
    # In this order: each takes the lowest free descriptor, its own, which no file or socket may get instead.
    sys.stdin = sys.stdin or _null("r")
    sys.stdout = watch(sys.stdout or _null("w"))
    sys.stderr = sys.stderr or _null("w")
    return World(env=os.environ, cwd=Path.cwd(), stdout=sys.stdout, stderr=sys.stderr, stdin=sys.stdin)


def _null(mode: str) -> TextIO:
    return cast("TextIO", Path(os.devnull).open(mode, encoding="utf-8"))
