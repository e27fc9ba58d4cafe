"""What a build's session serves: files in, results out, logins and tokens, secrets, blobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from ci_buildx.builder.builder import Builder
from ci_buildx.buildkit.exporters import is_true
from ci_buildx.buildkit.request import layout_stores, shared_folders
from ci_buildx.job.site import Site
from ci_buildx.model.hosts import is_host, normalize_host
from ci_buildx.registry import credentials, tokens
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.dockerconfig import Login, canonical
from ci_buildx.registry.tokens import LoginStore, RegistryTokens
from ci_buildx.session.auth import Auth
from ci_buildx.session.filesync import FileSync
from ci_buildx.session.places import Target
from ci_buildx.session.secrets import Secrets
from ci_buildx.session.session import Attachable
from ci_buildx.settings.values import BuildSettings

if TYPE_CHECKING:
    from ci_buildx.registry.trust import Trust
    from ci_buildx.session.content_layout import Layout


MOST_WARNINGS = 10
"""Hosts whose login was kept back that are warned of."""


class BuildLogins:
    """The logins of ``store`` that a build may use; thread-safe.

    ``mirrors`` returns the hosts of the builder's mirrors. It is called only for a host that the build does not name.
    ``warn`` is told, once for each host and a few times at most, that a login is kept back: that image may be public.
    """

    def __init__(
        self,
        store: LoginStore,
        build: BuildSettings,
        *,
        mirrors: Callable[[], Iterable[str]],
        warn: Callable[[str], None],
    ) -> None:
        self._store = store
        self._build = build
        self._mirrors = mirrors
        self._hosts: frozenset[str] | None = None
        self._is_read = False
        self._warn = warn
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    def lookup(self, host: str, path: str = "") -> Login | None:
        """Return the login for a host; None if there is none, or if the build does not name the host."""
        if not is_host(host):
            return None
        login = self._store.lookup(host, path)
        if login is None or self._is_named(host):
            return login
        with self._lock:
            is_new = host not in self._warned and len(self._warned) < MOST_WARNINGS
            if is_new:
                self._warned.add(host)
        if is_new:
            self._warn(
                f"the login of {host} is not given to buildkitd: the build names no image there; if a base image brings"
                f" it in (ONBUILD), name it: --build-context NAME=docker-image://{host}/…"
            )
        return None

    def _is_named(self, host: str) -> bool:
        from ci_buildx.job.login_hosts import find_login_hosts

        with self._lock:
            if not self._is_read:
                self._hosts, self._is_read = find_login_hosts(self._build), True
        wanted = canonical(normalize_host(host))
        return self._hosts is None or wanted in self._hosts or wanted in {canonical(one) for one in self._mirrors()}


def authority(site: Site, builder: Builder, store: CredentialStore) -> Auth:
    """What answers for registries, in the sessions of all nodes."""

    def trust() -> Trust:
        from ci_buildx.job.publish import trust_of

        return trust_of(site, builder)

    logins = BuildLogins(
        store, site.settings.build, mirrors=lambda: trust().mirrors, warn=lambda text: site.display.warn(text)
    )
    if is_true(site.env.get(tokens.SWITCH, "")):
        return Auth(logins.lookup)
    return Auth(logins.lookup, RegistryTokens(logins, folder=credentials.folder(site.env), trust=trust))


def forwarded(build: BuildSettings) -> Attachable:
    """The agents that steps may use."""
    from ci_buildx.session.ssh import Agent, SocketAgent, Ssh

    agents: dict[str, Agent] = {one.id: SocketAgent(one.socket) for one in build.ssh if one.socket}
    if len(agents) < len(build.ssh):
        from ci_buildx.session.keyring import Keyring

        agents |= {one.id: Keyring(one.keys) for one in build.ssh if not one.socket}
    return Ssh(agents)


def attach(site: Site, auth: Auth, targets: Mapping[int, Target], layouts: Mapping[str, Layout]) -> list[Attachable]:
    """The attachables of one solve; ``targets`` by the exporter's index in the request, ``layouts`` by their id."""
    build = site.settings.build
    attachables: list[Attachable] = [
        FileSync(shared_folders(build), site.clocks.result() if site.clocks else None),
        auth,
        Secrets({secret.id: secret.value for secret in build.secrets}),
    ]
    if build.ssh:
        attachables.append(forwarded(build))
    if targets:
        from ci_buildx.session.filesend import FileSend

        attachables.append(FileSend(targets))
    if build.archive is not None:
        from ci_buildx.session.upload import Upload

        attachables.append(Upload({str(build.context).rpartition("/")[2]: build.archive}))
    images = layout_stores(build)
    if layouts or images:
        from ci_buildx.session.content import Content
        from ci_buildx.session.content_layout import Layout

        attachables.append(Content({**layouts, **{name: Layout(folder) for name, folder in images.items()}}))
    return attachables
