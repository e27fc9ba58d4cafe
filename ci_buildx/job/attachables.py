"""What a build's session serves: files in, results out, logins and tokens, secrets, blobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ci_buildx.builder.builder import Builder
from ci_buildx.buildkit.exporters import is_true
from ci_buildx.buildkit.request import layout_stores, shared_folders
from ci_buildx.job.site import Site
from ci_buildx.registry import credentials, tokens
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.tokens import RegistryTokens
from ci_buildx.session.auth import Auth
from ci_buildx.session.filesync import FileSync
from ci_buildx.session.places import Target
from ci_buildx.session.secrets import Secrets
from ci_buildx.session.session import Attachable
from ci_buildx.settings.values import BuildSettings

if TYPE_CHECKING:
    from ci_buildx.registry.trust import Trust
    from ci_buildx.session.content_layout import Layout


def authority(site: Site, builder: Builder, store: CredentialStore) -> Auth:
    """What answers for registries, in the sessions of all nodes."""

    def trust() -> Trust:
        from ci_buildx.job.publish import trust_of

        return trust_of(site, builder)

    if is_true(site.env.get(tokens.SWITCH, "")):
        return Auth(store.lookup)
    return Auth(store.lookup, RegistryTokens(store, folder=credentials.folder(site.env), trust=trust))


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
