"""The Solve call on each node, and what becomes of it: reconnecting, pushing again, the results."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping

from ci_buildx.build.attachables import make_attachables
from ci_buildx.build.build_run import BuildRun
from ci_buildx.build.caches import NodeCaches, list_platforms
from ci_buildx.build.connect import NodeConnection
from ci_buildx.build.context import origin
from ci_buildx.builder.boot.watch import Boot
from ci_buildx.buildkit import exporters, solve_request
from ci_buildx.buildkit.exporters import Exports
from ci_buildx.errors import BootError, BuildkitError, KubeBuilderError, PodLost, SolveError, TransportError
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, replace
from ci_buildx.runtime.phases import SilenceReport
from ci_buildx.runtime.signals import run_all, start_thread
from ci_buildx.session.auth import AuthService
from ci_buildx.session.file_targets import FileTarget, FolderTarget
from ci_buildx.session.session import BuildSession

_LOG = debug.get_log("build")
_LOOK = 0.5
_RECONNECTS = 5
"""Maximum reconnections of one build: each may repeat a step, so a permanently unstable network must fail."""
_LAST_WORDS = 3.0
"""Seconds for the cluster to report why a pod ended after its connection broke."""
_PUSH_PAUSE = 5.0
"""Seconds until a failed push is repeated; buildkitd has repeated each request for some seconds by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeResult:
    """One node's connection and the response of its exporters.

    ``record`` is the node and the build's reference in its history.
    """

    connection: NodeConnection
    response: Mapping[str, str]
    record: str = ""


def solve_nodes(site: BuildRun, boot: Boot, connections: list[NodeConnection], auth: AuthService) -> list[NodeResult]:
    """Build on every node. Raises SolveError if a build fails, BootError if its pod is lost."""
    several = len(connections) > 1
    exports = exporters.make_exports(site.settings.build, by_digest=several)
    platforms = tuple(platform for one in connections for platform in list_platforms(one.node))
    ref = make_reference()
    works = [
        _NodeSolve(
            site=site,
            boot=boot,
            connection=one.find_newer(one) or one,
            exports=exports,
            auth=auth,
            ref=ref,
            share=NodeCaches(
                build=site.settings.build,
                layout=exports.layout,
                platforms=list_platforms(one.node),
                all_platforms=platforms,
                several=several,
            ),
        ).run
        for one in connections
    ]
    with site.phases.measure("build"):
        solved = run_all(works, stop=site.stop)
        if any(isinstance(target, FolderTarget) and target.built is not None for target in exports.targets.values()):
            from ci_buildx.session.filesend import remove_rest

            for target in exports.targets.values():
                remove_rest(target)
    return solved


def make_reference() -> str:
    """Make a reference of a build, which is random."""
    return os.urandom(12).hex()


def is_push_collision(message: str) -> bool:
    """Return whether a registry lost a blob of one push to another push of the same blob.

    Seen with distribution 2.8.2: a layer that two architectures share is being committed twice, and the manifest that
    is put meanwhile is rejected because of it. The blob exists a moment later.
    """
    return "failed to push" in message and "blob unknown to registry" in message


