"""Options that contradict each other."""

from __future__ import annotations

from ci_buildx.errors import InputError
from ci_buildx.settings.builder import BuilderSettings, Confinement, Reclaim, UserNamespaces


def check(builder: BuilderSettings, *, source: str) -> None:
    """Raise InputError for options that cannot both be."""
    storage = builder.storage
    if storage.memory and storage.claimed:
        raise InputError(
            "buildkit-root-volume-memory and persistent-volume-claim.requests.storage are both given",
            source=source,
            fix="the state is in one of them: leave the other out",
        )
    for name, given in (("storage-class", storage.storage_class), ("reclaim", storage.reclaim is Reclaim.RETAIN)):
        if given and not storage.claimed:
            raise InputError(
                f"{name} has no effect without a volume",
                source=source,
                fix="add persistent-volume-claim.requests.storage",
            )
    if builder.rootless and builder.user_namespaces is UserNamespaces.TRUE:
        raise InputError(
            "rootless=true and user-namespaces=true are both given",
            source=source,
            fix="either alone keeps root of the node away: rootlesskit needs IDs that a user namespace has not",
        )
    if builder.qemu.install and builder.user_namespaces is UserNamespaces.TRUE:
        raise InputError(
            "qemu.install=true and user-namespaces=true are both given",
            source=source,
            fix="emulators are registered with the node's kernel, which needs root there",
        )
    if builder.confinement != Confinement() and not builder.rootless:
        raise InputError(
            "seccomp-profile and apparmor-profile have no effect without rootless=true",
            source=source,
            fix="Kubernetes confines no privileged container",
        )
