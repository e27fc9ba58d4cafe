"""Targets as settings of builds: each is what ``build`` would do with its options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.bake.inputs import TargetInputs
from ci_buildx.errors import InputError
from ci_buildx.fsutil import scratch
from ci_buildx.model.record import dataclass, replace
from ci_buildx.settings.assembly import make_settings
from ci_buildx.settings.attributes import STDOUT
from ci_buildx.settings.options import BY_NAME
from ci_buildx.settings.raw_values import Value
from ci_buildx.settings.values import BuildSettings, Settings

_DOCKERFILE = "Dockerfile"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetJob:
    """One target to build. ``contexts`` are those of its named contexts that are other targets."""

    name: str
    settings: Settings
    contexts: Mapping[str, str]
    description: str = ""
    linked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedOptions:
    """Values and sources of the options about the job around all targets, and the process's environment."""

    values: Mapping[str, Value]
    sources: Mapping[str, str]
    env: Mapping[str, str]
    cwd: Path


@contextmanager
def open_jobs(targets: Sequence[TargetInputs], shared: SharedOptions) -> Iterator[list[TargetJob]]:
    """Yield the targets as jobs; inline Dockerfiles are in a temporary folder meanwhile. Raises InputError."""
    if not any(one.inline is not None for one in targets):
        yield _make_jobs(targets, shared, {})
        return
    with scratch.open_folder() as folder:
        files = {}
        for number, one in enumerate(targets):
            if one.inline is not None:
                files[one.name] = folder / str(number) / _DOCKERFILE
                files[one.name].parent.mkdir()
                files[one.name].write_text(one.inline, encoding="utf-8")
        yield _make_jobs(targets, shared, files)


def _make_jobs(targets: Sequence[TargetInputs], shared: SharedOptions, files: Mapping[str, Path]) -> list[TargetJob]:
    jobs = [_make_job(one, shared, files.get(one.name)) for one in targets]
    streamed = [job.name for job in jobs if any(one.get("dest") == STDOUT for one in job.settings.build.outputs)]
    if len(streamed) > 1:
        message = f"targets {' and '.join(streamed)} both write to standard output"
        raise InputError(message, source="output", fix="give all but one a file: dest=FILE")
    return jobs


def _make_job(target: TargetInputs, shared: SharedOptions, file: Path | None) -> TargetJob:
    values = {**shared.values, **target.values}
    if file is not None:
        values["file"] = str(file)
    if target.linked:  # What others need is built, also if those only answer a call.
        values.pop("call", None)
    sources = {**shared.sources, **{name: BY_NAME[name].flag for name in target.values}}
    try:
        settings = make_settings(values, sources, shared.env, shared.cwd)
    except InputError as error:
        origin = f"target {target.name}" + (f", {error.source}" if error.source else "")
        raise InputError(error.message, source=origin, fix=error.fix) from error
    return TargetJob(
        name=target.name,
        settings=settings,
        contexts=target.links,
        description=target.description,
        linked=target.linked,
    )


def merge_settings(jobs: Sequence[TargetJob], cwd: Path) -> Settings:
    """Return the settings of the builder for all targets: their platforms and entitlements, and no outputs."""
    first = jobs[0].settings
    platforms = dict.fromkeys(platform for job in jobs for platform in job.settings.build.platforms)
    entitlements = dict.fromkeys(name for job in jobs for name in job.settings.build.entitlements)
    flags = dict.fromkeys(flag for job in jobs for flag in job.settings.builder.buildkitd_flags)
    build = BuildSettings(
        context=cwd,
        dockerfile=None,
        platforms=tuple(platforms),
        entitlements=tuple(entitlements),
        timeline=first.build.timeline,
        progress=first.build.progress,
    )
    return replace(first, build=build, builder=replace(first.builder, buildkitd_flags=tuple(flags)))
