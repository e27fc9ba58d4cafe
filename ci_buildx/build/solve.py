"""The Solve call on each node, and the session that serves it: files, results, logins and tokens, secrets, blobs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from ci_buildx.build.build_run import BuildRun
from ci_buildx.build.caches import NodeCaches, list_platforms
from ci_buildx.build.connect import NodeConnection
from ci_buildx.build.context import origin
from ci_buildx.builder.boot.watch import Boot
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.lifecycle import find
from ci_buildx.buildkit import exporters, solve_request
from ci_buildx.buildkit.exporters import Exports, is_true
from ci_buildx.buildkit.solve_request import list_layout_stores, list_shared_folders
from ci_buildx.errors import BuildkitError, SolveError
from ci_buildx.model import debug
from ci_buildx.model.hosts import is_host, normalize_host
from ci_buildx.model.record import dataclass, replace
from ci_buildx.registry import credentials, token_authority
from ci_buildx.registry.credentials import CredentialStore, RegistryLogin, canonicalize_host
from ci_buildx.registry.token_authority import LoginStore, RegistryTokens
from ci_buildx.runtime.phases import SilenceReport
from ci_buildx.runtime.signals import run_all, start_thread
from ci_buildx.session.auth import AuthService, SecretsService
from ci_buildx.session.file_targets import FileTarget, FolderTarget, Target
from ci_buildx.session.filesync import FileSyncService
from ci_buildx.session.session import Attachable, BuildSession
from ci_buildx.settings.values import BuildSettings

if TYPE_CHECKING:
    from ci_buildx.progress.display import BuildDisplay
    from ci_buildx.registry.trust import RegistryTrust
    from ci_buildx.session.oci_layout import OciLayout

MOST_WARNINGS = 10
"""Maximum number of hosts for which a withheld login is reported."""
MOST_UNNAMED = 10
"""Maximum number of hosts whose logins a build gives although it does not name them: only BuildKit sees the Dockerfile.

