"""The attachables of a build's sessions: files, results, logins and tokens, secrets, SSH agents, blobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from ci_buildx.build.build_run import BuildRun
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.lifecycle import find
from ci_buildx.buildkit.exporters import is_true
from ci_buildx.buildkit.solve_request import list_layout_stores, list_shared_folders
from ci_buildx.model.hosts import is_host, normalize_host
from ci_buildx.registry import credentials, token_authority
from ci_buildx.registry.credentials import CredentialStore, RegistryLogin, canonicalize_host
from ci_buildx.registry.token_authority import LoginStore, RegistryTokens
from ci_buildx.session.auth import AuthService, SecretsService
from ci_buildx.session.file_targets import Target
from ci_buildx.session.filesync import FileSyncService
from ci_buildx.session.session import Attachable
from ci_buildx.settings.values import BuildSettings

if TYPE_CHECKING:
    from ci_buildx.kube.client import KubeClient
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
    if site.settings.builder_name:
        return read_builder_trust(site.kube, builder).allow_insecure(insecure)
    from ci_buildx.builder.manifests import buildkitd

    return buildkitd.make_registry_trust(site.settings.builder).allow_insecure(insecure)


def read_builder_trust(kube: KubeClient, builder: Builder) -> RegistryTrust:
    """Return the registry settings in the files of an existing builder. Raises KubeError."""
    from ci_buildx.builder.manifests import buildkitd, registries

    files = find.read_files(kube, builder)
    has_keys = any(registries.KEYS_FOLDER in text for text in files.values())
    secrets = find.read_secret_files(kube, builder) if has_keys else {}
    return buildkitd.read_registry_trust(files, secrets)


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
