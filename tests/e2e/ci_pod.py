"""A pod of the devcluster in which act runs a workflow: a self-hosted runner in the cluster, though not the real ARC.

The image is the devcluster's runner with act, Node, git, a user's repository, and the Action's Python environment,
which the pod, that reaches no registry of packages, could not install.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devcluster import images, layout, toolchain
from devcluster.images import buildkit, host_files, runner
from devcluster.images.catalogue import NATIVE_BUSYBOX
from devcluster.images.image import Content, Image, Variant
from devcluster.images.layer import Entry, File
from tests.e2e import checkout

WORK = "/srv/repository"
_TOOLS = "/root/.cache/act/tool_cache"
_VARIABLES = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")


def python() -> Path:
    """The interpreter, whose path is the same here and in the image."""
    return Path(sys.executable).resolve()


def push(repository: Path, tools: Path, tag: str) -> str:
    """Push the image with a repository in it; ``tools`` is an empty folder. Its reference."""
    prepare = f"require('{repository}/action/environment').prepare('{python()}')"
    environment = {**checkout.environment("act-home"), "RUNNER_TOOL_CACHE": str(tools)}
    subprocess.run([toolchain.node(), "-e", prepare], env=environment, check=True, capture_output=True, timeout=300)
    (base,) = runner.image(NATIVE_BUSYBOX).variants
    layers = (
        *base.layers,
        Content(entries=tuple(_programs())),
        Content(entries=tuple(host_files.folder(tools, _TOOLS))),
        Content(entries=tuple(host_files.folder(repository, WORK))),
    )
    variant = Variant(architecture="amd64", layers=layers, settings={**base.settings, "WorkingDir": WORK})
    images.push(layout.cluster(), [Image(repository="tests/act", tags=(tag,), variants=(variant,))])
    return f"tests/act:{tag}"


def manifest(name: str, image: str, account: str, workflow: str) -> dict[str, Any]:
    """The pod."""
    variables = " ".join(f"--env {variable}=${variable}" for variable in _VARIABLES)
    options = f"--workflows {workflow} --platform ubuntu-latest=-self-hosted --pull=false --no-cache-server {variables}"
    script = f"mkdir -p /root/.config/act && touch /root/.config/act/actrc && exec act workflow_dispatch {options} 2>&1"
    container = {"name": "runner", "image": image, "command": ["sh", "-c", script], "workingDir": WORK}
    spec = {"serviceAccountName": account, "restartPolicy": "Never", "containers": [container]}
    return {"metadata": {"name": name}, "spec": {**spec, "terminationGracePeriodSeconds": 0}}


def _programs() -> Iterator[Entry]:
    yield from buildkit.git()
    yield from host_files.program(toolchain.node(), at="/usr/bin/node")
    yield File(path="/usr/bin/act", source=Path(checkout.program("act")), mode=0o755)
