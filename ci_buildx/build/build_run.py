"""One build: the dependencies that its steps share, the secrets that its output hides, and its report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from ci_buildx.build import caches as build_caches
from ci_buildx.build.result import write_file
from ci_buildx.errors import Interrupted, KubeBuilderError
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import masker
from ci_buildx.model.plaintext import find_logins
from ci_buildx.model.record import dataclass, field, replace
from ci_buildx.progress.display import BuildDisplay, DisplayPhase
from ci_buildx.runtime.phases import PhaseTimes
from ci_buildx.runtime.signals import ThreadOutcome
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.values import BuildSettings, Settings

if TYPE_CHECKING:
    from ci_buildx.build.links import LinkedSolve
    from ci_buildx.fsutil.mtimes import Clock
    from ci_buildx.progress.summary import BuildReport


BOOTING = "booting builder"
"""The displayed phase in which a builder's pods start and answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRun:
    """Settings, clients and state of one build.

    ``stop`` is set when the work must end early. ``boot`` is the displayed phase in which an existing builder is found
    and reached; a new builder's begins when it exists. ``clocks`` resolves to the clocks of the shared folders by name.
    ``checkout`` returns the request attributes that describe the commit. ``undo`` is closed by the main thread when the
    build ends, even by a signal, for which work in other threads does not end in time. ``label`` precedes the names of
    its steps, if several builds share a display; ``join`` returns what its share on a node exchanges with the others,
    and ``share`` the frontend attributes for folders that it shares with them there.
    ``counted``: the builder's history, if it has one, and its metrics know the build. ``trace`` is the W3C
    ``traceparent`` of its steps, "" if the build is not traced.
    """

    settings: Settings
    kube: KubeClient
    display: BuildDisplay
    env: Mapping[str, str]
    stop: threading.Event
    phases: PhaseTimes
    clocks: ThreadOutcome[dict[str, Clock]] | None = None
    checkout: Callable[[], dict[str, str]] = dict
    boot: DisplayPhase | None = None
    undo: ExitStack = field(default_factory=ExitStack)
    label: str = ""
    join: Callable[[str], LinkedSolve | None] = lambda _: None
    share: Callable[[str], dict[str, str]] = lambda _: {}
    counted: bool = False
    trace: str = ""


_LARGEST = 1 << 13
"""Maximum bytes of a build secret that is masked: a larger one is a file, which no message contains."""


def collect_secrets(build: BuildSettings, env: Mapping[str, str], also: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the secrets of a build in all spellings, the longest first; ``also`` adds the caller's.

    Names of steps can contain them, and buildkitd's errors may repeat what it was sent.
    """
    return masker.list_spellings(
        (
            *list_credentials_of_settings(build, env),
            *list_secret_values(build),
            *masker.find_environment_secrets(env),
            *also,
        )
    )


def list_credentials_of_settings(build: BuildSettings, env: Mapping[str, str]) -> Iterator[str]:
    """Yield the credentials in build arguments and labels, in URLs, and in the attributes of caches and outputs."""
    for name, value in (*build.build_args, *build.labels, *build.annotations):
        yield from masker.find_pair_secrets(name, value)
    caches = (*build.cache_from, *build.cache_to)
    for entry in (*caches, *build_caches.complete_actions_caches(caches, env), *build.outputs):
        for name, value in entry.attrs:
            if masker.is_secret_attribute(name) and len(value) >= masker.SHORTEST:
                yield value
            yield from find_logins(value)
    sources = (str(one.location) for one in build.contexts)
    for text in (str(build.context), build.dockerfile_origin, *sources):
        yield from find_logins(text)


def list_secret_values(build: BuildSettings) -> Iterator[str]:
    """Yield the contents of build secrets, as a log would show them."""
    for secret in build.secrets:
        if len(secret.value) <= _LARGEST:
            yield secret.value.reveal().decode(errors="replace")


def choose_wording(surface: OptionSurface) -> Callable[[str], str]:
    """Return the function that puts our own texts into the words of ``surface``: inputs in place of flags."""
    if surface is OptionSurface.CLI:
        return str
    from ci_buildx.settings.wording import name_inputs

    return partial(name_inputs, surface=surface)


def _reword(error: BaseException, surface: OptionSurface) -> None:
    if surface is not OptionSurface.CLI:
        from ci_buildx.settings.wording import reword_error

        reword_error(error, surface)


def hide_in(error: BaseException, masked: Callable[[str], str]) -> None:
    """Mask secrets in the message, fix and notes of an error."""
    if isinstance(error, KubeBuilderError):
        error.message, error.fix = masked(error.message), masked(error.fix)
        error.args = (error.message,)
    if notes := getattr(error, "__notes__", None):
        notes[:] = map(masked, notes)


_TRACED = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "TRACEPARENT")


def open_trace(
    shown: BuildDisplay, phases: PhaseTimes, env: Mapping[str, str], *, verb: str, title: str
) -> AbstractContextManager[str]:
    """Return a context manager that traces one run of ``verb``, if it is not "" and the environment asks for it.

    Its value is the ``traceparent`` for calls, "" if the run is not traced.
    """
    if not verb or not any(env.get(name) for name in _TRACED):
        return nullcontext("")
    from ci_buildx import __version__
    from ci_buildx.build import tracing

    return tracing.trace_build(shown, phases, env, verb=verb, title=title, version=__version__)


Hear = Callable[["BuildReport"], None]


@contextmanager
def record_build(site: BuildRun, hear: Hear | None) -> Iterator[None]:
    """Write the requested timeline at the end of the block, and call ``hear`` with the report.

    An error of these does not replace the build's own error; it becomes a note on it.
    """
    try:
        yield
    except BaseException as error:
        _reword(error, site.settings.surface)
        try:
            _write_record(site, hear, failure=_describe_error(error))
        except KubeBuilderError as lost:
            error.add_note(str(lost))
        raise
    _write_record(site, hear, failure="")


def _write_record(site: BuildRun, hear: Hear | None, *, failure: str) -> None:
    path = site.settings.build.timeline
    if path is None and hear is None:
        return
    report = site.display.report(make_title(site.settings.build), laps=site.phases.list_laps(), failure=failure)
    if path is not None:
        write_file(path, _draw_picture(report, page=path.suffix.lower() != ".svg"), source="--timeline")
    if hear is not None:
        from ci_buildx.build.calls import collect_findings

        hear(replace(report, findings=collect_findings(site.settings.build, site.display.list_warnings())))


def make_title(build: BuildSettings) -> str:
    """Return the build's first tag, or its context."""
    return build.tags[0] if build.tags else str(getattr(build.context, "name", "") or build.context)


def _draw_picture(report: BuildReport, *, page: bool) -> str:
    from ci_buildx.progress.timeline import pages, svg

    caption = svg.TimelineCaption(title=report.title, facts=report.format_facts(), failure=report.failure)
    return (pages.render_page if page else svg.render_svg)(report.timeline, caption)


def _describe_error(error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return "stopped by a signal"
    return (str(error) or type(error).__name__).splitlines()[0]
