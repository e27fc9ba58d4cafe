"""One build from settings to result, for `kube-builder build`, the Action and the GitLab job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, TextIO

from ci_buildx.build.build_run import BuildRun, Hear, collect_secrets, make_title
from ci_buildx.build.builder_scope import RunRequest, open_run_scope
from ci_buildx.build.context import origin
from ci_buildx.build.context.input_files import open_input_files
from ci_buildx.build.result import (
    CONFIG_DIGEST,
    DIGEST,
    BuildResult,
    make_metadata,
    read_digest,
    read_image_names,
    write_result_files,
)
from ci_buildx.builder.builder import Builder, BuilderLocation
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.buildkit import exporters
from ci_buildx.errors import KubeBuilderError, SolveError
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import replace
from ci_buildx.progress import display
from ci_buildx.registry import credentials
from ci_buildx.runtime.signals import ThreadOutcome, start_thread
from ci_buildx.settings.values import BuildSettings, ContextMtime, ProgressMode, Settings

if TYPE_CHECKING:
    from ci_buildx.build.connect import NodeConnection
    from ci_buildx.build.solve import NodeResult
    from ci_buildx.builder.boot.watch import Boot
    from ci_buildx.builder.plan import NodePlan
    from ci_buildx.fsutil.mtimes import Clock

Deliver = Callable[[BuildResult], None]

_SWEEP_DELAY = 0.05
_COLD_CHECK, _WARM_CHECK = 0.3, 1.5
"""Seconds until registries are asked: the imports are done but no pod has answered; a cached build has ended."""
NO_OUTPUT = "no output is set: the result {where}; add --push or --output"
_STAYS, _GOES = "is only in the builder's cache", "is discarded with this build's builder"


def run_build(
    settings: Settings,
    *,
    env: Mapping[str, str],
    display_stream: TextIO,
    identity: JobIdentity | None = None,
    announce: Callable[[BuilderLocation], None] = lambda _: None,
    hear: Hear | None = None,
    deliver: Deliver = lambda _: None,
    hidden: Iterable[str] = (),
) -> BuildResult:
    """Run the build that ``settings`` describe, in a builder of the job's own or in an existing one.

    ``identity`` names the builder (default: after the context). ``announce`` is called with the builder's location
    before any of its objects exists, ``hear`` with the report of a started build, even if it failed. The texts
    ``hidden`` are secrets that are not in the settings; they are masked like those. Before the builder is removed, the
    files that the settings name are written and ``deliver`` is called with the result, without the time of clean-up.

    Returns the result. If the builder cannot be removed after a successful build, a warning is shown. Raises the
    KubeBuilderError tree and Interrupted, after the builder has been removed.
    """
    if settings.build.call:
        from ci_buildx.build import calls

        settings = replace(settings, build=calls.narrow_to_first_platform(settings.build))
    exporters.make_exports(settings.build)
    if identity is None and not settings.builder_name:
        identity = origin.make_job_identity(settings.build.context, env)
    with open_input_files(settings.build) as build:
        settings = replace(settings, build=build)
        listeners = (announce, hear, deliver)
        secrets = collect_secrets(build, env, hidden)
        return _run_with_files(
            settings, env=env, display_stream=display_stream, identity=identity, listeners=listeners, hidden=secrets
        )


def _run_with_files(
    settings: Settings,
    *,
    env: Mapping[str, str],
    display_stream: TextIO,
    identity: JobIdentity | None,
    listeners: tuple[Callable[[BuilderLocation], None], Hear | None, Deliver],
    hidden: tuple[str, ...],
) -> BuildResult:
    announce, hear, deliver = listeners
    request = RunRequest(
        settings=settings,
        builds=(settings.build,),
        env=env,
        display_stream=display_stream,
        hidden=hidden,
        identity=identity,
        announce=announce,
        hear=hear,
        verb="build",
        title=make_title(settings.build),
    )
    with open_run_scope(request) as scope:
        shown = scope.display
        clocks = start_clocks(settings.build, shown)
        checkout = origin.start_git_attributes(settings.build, env, warn=shown.warn)
        with scope.open_builder(clocks=clocks, checkout=checkout) as run:
            with run.cancel_on_failure():
                site = add_builder_load(run.site, run.builder)
                with check_registries(site, run.builder, run.store, run.interrupts.fail):
                    result = run.interrupts.run(lambda: _build_on(site, run.builder, run.store), settle=0)
            lost = _deliver_all(_add_phases(result, site), settings.build, deliver)
        result = _add_phases(result, site)
        if lost is not None:
            raise lost
    with suppress(KubeBuilderError):  # Only the time of clean-up is new, so a failure loses little.
        write_result_files(result, metadata_file=settings.build.metadata_file, iidfile=None)
    return result


def _deliver_all(result: BuildResult, wanted: BuildSettings, deliver: Deliver) -> KubeBuilderError | None:
    """Write the result files and call ``deliver``; return the error, if any, so that it does not keep the builder."""
    lost: KubeBuilderError | None = None
    files = partial(write_result_files, metadata_file=wanted.metadata_file, iidfile=wanted.iidfile)
    for tell in (files, deliver):
        try:
            tell(result)
        except KubeBuilderError as error:
            if lost is None:
                lost = error
            else:
                lost.add_note(str(error))
    return lost


def start_clocks(build: BuildSettings, shown: display.BuildDisplay) -> ThreadOutcome[dict[str, Clock]] | None:
    """Start to read the modification times that a build sends, None if it sends those of the files."""
    if build.context_mtime is ContextMtime.KEEP:
        return None
    from ci_buildx.build.context import mtimes

    return mtimes.start_mtimes(build, warn=shown.warn)


@contextmanager
def check_registries(
    site: BuildRun,
    builder: Builder,
    store: credentials.CredentialStore,
    fail: Callable[[KubeBuilderError], None],
) -> Iterator[None]:
    """Ask the build's registries in a thread while a builder boots; call ``fail`` with what they refuse for certain.

    Nothing waits for the answers. On a builder that was running, it begins when a cached build is over.
    """
    over = threading.Event()

    def check() -> None:
        if over.wait(_COLD_CHECK if not site.settings.builder_name else _WARM_CHECK):
            return
        from ci_buildx.build import registry_check

        refusal = registry_check.find_refusal(site, builder, store)
        if refusal is not None and not over.is_set():
            fail(refusal)

    start_thread(check)
    try:
        yield
    finally:
        over.set()


def _build_on(site: BuildRun, builder: Builder, store: credentials.CredentialStore) -> BuildResult:
    from ci_buildx.build.connect import connect_nodes

    warn_without_output(site)
    with connect_nodes(site, builder) as (boot, connections):
        start_background_work(site, several=len(connections) > 1)
        solved = solve_connected(site, builder, boot, connections, store)
    return finish_build(site, builder, solved, store)


def warn_without_output(site: BuildRun) -> None:
    """Warn if the result of a build is only in the builder's cache."""
    wanted = site.settings.build
    silent = wanted.progress in (ProgressMode.QUIET, ProgressMode.NONE)
    if not (wanted.call or wanted.push or wanted.outputs or wanted.cache_to or silent):
        stays = site.settings.keep or site.settings.builder_name
        site.display.warn(NO_OUTPUT.format(where=_STAYS if stays else _GOES))


