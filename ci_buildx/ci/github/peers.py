"""What docker's actions take and we do not, and what to do instead."""

from __future__ import annotations

from collections.abc import Mapping

_NO_BUILDX = "leave it out: there is no buildx to install"
REFUSED: Mapping[str, str] = {
    # docker/setup-buildx-action
    "version": _NO_BUILDX,
    "cache-binary": _NO_BUILDX,
    "install": _NO_BUILDX,
    "endpoint": "leave it out: the cluster is that of the kubeconfig",
    "append": "leave it out: each architecture gets a node by itself; --append is of kube-builder create",
    "keep-state": "leave it out: a job's builder goes with its state; kube-builder create makes one that stays",
    "name": "leave it out: this step's builder has a name of its own; to use one that exists say builder",
    "use": "leave it out: only this step uses its builder; org/kube-builder/setup makes one for later steps",
    "cleanup": "leave it out: the builder is always removed; org/kube-builder/setup makes one for later steps",
    # docker/setup-qemu-action
    "image": "BuildKit's image (driver-opts: image=…) has emulators; others are driver-opts: qemu.install=true,"
    "qemu.image=…",
    "reset": "leave it out: nothing is registered with the runner's kernel",
    "cache-image": "leave it out: no image is pulled to the runner",
    # docker/bake-action
    "files": "bake files are not read: give each target a step",
    "targets": "bake files are not read: give each target a step",
    "set": "bake files are not read: give each target a step",
    "workdir": "say context",
    "source": "say context",
}
