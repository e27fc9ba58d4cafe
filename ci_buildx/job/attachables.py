"""What a build's session serves: files in, results out, logins, secrets."""

from __future__ import annotations

from collections.abc import Mapping

from ci_buildx.buildkit.request import shared_folders
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.session.auth import Auth
from ci_buildx.session.filesend import FileSend, Target
from ci_buildx.session.filesync import FileSync
from ci_buildx.session.secrets import Secrets
from ci_buildx.session.session import Attachable
from ci_buildx.settings.values import BuildSettings


def attach(build: BuildSettings, store: CredentialStore, targets: Mapping[int, Target]) -> list[Attachable]:
    """The attachables of one solve; ``targets`` by the exporter's index in the request."""
    attachables: list[Attachable] = [
        FileSync(shared_folders(build)),
        Auth(store.lookup),
        Secrets({secret.id: secret.value for secret in build.secrets}),
    ]
    return [*attachables, FileSend(targets)] if targets else attachables
