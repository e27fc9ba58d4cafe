"""The scope of a run: its display, signals and clients, and its builder, which it creates and removes or finds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, TextIO

from ci_buildx.build.build_run import BOOTING, BuildRun, Hear, choose_wording, hide_in, open_trace, record_build
from ci_buildx.build.context import origin
from ci_buildx.builder import plan
from ci_buildx.builder.builder import Builder, BuilderLocation
from ci_buildx.builder.lifecycle import find as lifecycle_find
from ci_buildx.builder.lifecycle import records
from ci_buildx.builder.plan import Plan
from ci_buildx.buildkit import exporters
from ci_buildx.errors import InputError, Interrupted, LateInputError, Refused, SolveError, Stopped, TeardownError
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass, replace
from ci_buildx.model.secret import mention
from ci_buildx.progress import display
from ci_buildx.progress.plain import BUILDING
from ci_buildx.registry import credentials
from ci_buildx.runtime.phases import PhaseTimes
from ci_buildx.runtime.signals import SignalHandler, start_thread
from ci_buildx.settings.values import BuildSettings, Settings, TransportChoice

if TYPE_CHECKING:
    from ci_buildx.builder.cluster_facts import ClusterFacts
    from ci_buildx.builder.identity import JobIdentity
    from ci_buildx.builder.lifecycle.lease import LeaseRenewal
    from ci_buildx.fsutil.mtimes import Clock
    from ci_buildx.kube.config import ClusterAccess
    from ci_buildx.runtime.signals import ThreadOutcome

Announce = Callable[[BuilderLocation], None]

_TURN = 0.0005
"""Seconds after which an import yields to threads that have an answer from the cluster (Python's default: 0.005)."""

TEARDOWN_TIME = 20.0
"""Seconds for removing a builder; what is left after that is reported."""
_KEPT_BUILDS = 10
"""Number of builds of a kept builder for which its lost pods are replaced."""
_SETTLE = 1.0
"""Seconds for a pending request to finish when a signal arrives."""


@contextmanager
def open_builder(
    site: BuildRun, interrupts: SignalHandler, identity: JobIdentity | None, announce: Announce
) -> Iterator[Builder]:
    """Open the builder for this build; one that was created for the job is always removed at the end.

    ``identity`` is None if the settings name an existing builder.

    A builder with ``keep`` survives a failed build, since the next build may succeed on it. What cannot be removed
    becomes a warning, or a note on the error that ended the build; neither changes the outcome.
    """
    if site.settings.builder_name:
        try:
            found = interrupts.run(lambda: find_existing_builder(site), settle=_SETTLE)
        except BaseException as error:
            if site.boot is not None:
                site.boot.end(error)
            raise
        yield found
        return
    assert identity is not None
    location = lifecycle_find.locate_job_builder(identity, site.settings.builder)
    begun = threading.Event()

    def begin_with(place: BuilderLocation) -> None:
        if site.stop.is_set():  # A signal came during planning: the caller no longer waits for this thread.
            raise Stopped
        announce(place)
        begun.set()

    try:
        builder, owned = interrupts.run(lambda: create_builder(site, identity, begin_with), settle=_SETTLE)
        with nullcontext() if owned or site.settings.keep else renew_lease(site, identity, builder):
            yield builder
    except BaseException as error:
        nothing_made = not begun.is_set() or isinstance(error, Refused)
        if nothing_made or (site.settings.keep and isinstance(error, SolveError)):
            raise
        try:
            remove_builder(site, location, settle=_SETTLE if isinstance(error, Interrupted) else 0.0)
        except TeardownError as failure:
            error.add_note(str(failure))
        if isinstance(error, InputError):
            raise LateInputError(error) from error
        raise
    if not site.settings.keep:
        try:
            remove_builder(site, location)
        except TeardownError as failure:
            site.display.warn(f"the build succeeded, but its clean-up failed: {failure}")


def find_existing_builder(site: BuildRun) -> Builder:
    """Return the existing builder that the settings name, narrowed to the nodes of this build; start it if stopped.

    Raises InputError if the builder does not exist, or if none of its nodes builds the requested platforms.
    """
    record = records.find_builder(site.kube, site.settings.builder_name, site.settings.builder.namespace)
    if record.lasting:
        from ci_buildx.build import start_on_use

        return start_on_use.start_needed_nodes(site, record)
    builder = records.load_builder(site.kube, record)
    if set(builder.transports.values()) - {TransportChoice.DIRECT}:
        site.kube.warm()
    origin.check_trust(builder, site.env)
    return replace(builder, plan=plan.narrow(builder.plan, site.settings.build.platforms))


def refresh_builder(site: BuildRun, known: Builder) -> Builder:
    """Return a known existing builder with its present keys, for another of its pods; start its nodes if stopped.

    Raises InputError if it is gone, was replaced by another one, or is now of another trust scope.
    """
    record = records.find_builder(site.kube, known.name, known.namespace)
    if record.lasting:
        from ci_buildx.build import start_on_use
        from ci_buildx.builder.lifecycle import create

        found = record.make_builder(create.read_usable_secret(site.kube, record, warn=site.display.warn))
    else:
        found = records.load_builder(site.kube, record)
    if (found.location, found.owner) != (known.location, known.owner):
        raise InputError(f"builder {known.name!r} has been replaced by another one", fix="build again")
    origin.check_trust(found, site.env)
    if record.lasting:
        start_on_use.start_nodes(site.kube, record, known.plan.nodes, site.display)
    return replace(known, keys=found.keys)


def create_builder(site: BuildRun, identity: JobIdentity, announce: Announce) -> tuple[Builder, bool]:
    """Plan a builder and create its objects, without waiting for pods.

    Returns the builder, and whether the runner's own pod owns it.
    """
    from ci_buildx.build import pull_login
    from ci_buildx.builder import cluster_facts
    from ci_buildx.builder.lifecycle import provision
    from ci_buildx.builder.manifests import certificates
    from ci_buildx.builder.manifests.buildkitd import add_job_defaults

    settings = add_job_defaults(site.settings.builder)
    issued = start_thread(lambda: certificates.issue(certificates.NAMES, settings.lifetime))
    looked = start_thread(lambda: find_owner_pod(site))
    # Shown before the cluster is asked anything: a log that stays empty looks as if nothing runs.
    with site.display.begin_phase(f"creating builder {identity.name}") as phase:
        with site.phases.measure("plan"):
            known = cluster_facts.read_cluster_facts(site.kube)
            planned = make_build_plan(site, known)
            around = cluster_facts.read_surroundings(site.kube, known, settings)
            login = pull_login.find_pull_login(settings, site.env)
            looked.done.wait()
        with site.phases.measure("create"):
            for line in plan.describe_nodes(planned):
                phase.add_output(line)
            issued.done.wait()
            blueprint = provision.ProvisionRequest(
                identity=identity,
                plan=planned,
                settings=settings,
                certificates=issued.take_result(),
                runner=looked.take_result(),
                surroundings=around,
                pull_login=login,
                replacements=count_replacements(site.settings),
            )
            builder = provision.provision(site.kube, blueprint, announce=announce)
        if builder.plan != planned:
            for line in plan.describe_isolation(builder.plan):
                phase.add_output(line)
    return builder, blueprint.runner is not None


def count_replacements(settings: Settings) -> int:
    """Return how many lost pods of a new builder's node the cluster replaces; a kept builder serves several builds."""
    return settings.retries * (_KEPT_BUILDS if settings.keep else 1)


def find_owner_pod(site: BuildRun) -> dict[str, str] | None:
    """Return an owner reference to the pod that this job runs in.

    Returns None outside of a pod of the builder's namespace, and for a kept builder, which outlives its job.
    """
    from ci_buildx.builder.lifecycle import ownership

    namespace = site.settings.builder.namespace
    return ownership.find_own_pod(site.kube, namespace, site.env) if namespace and not site.settings.keep else None


def renew_lease(site: BuildRun, identity: JobIdentity, builder: Builder) -> LeaseRenewal:
    """Return a lease renewal, which tells reapers that this job is alive."""
    from ci_buildx.builder.lifecycle.lease import LeaseRenewal

    def read_owner() -> dict[str, str] | None:
        return None if builder.location.exclusive else lifecycle_find.read_owner(site.kube, builder)

    return LeaseRenewal(site.kube, builder.location, marks=identity.labels, owner=read_owner)


def make_build_plan(site: BuildRun, known: ClusterFacts) -> Plan:
    """Return the plan for the requested platforms. Raises InputError for outputs that its nodes cannot produce."""
    from ci_buildx.builder import isolation

    planned = plan.make_plan(site.settings.build.platforms, known, site.settings.builder)
    exporters.make_exports(site.settings.build, by_digest=len(planned.nodes) > 1)
    return isolation.plan_isolation(planned, known, site.settings.builder)


def remove_builder(site: BuildRun, location: BuilderLocation, *, settle: float = 0.0) -> None:
    """Remove a builder and all of its objects. Raises TeardownError that names what stays."""
    from ci_buildx.builder.lifecycle.teardown import teardown

    with site.phases.measure("teardown"), site.display.begin_phase(f"removing builder {location.name}"):
        report = teardown(site.kube, location, deadline=time.monotonic() + TEARDOWN_TIME, settle=settle)
        report.check()
    for note in report.notes:
        site.display.warn(note)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run before it begins: ``settings`` of its builder, the ``builds`` that share it, texts that are ``hidden``.

    ``identity`` is None if the settings name an existing builder. ``announce`` is called with the builder's location
    before any of its objects exists, ``hear`` with the report of a started run, even if it failed. ``verb`` and
    ``title`` name the run in a trace; without a verb it has none. ``heading`` is the first line of its log, with
    ``{builder}`` for the builder's name.
    """

    settings: Settings
    builds: Sequence[BuildSettings]
    env: Mapping[str, str]
    display_stream: TextIO
    hidden: tuple[str, ...]
    identity: JobIdentity | None
    announce: Announce
    hear: Hear | None = None
    verb: str = ""
    title: str = ""
    heading: str = BUILDING


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderRun:
    """A run on its open builder: what all its builds share, logins, and the signals that may end it."""

    site: BuildRun
    builder: Builder
    store: credentials.CredentialStore
    interrupts: SignalHandler

    @contextmanager
    def cancel_on_failure(self) -> Iterator[None]:
        """Show the open steps as canceled if the block fails or a signal ends it."""
        try:
            yield
        except BaseException:
            self.site.display.cancel()
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScope:
    """A run with its open display; it has no builder yet."""

    request: RunRequest
    cluster: ClusterAccess
    store: credentials.CredentialStore
    display: display.BuildDisplay

    @contextmanager
    def open_builder(
        self,
        *,
        clocks: ThreadOutcome[dict[str, Clock]] | None = None,
        checkout: Callable[[], dict[str, str]] = dict,
    ) -> Iterator[BuilderRun]:
        """Open the builder, and close it with all that the run holds; ``clocks`` and ``checkout`` are of BuildRun.

        Raises the KubeBuilderError tree and Interrupted.
        """
        request, shown, phases = self.request, self.display, PhaseTimes()
        with (
            open_trace(shown, phases, request.env, verb=request.verb, title=request.title) as trace,
            SignalHandler() as interrupts,
            KubeClient(self.cluster) as kube,
            ExitStack() as undo,
        ):
            if is_tunnelled(request.settings):
                kube.warm()
            site = BuildRun(
                settings=request.settings,
                kube=kube,
                display=shown,
                env=request.env,
                stop=interrupts.stop,
                phases=phases,
                trace=trace,
                clocks=clocks,
                checkout=checkout,
                boot=shown.begin_phase(BOOTING) if request.settings.builder_name else None,
                undo=undo,
            )
            with (
                record_build(site, request.hear),
                open_builder(site, interrupts, request.identity, request.announce) as builder,
            ):
                yield BuilderRun(site=site, builder=builder, store=self.store, interrupts=interrupts)


@contextmanager
def open_run_scope(request: RunRequest) -> Iterator[RunScope]:
    """Open the display of a run, and close it with the outcome of the block, whose errors lose their secrets.

    Raises the KubeBuilderError tree, before anything is displayed, for a cluster or logins that cannot be read.
    """
    settings = request.settings
    cluster = config.load_cluster(settings.cluster, env=request.env)
    store = credentials.load_credentials(request.env)
    threading.Thread(target=import_early, args=(is_tunnelled(settings),), daemon=True).start()
    shown = _open_masked_display(request)
    try:
        yield RunScope(request=request, cluster=cluster, store=store, display=shown)
    except BaseException as error:
        hide_in(error, shown.mask)
        shown.close(error)
        raise
    shown.close()


def is_tunnelled(settings: Settings) -> bool:
    """Return whether the builder is only reached through the API server."""
    return settings.transport in (TransportChoice.PORT_FORWARD, TransportChoice.EXEC)


def _open_masked_display(request: RunRequest) -> display.BuildDisplay:
    """Open the display without the texts that are hidden, and show the warnings of the builds."""
    for text in request.hidden:
        mention(text)
    settings = request.settings
    shown = display.open_display(
        settings.build.progress,
        request.display_stream,
        env=request.env,
        hidden=request.hidden,
        wording=choose_wording(settings.surface),
        builder=settings.builder_name or (request.identity.name if request.identity else ""),
        heading=request.heading,
    )
    for build in request.builds:
        for name in build.empty_secrets:
            shown.warn(f"secret {name} is empty and was not sent; check that the CI system defines it")
    for text in dict.fromkeys(text for build in request.builds for text in build.withheld_tokens):
        shown.warn(text)
    return shown


def import_early(tunnelled: bool = False) -> None:
    """Import modules in the order of their use, while the cluster creates the builder.

    These imports are half of what the client computes in a cached build.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    try:
        import_module("ci_buildx.build.connect")
        if tunnelled:
            import_module("ci_buildx.transport.tunnel")
        from ci_buildx.buildkit.grpc import load_grpc

        load_grpc()
        import_module("ci_buildx.build.solve")
        import_module("ci_buildx.build.publish")
    finally:
        sys.setswitchinterval(usual)