A builder that collects logins asks for more hosts than a Dockerfile has, and each of the first is reported.
"""


class BuildLogins:
    """The logins of ``store`` that a build may use; thread-safe.

    A credential program runs only for hosts that the build may give a login for. ``mirrors`` returns the hosts of the
    builder's mirrors. It is called only for a host that the build does not name.
    ``warn`` is called once per host, for at most :data:`MOST_WARNINGS` hosts, if a login is withheld; the image may be
    public. If only BuildKit sees the Dockerfile, the logins of :data:`MOST_UNNAMED` other hosts are passed as well, and
    ``report_passed`` is called for each.
    """

    def __init__(
        self,
        store: LoginStore,
        build: BuildSettings,
        *,
        mirrors: Callable[[], Iterable[str]],
        warn: Callable[[str], None],
        report_passed: Callable[[str], None],
    ) -> None:
        self._store = store
        self._build = build
        self._mirrors = mirrors
        self._hosts: frozenset[str] | None = None
        self._sees_dockerfile = True
        self._given: set[str] = set()
        self._warn = warn
        self._report_passed = report_passed
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    def lookup(self, host: str, path: str = "") -> RegistryLogin | None:
        """Return the login for a host; None if there is none, or if the build does not name the host."""
        if not is_host(host):
            return None
        if not self.can_have(host):
            return None
        wanted = canonicalize_host(normalize_host(host))
        if self._is_named(wanted):
            return self._store.lookup(host, path)
        if self._may_admit(wanted):
            login = self._store.lookup(host, path)
            if login is None or self._is_admitted(wanted):
                return login
        self._warn_of_withheld_login(host)
        return None

    def can_have(self, host: str) -> bool:
        """Return whether a login for a host may exist; runs no program."""
        return self._store.can_have(host)

    def _warn_of_withheld_login(self, host: str) -> None:
        with self._lock:
            if host in self._warned or len(self._warned) >= MOST_WARNINGS:
                return
            self._warned.add(host)
        self._warn(
            f"no login for {host} is passed to buildkitd: the build names no image there; if a base image brings"
            f" it in (ONBUILD), name it: --build-context NAME=docker-image://{host}/…"
        )

    def _is_named(self, wanted: str) -> bool:
        from ci_buildx.build.login_hosts import find_hosts_of_settings, find_login_hosts

        with self._lock:
            if self._hosts is None:
                found = find_login_hosts(self._build)
                self._sees_dockerfile = found is not None
                self._hosts = find_hosts_of_settings(self._build) if found is None else found
            hosts = self._hosts
        return wanted in hosts or wanted in {canonicalize_host(one) for one in self._mirrors()}

    def _may_admit(self, wanted: str) -> bool:
        """Return whether the login of an unnamed host may be looked up: the Dockerfile is unknown here."""
        with self._lock:
            return not self._sees_dockerfile and (wanted in self._given or len(self._given) < MOST_UNNAMED)

    def _is_admitted(self, wanted: str) -> bool:
        """Count an unnamed host that has a login; report it once. Return False if there were too many meanwhile."""
        with self._lock:
            if wanted in self._given:
                return True
            if len(self._given) >= MOST_UNNAMED:
                return False
            self._given.add(wanted)
        self._report_passed(f"the login for {wanted} is passed to buildkitd: only BuildKit sees this Dockerfile")
        return True


def report_passed_login(shown: BuildDisplay, text: str, *, own: bool) -> None:
    """Report a login that is passed to a builder: a warning, unless the builder is this run's ``own``.

    A private base image in a git context is usual.
    """
    if own:
        shown.note("passing logins", text)
    else:
        shown.warn(f"{text}; if the build needs no image there, stop using this builder")


def make_builder_trust(site: BuildRun, builder: Builder, insecure: Iterable[str] = ()) -> RegistryTrust:
    """Return the registry settings of the builder's configuration.

    ``insecure`` are further hosts, from ``registry.insecure=true``.
    """
    from ci_buildx.builder.manifests import buildkitd, registries

    if not site.settings.builder_name:
        return buildkitd.make_registry_trust(site.settings.builder).allow_insecure(insecure)
    files = find.read_files(site.kube, builder)
    has_keys = any(registries.KEYS_FOLDER in text for text in files.values())
    secrets = find.read_secret_files(site.kube, builder) if has_keys else {}
    return buildkitd.read_registry_trust(files, secrets).allow_insecure(insecure)


def make_token_authority(site: BuildRun, builder: Builder, store: CredentialStore) -> AuthService:
    """Return the service that answers requests for registry logins and tokens in the sessions of all nodes."""

    def make_trust() -> RegistryTrust:
        return make_builder_trust(site, builder)

    logins = BuildLogins(
        store,
        site.settings.build,
        mirrors=lambda: make_trust().mirrors,
        warn=site.display.warn,
        report_passed=lambda text: report_passed_login(site.display, text, own=not site.settings.builder_name),
    )
    if is_true(site.env.get(token_authority.SWITCH, "")):
        return AuthService(logins.lookup)
    return AuthService(
        logins.lookup, RegistryTokens(logins, folder=credentials.find_config_folder(site.env), trust=make_trust)
    )


def make_ssh_agents(build: BuildSettings) -> Attachable:
    """Return the service for the SSH agents that steps may use."""
    from ci_buildx.session.ssh import SocketSshAgent, SshAgent, SshService

    agents: dict[str, SshAgent] = {one.id: SocketSshAgent(one.socket) for one in build.ssh if one.socket}
    if len(agents) < len(build.ssh):
        from ci_buildx.session.ssh_keyring import SshKeyring

        agents |= {one.id: SshKeyring(one.keys) for one in build.ssh if not one.socket}
    return SshService(agents)


def make_attachables(
    site: BuildRun, auth: AuthService, targets: Mapping[int, Target], layouts: Mapping[str, OciLayout]
) -> list[Attachable]:
    """Return the attachables of one solve; ``targets`` by the exporter's index in the request, ``layouts`` by id."""
    build = site.settings.build
    attachables: list[Attachable] = [
        FileSyncService(list_shared_folders(build), site.clocks.take_result() if site.clocks else None),
        auth,
        SecretsService({secret.id: secret.value for secret in build.secrets}),
    ]
    if build.ssh:
        attachables.append(make_ssh_agents(build))
    if targets:
        from ci_buildx.session.filesend import FileSendService

        attachables.append(FileSendService(targets))
    if build.archive is not None:
        from ci_buildx.session.content import UploadService

        attachables.append(UploadService({str(build.context).rpartition("/")[2]: build.archive}))
    images = list_layout_stores(build)
    if layouts or images:
        from ci_buildx.session.content import ContentService
        from ci_buildx.session.oci_layout import OciLayout

        attachables.append(ContentService({**layouts, **{name: OciLayout(folder) for name, folder in images.items()}}))
    return attachables


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
            self.site.display.forgive(name)
            return self.solve_until_done()

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
        self.site.display.forgive(self.connection.node.name if self.share.several else "")
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
        wanted = replace(wanted, frontend_attrs=wanted.frontend_attrs | self.site.checkout(), internal=True)
        stop, done = threading.Event(), threading.Event()
        silence = SilenceReport(self.site.display, self.connection.pod)
        start_thread(lambda: self.guard(session, silence, stop, done))
        name = node.name if self.share.several else ""
        result = None
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