def start_background_work(site: BuildRun, *, several: bool) -> None:
    """Start what a build does beside its steps; ``several`` nodes need modules for merging."""
    if several:
        start_thread(lambda: import_module("ci_buildx.build.publish").import_modules())
    start_thread(_sweep)
    if is_reaping_allowed(site.settings):
        start_thread(lambda: _reap_in_background(site.kube))


def solve_connected(
    site: BuildRun,
    builder: Builder,
    boot: Boot,
    connections: list[NodeConnection],
    store: credentials.CredentialStore,
) -> list[NodeResult]:
    """Build on every connected node. Raises the KubeBuilderError tree."""
    # Imported here, not earlier: import_early imports what building needs while the pod is queried.
    from ci_buildx.build import publish
    from ci_buildx.build.attachables import make_token_authority
    from ci_buildx.build.solve import solve_nodes

    wanted = site.settings.build
    site = replace(site, counted=_is_counted(site, builder))
    auth = make_token_authority(site, builder, store)
    try:
        if isinstance(wanted.context, str):
            from ci_buildx.build import remote_policy

            if remote_policy.needs_check(wanted):
                remote_policy.check_remote_policy(site, boot, connections, auth)
        solved = solve_nodes(site, boot, connections, auth)
    except SolveError as failure:
        from ci_buildx.build import retries

        advised = retries.advise_memory(_add_advice(site, builder, store, failure))
        if retries.is_passing_push_failure(failure):
            advised = retries.advise_push(advised, site.settings)
        push = exporters.find_push(wanted)
        raise publish.add_pushed_tags(advised, push, several=len(connections) > 1) from failure
    return solved if wanted.call else publish.add_records(site, builder, solved)


