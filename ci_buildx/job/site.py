"""What every step of one job works with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ci_buildx.job.interrupts import Outcome
from ci_buildx.job.phases import Phases
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass
from ci_buildx.progress.display import Display
from ci_buildx.settings.values import Settings

if TYPE_CHECKING:
    from ci_buildx.fsutil.clocks import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The job's surroundings.

    ``stop`` is set when the work is to end early; ``clocks`` will have those of the shared folders, by their names;
    ``checkout`` gives the attributes by which the request tells of the commit.
    """

    settings: Settings
    kube: KubeClient
    display: Display
    env: Mapping[str, str]
    stop: threading.Event
    phases: Phases
    clocks: Outcome[dict[str, Clock]] | None = None
    checkout: Callable[[], dict[str, str]] = dict
