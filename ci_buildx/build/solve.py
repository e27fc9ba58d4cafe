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
from ci_buildx.errors import BuildkitError, SolveError
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, replace
from ci_buildx.runtime.phases import SilenceReport
from ci_buildx.runtime.signals import run_all, start_thread
from ci_buildx.session.auth import AuthService
from ci_buildx.session.file_targets import FileTarget, FolderTarget
from ci_buildx.session.session import BuildSession

_LOG = debug.get_log("build")
_LOOK = 0.5
_LOST = ("UNAVAILABLE", "CANCELLED")
"""Codes of calls that ended because their connection broke, as ``buildkit.grpc`` reads them."""
_RECONNECTS = 5
"""Maximum reconnections of one build: each may repeat a step, so a permanently unstable network must fail."""
_LAST_WORDS = 3.0
"""Seconds for the cluster to report why a pod ended after its connection broke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeResult:
    """One node's connection and the response of its exporters."""

    connection: NodeConnection
    response: Mapping[str, str]


def solve_nodes(site: BuildRun, boot: Boot, connections: list[NodeConnection], auth: AuthService) -> list[NodeResult]:
    """Build on every node. Raises SolveError if a build fails, BootError if its pod is lost."""
    several = len(connections) > 1
    exports = exporters.make_exports(site.settings.build, by_digest=several)
    platforms = tuple(platform for one in connections for platform in list_platforms(one.node))
    works = [
        _NodeSolve(
            site=site,
            boot=boot,
            connection=one,
            exports=exports,
            auth=auth,
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


def is_push_collision(message: str) -> bool:
    """Return whether a registry lost a blob of one push to another push of the same blob.

    Seen with distribution 2.8.2: a layer that two architectures share is being committed twice, and the manifest that
    is put meanwhile is rejected because of it. The blob exists a moment later.
    """
    return "failed to push" in message and "blob unknown to registry" in message


@dataclass(slots=True, kw_only=True)
class _NodeSolve:
    """One node's share. ``connection`` is the one in use: a lost connection is replaced."""

    site: BuildRun
    boot: Boot
    connection: NodeConnection
    exports: Exports
    auth: AuthService
    share: NodeCaches
    reconnects: int = 0

    def run(self) -> NodeResult:
        """Build; if nodes collided while they pushed a common layer, push once more."""
        try:
            return self.solve_until_done()
        except SolveError as failure:
            if not (self.share.several and is_push_collision(failure.message)) or self.site.stop.is_set():
                raise
            name = self.connection.node.name
            self.site.display.warn(f"node {name} pushes again: {' '.join(failure.message.split())}")
            self.forgive()
            return self.solve_until_done()

    @property
    def shown_node(self) -> str:
        """The node's name, "" if it is the only one."""
        return self.connection.node.name if self.share.several else ""

    def forgive(self) -> None:
        """Leave this share's failures so far out of the final report."""
        self.site.display.forgive(self.shown_node, target=self.site.label)

    def solve_until_done(self) -> NodeResult:
        """Build; over a new connection if this one is lost while the pod runs.

        buildkitd ends a build with its connection (BuildKit 0.34.2, ``control/control.go``: Solve runs in the call's
        context) and keeps the finished steps in its cache, so only the steps that were running are repeated.
        """
        while True:
            try:
                return self.attempt()
            except BuildkitError as failure:
                if not self.is_repeatable(failure):
                    raise
                self.reconnect(failure)

    def is_repeatable(self, failure: BuildkitError) -> bool:
        """Return whether the build may be repeated: output already written to standard output cannot be undone."""
        streamed = any(isinstance(one, FileTarget) and one.path is None for one in self.exports.targets.values())
        lost = failure.code in _LOST and not self.site.stop.is_set()
        return lost and not streamed and self.reconnects < _RECONNECTS

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
        key = origin.make_context_shared_key(build.context, self.site.env)
        if self.site.clocks:
            self.site.clocks.done.wait()
        caches = self.share.prepare(self.site.env, warn=self.site.display.warn)
        session = BuildSession(
            make_attachables(self.site, self.auth, self.exports.targets, caches.layouts), shared_key=key
        )
        wanted = solve_request.make_solve_request(
            replace(build, cache_from=caches.imports, cache_to=caches.exports),
            ref=os.urandom(12).hex(),
            session_id=session.id,
            platforms=node.platforms,
            exporters=self.exports.exporters,
            multi_platform=self.share.several,
            folder_key=lambda folder: origin.make_context_shared_key(folder, self.site.env),
        )
        # Internal builds leave no history: it would end with the job's builder, and writing it delays each build's end.
        wanted = replace(
            wanted,
            frontend_attrs=wanted.frontend_attrs | self.site.checkout() | self.site.share(node.name),
            internal=True,
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
            )
        except BuildkitError as failure:
            raise self.explain(failure) from failure
        finally:
            done.set()
            # A result ends a silence, also if it overtakes the answer to the session's last ping.
            silence.close(session.silence if result is None else 0.0)
        self.share.keep(result.exporter_response)
        return NodeResult(connection=self.connection, response=result.exporter_response)

    def guard(
        self, session: BuildSession, silence: SilenceReport, stop: threading.Event, done: threading.Event
    ) -> None:
        """Stop the solve when the job must stop or its pod has ended, after which a connection may hang for long.

        Meanwhile, report the silences of buildkitd.
        """
        while not done.is_set():
            silence.note(session.silence)
            lost = self.boot.judge_pod(self.connection.node, self.connection.pod).error is not None
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

    def add_location(self, failure: BuildkitError) -> BuildkitError:
        """Add the pod, the transport and a fix to the error of a lost connection."""
        if failure.code not in _LOST or self.site.stop.is_set():
            return failure
        pod, way = self.connection.pod, self.connection.winner.name
        fix = "the pod still runs: build again; if this recurs, something on the way drops long connections"
        return BuildkitError(f"{failure.message} (pod {pod}, by {way})", code=failure.code, fix=fix)