def _is_counted(site: BuildRun, builder: Builder) -> bool:
    """Return whether anyone can look at what the builder keeps of this build; calls leave no trace, as in buildx."""
    own = not site.settings.builder_name
    watched = builder.location.lasting or (own and bool(site.settings.builder.metrics_port))
    return watched and not site.settings.build.call


def finish_build(
    site: BuildRun, builder: Builder, solved: list[NodeResult], store: credentials.CredentialStore
) -> BuildResult:
    """Merge what the nodes built and return the result. Raises the KubeBuilderError tree."""
    from ci_buildx.build import publish

    wanted = site.settings.build
    push = exporters.find_push(wanted)
    merged: dict[str, str] = {}
    if len(solved) > 1 and wanted.cache_to:
        from ci_buildx.build import merged_caches

        merged = merged_caches.merge_caches(site, builder, solved, store)
    if push and publish.is_pushed_by_digest(solved):
        responses = publish.merge_images(site, builder, push, solved, store) | publish.select_records(solved)
    else:
        responses = publish.merge_responses(solved) | merged
    result = _make_result(builder, [one.connection for one in solved], responses)
    warnings = site.display.list_warnings()
    if not (wanted.call or warnings):
        return result
    from ci_buildx.build import calls

    if wanted.call is None:
        return calls.add_findings(result, wanted, warnings, site.env)
    # An outline holds the values of build arguments.
    shown = {name: site.display.mask(text) for name, text in responses.items()}
    answer = calls.read_answer(wanted, wanted.call, shown)
    return replace(result, answer=answer.text, findings=answer.findings, status=answer.status)


def _add_advice(
    site: BuildRun, builder: Builder, store: credentials.CredentialStore, failure: SolveError
) -> SolveError:
    """Return the failure with a fix, if a registry or an image caused it."""
    from ci_buildx.registry.advice import NO_MATCH, add_advice

    if NO_MATCH in failure.message:
        from ci_buildx.build import registry_check

        failure = registry_check.explain_platform(site, builder, store, failure)
    return add_advice(failure, store, site.settings.builder_name)


def add_builder_load(site: BuildRun, builder: Builder) -> BuildRun:
    """Return the run with the builder's own ``default-load`` option applied to its build."""
    if not (builder.loads and site.settings.builder_name):
        return site
    from ci_buildx.settings.assembly import add_default_load

    source = f"driver-opt default-load of builder {builder.name}"
    build = add_default_load(site.settings.build, site.env, source=source)
    return replace(site, settings=replace(site.settings, build=build))


def is_reaping_allowed(settings: Settings) -> bool:
    """Return whether a build may remove leftovers of other jobs: only jobs that create their own namespaces may."""
    return not (settings.builder_name or settings.builder.namespace)


def _reap_in_background(kube: KubeClient) -> None:
    """Remove leftovers of a few killed jobs. Best effort: runs in the background, errors are ignored."""
    from ci_buildx.builder.lifecycle import reap

    reap.reap_few(kube)


def _sweep() -> None:
    """Remove the temporary folders of killed processes on this machine. Best effort: errors are ignored.

    Waits until the build has begun, because both need the interpreter.
    """
    time.sleep(_SWEEP_DELAY)
    from ci_buildx.fsutil import scratch

    scratch.sweep_all()


def _make_result(builder: Builder, connections: list[NodeConnection], responses: Mapping[str, str]) -> BuildResult:
    platforms = [platform for one in connections for platform in _list_built_platforms(one.node)]
    digest = read_digest(responses, DIGEST)
    return BuildResult(
        digest=digest,
        image_id=read_digest(responses, CONFIG_DIGEST) or digest,
        references=read_image_names(responses),
        platforms=tuple(platforms),
        namespace=builder.namespace,
        metadata=make_metadata(responses),
    )


def _list_built_platforms(node: NodePlan) -> tuple[Platform, ...]:
    """Return the platforms that a node built: the requested ones, else its buildkitd's own, if that is known."""
    return node.platforms or ((Platform("linux", node.native),) if node.native else ())


def _add_phases(result: BuildResult, site: BuildRun) -> BuildResult:
    """Return the result with the times of all phases so far."""
    phases = {name: round(seconds, 3) for name, seconds in site.phases.seconds.items()}
    return replace(result, phases=phases, metadata={**result.metadata, "kube-builder.phases": phases})
