"""Shared dependencies of all steps of one build."""

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
    """Settings, clients and state of one build.

    ``stop`` is set when the work must end early. ``clocks`` resolves to the clocks of the shared folders by name.
    ``checkout`` returns the request attributes that describe the commit.
    """

    settings: Settings
    kube: KubeClient
    display: BuildDisplay
    env: Mapping[str, str]
    stop: threading.Event
    phases: PhaseTimes
    clocks: ThreadOutcome[dict[str, Clock]] | None = None
    checkout: Callable[[], dict[str, str]] = dict