@dataclass(slots=True, kw_only=True)
class _NodeSolve:
    """One node's share. ``connection`` is the one in use: a lost connection is replaced.

    All nodes share the first ``ref``, as in buildx. buildkitd may not have ended a lost attempt, so each further one
    has its own.
    """

    site: BuildRun
    boot: Boot
    connection: NodeConnection
    exports: Exports
    auth: AuthService
    share: NodeCaches
    ref: str = ""
    reconnects: int = 0

    def run(self) -> NodeResult:
        """Build; push again if nodes collided while they pushed a common layer, or if a registry failed."""
        pushes, collided = self.site.settings.retries, False
        while True:
            try:
                return self.solve_until_done()
            except SolveError as failure:
                from ci_buildx.build import retries

                if self.site.stop.is_set():
                    raise
                if self.share.several and is_push_collision(failure.message) and not collided:
                    collided = True
                elif retries.is_passing_push_failure(failure) and pushes and not (self.is_streamed or self.is_linked):
                    pushes -= 1
                    self.pause_before_push(failure)
                else:
                    raise
                self.site.display.warn(f"{self.subject} pushes again: {' '.join(failure.message.split())}")
                self.forgive()

    def pause_before_push(self, failure: SolveError) -> None:
        """Give a registry time to recover; raise ``failure`` if the job ends meanwhile."""
        if self.site.stop.wait(_PUSH_PAUSE):
            raise failure

    @property
    def subject(self) -> str:
        """This build as the subject of a message."""
        build = f"target {self.site.label}" if self.site.label else "the build"
        return f"{build} on node {self.connection.node.name}" if self.share.several else build

    @property
    def is_streamed(self) -> bool:
        """Whether a result goes to standard output: what was written there cannot be undone."""
        return any(isinstance(one, FileTarget) and one.path is None for one in self.exports.targets.values())

    @property
    def shown_node(self) -> str:
        """The node's name, "" if it is the only one."""
        return self.connection.node.name if self.share.several else ""

    def forgive(self) -> None:
        """Leave this share's failures so far out of the final report."""
        self.site.display.forgive(self.shown_node, target=self.site.label)

    def solve_until_done(self) -> NodeResult:
        """Build; over a new connection if this one is lost while the pod runs, in another pod if the pod is lost.

        buildkitd ends a build with its connection (BuildKit 0.34.2, ``control/control.go``: Solve runs in the call's
        context) and keeps the finished steps in its cache, so only the steps that were running are repeated.
        """
        while True:
            try:
                return self.attempt()
            except (BuildkitError, PodLost) as failure:
                if self.site.stop.is_set() or self.is_streamed:
                    raise
                self.replace_connection(failure)

    def replace_connection(self, failure: KubeBuilderError) -> None:
        """Replace the connection after ``failure``, or the pod. Raises the failure if neither can be."""
        from ci_buildx.build import retries  # most builds lose nothing

        if (newer := self.connection.find_newer(self.connection)) is not None:
            # Another target of the same bake has lost the pod as well.
            self.take_over(newer)
            return
        if isinstance(failure, BuildkitError) and failure.code in retries.LOST_CODES and self.reconnects < _RECONNECTS:
            try:
                self.reconnect(failure)
                return
            except (BootError, PodLost, TransportError) as lost:
                failure = retries.judge_reconnection(lost)
        if not retries.is_pod_loss(failure) or self.is_linked:
            raise failure
        self.take_over(self.connection.change_pod(self.connection, failure))

    @property
    def is_linked(self) -> bool:
        """Whether other builds need this one's result, or it needs theirs: those would have to be repeated with it."""
        return self.site.join(self.connection.node.name) is not None

    def take_over(self, connection: NodeConnection) -> None:
        """Build again in another pod; nothing of the lost attempt counts any longer."""
        self.connection, self.reconnects = connection, 0
        self.site.display.restart(self.shown_node, target=self.site.label)
        self.site.display.warn(f"{self.subject} begins again in pod {connection.pod}, by {connection.winner.name}")

    def reconnect(self, failure: BuildkitError) -> None:
        """Replace the connection.

        Raises TransportError if the pod is not reached in time, PodLost if it has ended.
        """
        self.reconnects += 1
        _LOG.debug("reconnection %s of node %s: %s", self.reconnects, self.connection.node.name, failure)
        self.site.display.warn(f"{failure.message}; the pod still runs: reconnecting")
        self.connection = self.connection.renew()
        self.forgive()
        way = self.connection.winner.name
        self.site.display.warn(f"reconnected by {way}; finished steps come from the pod's cache")

    def attempt(self) -> NodeResult:
        build, node = self.site.settings.build, self.connection.node
        ref, self.ref = self.ref or make_reference(), ""
        key = origin.make_context_shared_key(build.context, self.site.env)
        if self.site.clocks:
            self.site.clocks.done.wait()
        caches = self.share.prepare(self.site.env, warn=self.site.display.warn)
        session = BuildSession(
            make_attachables(self.site, self.auth, self.exports.targets, caches.layouts), shared_key=key
        )
        wanted = solve_request.make_solve_request(
            replace(build, cache_from=caches.imports, cache_to=caches.exports),
            ref=ref,
            session_id=session.id,
            platforms=node.platforms,
            exporters=self.exports.exporters,
            multi_platform=self.share.several,
            folder_key=lambda folder: origin.make_context_shared_key(folder, self.site.env),
        )
        # Internal builds leave no history: it would end with a job's builder, and writing it delays each build's end.
        # Provenance for the metadata file is read from it.
        wanted = replace(
            wanted,
            frontend_attrs=wanted.frontend_attrs | self.site.checkout() | self.site.share(node.name),
            internal=not self.site.counted and build.metadata_provenance is None,
        )
        stop, done = threading.Event(), threading.Event()
        silence = SilenceReport(self.site.display, self.connection.pod)
        start_thread(lambda: self.guard(session, silence, stop, done))
        result = None
        try:
            result = self.connection.control.solve(
                wanted,
                session=session,
                on_status=lambda update: self.site.display.update(update, self.shown_node, target=self.site.label),
                stop=stop,
                relay=self.site.join(node.name),
                trace=self.site.trace,
            )
        except BuildkitError as failure:
            raise self.explain(failure) from failure
        except SolveError as failure:
            self.check_pod(failure)
            raise
        finally:
            done.set()
            # A result ends a silence, also if it overtakes the answer to the session's last ping.
            silence.close(session.silence if result is None else 0.0)
        self.share.keep(result.exporter_response)
        return NodeResult(connection=self.connection, response=result.exporter_response, record=f"{node.name}/{ref}")

    def guard(
        self, session: BuildSession, silence: SilenceReport, stop: threading.Event, done: threading.Event
    ) -> None:
        """Stop the solve when the job must stop or its pod has ended, after which a connection may hang for long.

        Meanwhile, report the silences of buildkitd.
        """
        while not done.is_set():
            silence.note(session.silence)
            lost = self.boot.judge_pod(self.connection.node, self.connection.pod).error is not None
            lost = lost or self.connection.find_newer(self.connection) is not None
            if lost or self.site.stop.is_set():
                stop.set()
                return
            self.site.stop.wait(_LOOK)

    def explain(self, failure: BuildkitError) -> Exception:
        """Return the cluster's reason for a broken connection; without one, the failure with the pod and transport."""
        until = time.monotonic() + (0 if self.site.stop.is_set() else _LAST_WORDS)
        while True:
            error = self.boot.judge_pod(self.connection.node, self.connection.pod).error
            if error is not None or time.monotonic() >= until:
                return error or self.add_location(failure)
            time.sleep(_LOOK / 5)

    def check_pod(self, failure: SolveError) -> None:
        """Raise PodLost if a step failed because its pod ended, which the cluster may report a moment later."""
        from ci_buildx.build import retries

        killed = retries.was_step_killed(failure)
        until = time.monotonic() + (_LAST_WORDS if killed else 0)
        while True:
            error = self.boot.judge_pod(self.connection.node, self.connection.pod).error
            if isinstance(error, PodLost) and (killed or error.repeatable):
                raise error from failure
            if time.monotonic() >= until or self.site.stop.is_set():
                return
            time.sleep(_LOOK / 5)

    def add_location(self, failure: BuildkitError) -> BuildkitError:
        """Add the pod, the transport and a fix to the error of a lost connection."""
        from ci_buildx.build import retries

        if failure.code not in retries.LOST_CODES or self.site.stop.is_set():
            return failure
        pod, way = self.connection.pod, self.connection.winner.name
        fix = "the pod still runs: build again; if this recurs, something on the way drops long connections"
        return BuildkitError(f"{failure.message} (pod {pod}, by {way})", code=failure.code, fix=fix)
