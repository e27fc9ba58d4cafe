"""The settings of a build in a CI job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ci_buildx.model.record import replace
from ci_buildx.settings import assembly
from ci_buildx.settings.assembly import Value
from ci_buildx.settings.values import Progress, Settings


def read(
    values: Mapping[str, Value],
    sources: Mapping[str, str],
    env: Mapping[str, str],
    cwd: Path,
    *,
    auto: Progress = Progress.PLAIN,
) -> Settings:
    """As :func:`assembly.settings_from`, with lines for a log: some runners give a job a terminal that nobody sees.

    ``auto`` is the progress that fits the log.
    """
    settings = assembly.settings_from(values, sources, env, cwd)
    if settings.build.progress is not Progress.AUTO:
        return settings
    return replace(settings, build=replace(settings.build, progress=auto))
