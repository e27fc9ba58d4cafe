"""The inputs that the CI systems offer: those of the table of a build's options, and those of the job around it."""

from __future__ import annotations

from ci_buildx.settings import options
from ci_buildx.settings.option import Group, Option, Surface

ON_GITHUB = frozenset((Surface.GITHUB,))

PYTHON = Option(
    name="python",
    flags=(),
    metavar="PROGRAM",
    group=Group.DISPLAY,
    surfaces=ON_GITHUB,
    help="Python interpreter to use, 3.11 or newer",
    otherwise="the first on the PATH",
)
"""Read by the JavaScript around us (``action/run.js``)."""

OF_THE_JOB: tuple[Option, ...] = (PYTHON,)


def on_surface(surface: Surface) -> tuple[Option, ...]:
    """The inputs of a CI system, in the tables' order."""
    return (*options.on_surface(surface), *(option for option in OF_THE_JOB if surface in option.surfaces))
