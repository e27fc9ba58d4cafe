"""What every step of one job works with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass
from ci_buildx.progress.display import BuildDisplay
from ci_buildx.runtime.phases import PhaseTimes
from ci_buildx.runtime.signals import ThreadOutcome
from ci_buildx.settings.values import Settings

if TYPE_CHECKING:
    from ci_buildx.fsutil.mtimes import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRun:
    """The job's surroundings.

    ``stop`` is set when the work is to end early; ``clocks`` will have those of the shared folders, by their names;
    ``checkout`` gives the attributes by which the request tells of the commit.
    """

    settings: Settings
    kube: KubeClient
    display: BuildDisplay
    env: Mapping[str, str]
    stop: threading.Event
    phases: PhaseTimes
    clocks: ThreadOutcome[dict[str, Clock]] | None = None
    checkout: Callable[[], dict[str, str]] = dict
