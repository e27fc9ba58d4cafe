"""Builds targets together: one builder for all, each target on the nodes of its platforms."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TextIO

from ci_buildx.bake.execution import FailureMode, TargetExecution
from ci_buildx.bake.grouping import PodFolders, group_linked
from ci_buildx.bake.jobs import TargetJob
from ci_buildx.build import run as build_run
from ci_buildx.build.build_run import BuildRun, Hear, collect_secrets
from ci_buildx.build.builder_scope import RunRequest, open_run_scope
from ci_buildx.build.context import origin
from ci_buildx.build.context.input_files import open_input_files
from ci_buildx.build.links import LinkKey, TargetLinks
from ci_buildx.build.result import BuildResult
from ci_buildx.builder import plan
from ci_buildx.builder.builder import Builder, BuilderLocation
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.builder.plan import Plan
from ci_buildx.buildkit import exporters
from ci_buildx.errors import InputError, Interrupted, KubeBuilderError, SolveError, Stopped
from ci_buildx.model.record import dataclass, field, replace
from ci_buildx.registry import credentials
from ci_buildx.runtime.signals import forward_stop, start_thread
from ci_buildx.settings.values import Settings

if TYPE_CHECKING:
    from ci_buildx.build.connect import NodeConnection
    from ci_buildx.build.target_pods import TargetGroup, TargetPods
    from ci_buildx.builder.boot.watch import Boot
    from ci_buildx.model.status import VertexWarning

_FORCED = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED = "got SIGTERM/SIGINT, forcing shutdown"
"""The error of docker buildx after a summary (BuildKit 0.34.2, ``util/appcontext/appcontext.go``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeOutcome:
    """Results by target, of those that were built; ``error`` is the first failure with the mode defer-error."""

    results: Mapping[str, BuildResult]
    warnings: Sequence[VertexWarning] = ()
    phases: Mapping[str, float] = field(default_factory=dict)
    error: KubeBuilderError | None = None


Deliver = Callable[[BakeOutcome], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeSession:
    """What runs a bake's targets: settings of the builder, environment, output, how failures are treated.

    ``hear`` is called with the report of started builds, even if they failed. The texts ``hidden`` are secrets that are
    not in the targets' settings.
    """

    settings: Settings
    env: Mapping[str, str]
    display_stream: TextIO
    execution: TargetExecution
    identity: JobIdentity | None = None
    announce: Callable[[BuilderLocation], None] = lambda _: None
    deliver: Deliver = lambda _: None
    hear: Hear | None = None
    hidden: Sequence[str] = ()


def run_targets(jobs: Sequence[TargetJob], session: BakeSession) -> BakeOutcome:
    """Build all targets in a builder of the job's own or in an existing one.

    Before the builder is removed, ``deliver`` is called with the results, also with those of a mode that goes on after
    failures. Raises the KubeBuilderError tree and Interrupted, after the builder has been removed.
    """
    linked = any(job.contexts for job in jobs)
    session.execution.check(len(jobs), linked=linked)
    for job in jobs:
        exporters.make_exports(job.settings.build)
    with ExitStack() as files:
        opened = []
        for job in jobs:
            build = job.settings.build
            if build.call:
                from ci_buildx.build import calls

                build = calls.narrow_to_first_platform(build)
            build = files.enter_context(open_input_files(build))
            opened.append(replace(job, settings=replace(job.settings, build=build)))
        return _run_opened(opened, session)


def _run_opened(jobs: Sequence[TargetJob], session: BakeSession) -> BakeOutcome:
    settings, env = session.settings, session.env
    hidden = tuple(
        dict.fromkeys(text for job in jobs for text in collect_secrets(job.settings.build, env, session.hidden))
    )
    identity = session.identity
    if identity is None and not settings.builder_name:
        identity = origin.make_job_identity(settings.build.context, env)
    request = RunRequest(
        settings=settings,
        builds=[job.settings.build for job in jobs],
        env=env,
        display_stream=session.display_stream,
        hidden=hidden,
        identity=identity,
        announce=session.announce,
        hear=session.hear,
        verb="bake",
        title=", ".join(job.name for job in jobs),
    )
    with open_run_scope(request) as scope:
        with scope.open_builder() as run:
            with ExitStack() as ends:
                work = _TargetWork(jobs, run.site, run.builder, run.store, session.execution)
                ends.enter_context(work.report_interruption())
                ends.enter_context(run.cancel_on_failure())
                for job in jobs:
                    asked = replace(run.site, settings=job.settings)
                    ends.enter_context(build_run.check_registries(asked, run.builder, run.store, run.interrupts.fail))
                outcome = run.interrupts.run(work.run, settle=0)
            session.deliver(outcome)
            if outcome.error is not None:
                raise outcome.error
        return replace(outcome, phases={name: round(one, 3) for name, one in run.site.phases.seconds.items()})


class _TargetWork:
    """The targets of one command on one builder."""

    def __init__(
        self,
        jobs: Sequence[TargetJob],
        site: BuildRun,
        builder: Builder,
        store: credentials.CredentialStore,
        execution: TargetExecution,
    ) -> None:
        self._jobs = jobs
        self._site = site
        self._builder = builder
        self._store = store
        self._execution = execution
        self._plans = {job.name: self._narrow(job) for job in jobs}
        self._links = self._link()
        self._slots = threading.Semaphore(execution.parallel or len(jobs))
        self._results: dict[str, BuildResult] = {}
        self._errors: dict[str, BaseException] = {}
        self._started: set[str] = set()
        self._lock = threading.Lock()
        self._groups: dict[str, TargetGroup] = {}
        self._folders: PodFolders | None = None

    def _narrow(self, job: TargetJob) -> Plan:
        """Return the part of the builder's plan for a target. Raises InputError."""
        platforms = job.settings.build.platforms
        try:
            narrowed = plan.narrow(self._builder.plan, platforms)
        except InputError as error:
            raise InputError(error.message, source=f"target {job.name}", fix=error.fix) from error
        if len(self._builder.plan.nodes) > 1 or platforms:
            return narrowed
        # On a node of the job's own, a target without platforms is built for what that node was made for.
        return self._builder.plan if len(self._builder.plan.nodes[0].platforms) <= 1 else narrowed

    def _link(self) -> TargetLinks:
        """Return the state that linked targets share. Raises InputError if they do not meet on a node."""
        nodes = {name: {node.name for node in one.nodes} for name, one in self._plans.items()}
        contexts = {}
        for job in self._jobs:
            for node in nodes[job.name]:
                for context, other in job.contexts.items():
                    if node not in nodes[other]:
                        message = f"context {context} is target {other}, which is not built on node {node}"
                        fix = f"give {other} the platforms of {job.name}"
                        raise InputError(message, source=f"target {job.name}", fix=fix)
                contexts[LinkKey(job.name, node)] = dict(job.contexts)
        return TargetLinks(contexts, together=self._execution.mode is FailureMode.DEFER_OUTPUT)

    def run(self) -> BakeOutcome:
        """Build all targets. Raises the first failure, unless the mode defers it."""
        from ci_buildx.build.target_pods import open_target_pods

        for job in self._jobs:
            if not job.linked:
                build_run.warn_without_output(replace(self._site, settings=job.settings))
        groups = self._group_targets()
        with open_target_pods(self._site, self._builder, groups=len(groups)) as pods:
            build_run.start_background_work(self._site, several=len(pods.connections) > 1)
            self._plans = {job.name: self._replan(job, pods.connections) for job in self._jobs}
            for group in groups:
                self._groups |= dict.fromkeys((job.name for job in group), self._make_group(pods, group))
            with self._open_folders(pods):
                threads = [
                    start_thread(lambda job=job: self._build_target(job, pods.boot))  # type: ignore[misc]
                    for job in self._jobs
                ]
                for one in threads:
                    one.done.wait()
        return self._judge()

    def _group_targets(self) -> list[list[TargetJob]]:
        """Return the targets that wait for each other, which must meet in one pod of a node."""
        if self._execution.mode is FailureMode.DEFER_OUTPUT:
            return [list(self._jobs)]
        return group_linked(self._jobs)

    def _make_group(self, pods: TargetPods, group: Sequence[TargetJob]) -> TargetGroup:
        site = replace(self._site, settings=group[0].settings, label=self._make_label(group[0]))
        nodes = [node.name for job in group for node in self._plans[job.name].nodes]
        return pods.make_group(site, [job.name for job in group], nodes)

    def _make_label(self, job: TargetJob) -> str:
        return job.name if len(self._jobs) > 1 else ""

    def _replan(self, job: TargetJob, connections: Sequence[NodeConnection]) -> Plan:
        """Return a target's plan, without nodes that could not be scheduled: another one emulates them."""
        known = {one.node.name for one in connections}
        if all(node.name in known for node in self._plans[job.name].nodes):
            return self._plans[job.name]
        return plan.narrow(Plan(nodes=tuple(one.node for one in connections)), job.settings.build.platforms)

    @contextmanager
    def _open_folders(self, pods: TargetPods) -> Iterator[None]:
        """Share folders of targets in the same pod. Their sessions end after all targets."""
        if len(self._jobs) < 2:
            yield
            return
        with ExitStack() as undo:
            self._folders = PodFolders(self._jobs, self._plans, self._site, undo, several=pods.spread is not None)
            yield

    def _share(self, job: TargetJob, connection: NodeConnection) -> dict[str, str]:
        if self._folders is None:
            return {}
        return self._folders.open(connection).make_attributes(job.name, job.settings.build, self._site.env)

    def _judge(self) -> BakeOutcome:
        failed = [error for name, error in self._errors.items() if name not in self._links.aborted]
        real = [error for error in failed if not isinstance(error, Stopped)]
        if self._errors and self._execution.mode is not FailureMode.DEFER_ERROR:
            raise (real or failed or list(self._errors.values()))[0]
        first = next(iter(real or failed or self._errors.values()), None)
        if first is not None and not isinstance(first, KubeBuilderError):
            raise first
        if first is not None and len(self._jobs) > 1:
            self._summarize()
        warnings = self._site.display.list_warnings()
        return BakeOutcome(results=dict(sorted(self._results.items())), warnings=warnings, error=first)

    @contextmanager
    def report_interruption(self) -> Iterator[None]:
        """Show what became of each target if a signal ends the block, and the failures of targets are deferred."""
        try:
            yield
        except Interrupted as error:
            if self._execution.mode is FailureMode.DEFER_ERROR and len(self._jobs) > 1:
                self._summarize()
                if error.signal in _FORCED:
                    error.known = _INTERRUPTED
            raise

    def _summarize(self) -> None:
        """Show what became of each target."""
        with self._lock:
            states = {job.name: self._describe_state(job.name) for job in self._jobs}
        with self._site.display.begin_phase("target results") as phase:
            for name, state in sorted(states.items()):
                phase.add_status(f"{name}: {state}", outcome=state)

    def _describe_state(self, name: str) -> str:
        if name in self._results:
            return "succeeded"
        if name not in self._started:
            return "aborted" if name in self._links.aborted else "not started"
        # A target without an error runs until a signal that is being handled reaches it.
        stopped = isinstance(self._errors.get(name, Stopped()), Stopped)
        return "aborted" if stopped or name in self._links.aborted else "failed"

    def _build_target(self, job: TargetJob, boot: Boot) -> None:
        """Build one target and record how it ended."""
        try:
            with self._slots:
                if self._site.stop.is_set():
                    raise Stopped
                self._started.add(job.name)
                result = self._solve(job, boot)
            with self._lock:
                self._results[job.name] = result
        except BaseException as error:
            if isinstance(error, KubeBuilderError) and len(self._jobs) > 1 and not isinstance(error, Stopped):
                error.message = f"target {job.name}: {error.message}"
                error.args = (error.message,)
            if isinstance(error, SolveError):
                error.target = job.name
            with self._lock:
                self._errors[job.name] = error
            self._links.fail(job.name, error)
            if self._execution.mode is not FailureMode.DEFER_ERROR:
                self._site.stop.set()
        finally:
            self._groups[job.name].leave(job.name)

    def _solve(self, job: TargetJob, boot: Boot) -> BuildResult:
        stop, done = threading.Event(), threading.Event()
        place = self._groups[job.name].reach()
        site = replace(
            self._site,
            settings=job.settings,
            stop=stop,
            clocks=build_run.start_clocks(job.settings.build, self._site.display),
            checkout=origin.start_git_attributes(job.settings.build, self._site.env, warn=self._site.display.warn),
            label=self._make_label(job),
            join=lambda node: self._links.join(job.name, node, stop),
            share=lambda node: self._share(job, place.find(node)),
        )
        narrowed = self._plans[job.name]
        site = build_run.add_builder_load(site, replace(self._builder, plan=narrowed))
        start_thread(lambda: forward_stop(self._site.stop, stop, done))
        try:
            known = {one.node.name: one for one in place.connections}
            chosen = [replace(known[node.name], node=node) for node in narrowed.nodes]
            solved = build_run.solve_connected(site, self._builder, boot, chosen, self._store)
            return build_run.finish_build(site, self._builder, solved, self._store)
        finally:
            done.set()
