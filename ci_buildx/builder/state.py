"""Where buildkitd's state is."""

from __future__ import annotations

from ci_buildx.builder.builder import Manifest
from ci_buildx.settings.builder import BuilderSettings, Storage

VOLUME = "state"
"""The name of the volume; a StatefulSet's claim template is called so, too."""
FOLDER = "/var/lib/buildkit"
ROOTLESS_FOLDER = "/home/user/.local/share/buildkit"


def folder(settings: BuilderSettings) -> str:
    """Where buildkitd has its state. On the image's own overlay it would copy (the native snapshotter)."""
    return ROOTLESS_FOLDER if settings.rootless else FOLDER


def claim(storage: Storage) -> Manifest:
    """The spec of the claim that the storage asks for."""
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": storage.claimed}},
    }
    return {"storageClassName": storage.storage_class, **spec} if storage.storage_class else spec


def volume(storage: Storage, *, claimed_by_workload: bool) -> Manifest | None:
    """The pod's own volume; None where the workload's claim template brings it.

    A pod that does not outlive its job has a generic ephemeral volume: Kubernetes removes the claim with it.
    """
    if storage.claimed:
        if claimed_by_workload:
            return None
        return {"name": VOLUME, "ephemeral": {"volumeClaimTemplate": {"spec": claim(storage)}}}
    if storage.memory:
        return {"name": VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": storage.memory}}
    return {"name": VOLUME, "emptyDir": {}}
