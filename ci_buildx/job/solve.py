"""The build itself: one solve on each node, all at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping

from ci_buildx.builder.boot import Boot
from ci_buildx.buildkit import exporters, request
from ci_buildx.buildkit.exporters import Exports
from ci_buildx.errors import BuildkitError, SolveError
from ci_buildx.job import origin
from ci_buildx.job.attachables import attach
from ci_buildx.job.caches import Share, known_platforms
from ci_buildx.job.connect import Connection
from ci_buildx.job.parallel import begin, run_all
from ci_buildx.job.silence import SilenceReport
from ci_buildx.job.site import Site
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, replace
from ci_buildx.session.auth import Auth
from ci_buildx.session.places import FileTarget, FolderTarget
from ci_buildx.session.session import Session

_LOG = debug.get_log("job")
_LOOK = 0.5
_LOST = ("UNAVAILABLE", "CANCELLED")
"""Codes of calls that ended because their connection did, as ``buildkit.rpc`` reads them."""
_RECONNECTS = 5
"""How often one build connects again: each time may repeat a step, so a network that never holds must end it."""
_LAST_WORDS = 3.0
"""Seconds for the cluster to say why a pod whose connection broke has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """What one node's exporters said."""

    connection: Connection
    response: Mapping[str, str]


def solve_all(site: Site, boot: Boot, connections: list[Connection], auth: Auth) -> list[Solved]:
    """Build on every node. Raises SolveError if a build fails, BootError if its pod is lost."""
    several = len(connections) > 1
    exports = exporters.make(site.settings.build, by_digest=several)
    platforms = tuple(platform for one in connections for platform in known_platforms(one.node))
    works = [
        _Solve(
            site=site,
            boot=boot,
            connection=one,
            exports=exports,
            auth=auth,
            share=Share(
                build=site.settings.build,
                layout=exports.layout,
                platforms=known_platforms(one.node),
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


def pushes_collided(message: str) -> bool:
    """Whether a registry lost a blob of one push to another push of the same blob.

    Seen with distribution 2.8.2: a layer that two architectures share is being committed twice, and the manifest
    that is put meanwhile is refused for it. The blob is there a moment later.
    """
    return "failed to push" in message and "blob unknown to registry" in message


@dataclass(slots=True, kw_only=True)
class _Solve:
    """One node's share. ``connection`` is the one in use: a lost connection is replaced."""

    site: Site
    boot: Boot
    connection: Connection
    exports: Exports
    auth: Auth
    share: Share
    reconnects: int = 0

    def run(self) -> Solved:
        """Build; where nodes that push a common layer at once got into each other's way, push once more."""
        try:
            return self.persist()
        except SolveError as failure:
            if not (self.share.several and pushes_collided(failure.message)) or self.site.stop.is_set():
                raise
            name = self.connection.node.name
            self.site.display.warn(f"node {name} pushes again: {' '.join(failure.message.split())}")
            self.site.display.forgive(name)
            return self.persist()

    def persist(self) -> Solved:
        """Build; over a new connection if this one is lost while the pod runs.

        buildkitd ends a build with its connection (BuildKit 0.34.2, ``control/control.go``: Solve runs in the call's
        context) and keeps the finished steps in its cache, so only the steps that were running are repeated.
        """
        while True:
            try:
                return self.attempt()
            except BuildkitError as failure:
                if not self.repeatable(failure):
                    raise
                self.reconnect(failure)

    def repeatable(self, failure: BuildkitError) -> bool:
        """Whether the build may begin again: what has been written to standard output cannot be taken back."""
        streamed = any(isinstance(one, FileTarget) and one.path is None for one in self.exports.targets.values())
        lost = failure.code in _LOST and not self.site.stop.is_set()
        return lost and not streamed and self.reconnects < _RECONNECTS

    def reconnect(self, failure: BuildkitError) -> None:
        """Replace the connection.

        Raises TransportError if the pod is not reached in time, PodLost if it has ended.
        """
        self.reconnects += 1
        _LOG.debug("reconnection %s of node %s: %s", self.reconnects, self.connection.node.name, failure)
        self.site.display.warn(f"{failure.message}; the pod still runs: connecting again")
        self.connection = self.connection.renew()
        self.site.display.forgive(self.connection.node.name if self.share.several else "")
        way = self.connection.winner.name
        self.site.display.warn(f"connected again by {way}; finished steps come from the pod's cache")

    def attempt(self) -> Solved:
        build, node = self.site.settings.build, self.connection.node
        key = origin.shared_key(build.context, self.site.env)
        if self.site.clocks:
            self.site.clocks.done.wait()
        caches = self.share.prepare(self.site.env, warn=self.site.display.warn)
        session = Session(attach(self.site, self.auth, self.exports.targets, caches.layouts), shared_key=key)
        wanted = request.make(
            replace(build, cache_from=caches.imports, cache_to=caches.exports),
            ref=os.urandom(12).hex(),
            session_id=session.id,
            platforms=node.platforms,
            exporters=self.exports.exporters,
            multi_platform=self.share.several,
            folder_key=lambda folder: origin.shared_key(folder, self.site.env),
        )
        # Nobody can read a history that goes with the job's builder, and writing it delays each build's end.
        wanted = replace(wanted, frontend_attrs=wanted.frontend_attrs | self.site.checkout(), internal=True)
        stop, done = threading.Event(), threading.Event()
        silence = SilenceReport(self.site.display, self.connection.pod)
        begin(lambda: self.guard(session, silence, stop, done))
        name = node.name if self.share.several else ""
        try:
            result = self.connection.control.solve(
                wanted,
                session=session,
                on_status=lambda update: self.site.display.update(update, name),
                stop=stop,
            )
        except BuildkitError as failure:
            raise self.explain(failure) from failure
        finally:
            done.set()
            silence.close(session.silence)
        self.share.keep(result.exporter_response)
        return Solved(connection=self.connection, response=result.exporter_response)

    def guard(self, session: Session, silence: SilenceReport, stop: threading.Event, done: threading.Event) -> None:
        """End the solve when the job is to end, or when its pod has: a connection may hang for long after that.

        Meanwhile report the silences of buildkitd.
        """
        while not done.is_set():
            silence.note(session.silence)
            lost = self.boot.verdict(self.connection.node, self.connection.pod).error is not None
            if lost or self.site.stop.is_set():
                stop.set()
                return
            self.site.stop.wait(_LOOK)

    def explain(self, failure: BuildkitError) -> Exception:
        """The cluster's reason for a broken connection, where it has one; else between whom it broke."""
        until = time.monotonic() + (0 if self.site.stop.is_set() else _LAST_WORDS)
        while True:
            error = self.boot.verdict(self.connection.node, self.connection.pod).error
            if error is not None or time.monotonic() >= until:
                return error or self.located(failure)
            time.sleep(_LOOK / 5)

    def located(self, failure: BuildkitError) -> BuildkitError:
        """The failure with the pod and the way to it, and the cure of a network that dropped what was open."""
        if failure.code not in _LOST or self.site.stop.is_set():
            return failure
        pod, way = self.connection.pod, self.connection.winner.name
        fix = "the pod still runs: build again; if this recurs, something on the way drops long connections"
        return BuildkitError(f"{failure.message} (pod {pod}, by {way})", code=failure.code, fix=fix)
