"""Commands in the containers of builders' pods."""

from __future__ import annotations

import socket
from typing import Any

from ci_buildx.kube.client import KubeClient
from ci_buildx.transport import tunnel
from ci_buildx.transport.race import PodAddress


def run(kube: KubeClient, pod: dict[str, Any], *command: str) -> str:
    """What a command prints that runs in buildkitd's container."""
    metadata = pod["metadata"]
    address = PodAddress(
        namespace=metadata["namespace"], name=metadata["name"], ip="", container="buildkitd", port=1234
    )
    opened = tunnel.open_exec(kube, address, command=command)
    with opened as endpoint, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(endpoint.target.removeprefix("unix:"))
        with connection.makefile("rb") as stream:
            return stream.read().decode()
