"""What every step of one job works with."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from ci_buildx.job.phases import Phases
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass
from ci_buildx.progress.display import Display
from ci_buildx.settings.values import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The job's surroundings. ``stop`` is set when the work is to end early."""

    settings: Settings
    kube: KubeClient
    display: Display
    env: Mapping[str, str]
    stop: threading.Event
    phases: Phases
