"""Finds the docker daemon that ``--load`` loads images into, by docker's own rules."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ci_buildx.errors import InputError
from ci_buildx.settings.values import DockerDaemon

HOST = "DOCKER_HOST"
CONTEXT = "DOCKER_CONTEXT"
_DEFAULT = Path("/var/run/docker.sock")
_PORT = 2375
_FIX = "write -o type=docker,dest=FILE (docker load -i FILE takes it), or push the image"


def find_daemon(env: Mapping[str, str], *, source: str) -> DockerDaemon:
    """Return the daemon of ``DOCKER_HOST`` (a UNIX socket, or TCP without TLS), or the one at docker's default socket.

    Raises InputError if there is none.
    """
    given, context = env.get(HOST, ""), env.get(CONTEXT, "")
    if not given and context not in ("", "default"):
        message = f"contexts of docker's are not read, and {CONTEXT} names {context!r}"
        raise InputError(message, source=source, fix=f"set {HOST} to the daemon's address")
    try:
        url = urlsplit(given or f"unix://{_DEFAULT}")
        if url.scheme == "tcp" and url.hostname and not env.get("DOCKER_TLS_VERIFY"):
            return DockerDaemon(host=url.hostname, port=url.port or _PORT)
    except ValueError as error:
        raise InputError(f"{HOST} is no address: {error}", source=source, fix=_FIX) from error
    if url.scheme != "unix":
        raise InputError(f"a docker daemon at {given} cannot be reached from here", source=source, fix=_FIX)
    path = Path(url.path)
    if not _is_socket(path):
        raise InputError(f"there is no docker daemon to load into: {path} is no socket", source=source, fix=_FIX)
    return DockerDaemon(socket=path)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except (OSError, ValueError):
        return False
