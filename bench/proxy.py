"""HAProxy of Debian in front of buildkitd's pods: TCP with `leastconn`, so that mTLS ends in the pods."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from devcluster import host

PACKAGE = "haproxy"
_CONFIGURATION = """global
  log stdout format raw local0
  maxconn 2000
defaults
  mode tcp
  log global
  log-format "%s %Tw %Tt %ts"
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout queue {queue}
listen pool
  bind {address}
  balance leastconn
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A running HAProxy: where it listens, and the file with one line for each connection that has ended."""

    address: str
    log: Path

    def list_connections(self) -> list[tuple[str, int, int, str]]:
        """Return each connection: server, wait and life in ms, and HAProxy's code of its end."""
        found = []
        for line in self.log.read_text().splitlines():
            server, *rest = line.split()
            if len(rest) == 3:
                found.append((server, int(rest[0]), int(rest[1]), rest[2]))
        return found


def install() -> None:
    """Install Debian's package unless HAProxy is there. Raises DevclusterError."""
    if not shutil.which(PACKAGE, path="/usr/sbin:/usr/bin"):
        with host.no_services():
            host.fetch(lambda: host.apt("install", *host.INSTALLATION, PACKAGE))


@contextmanager
def running(folder: Path, address: str, servers: Sequence[str], *, most: int, queue: str) -> Iterator[Proxy]:
    """Run HAProxy at ``address`` with at most ``most`` connections to a server, and a queue of ``queue`` long."""
    port = _find_port(address)
    settings, log = folder / "haproxy.cfg", folder / f"haproxy-{port}.log"
    lines = [f"  server pod{place} {server} maxconn {most}\n" for place, server in enumerate(servers)]
    settings.write_text(_CONFIGURATION.format(queue=queue, address=f"{address}:{port}") + "".join(lines))
    with log.open("w") as output:
        process = subprocess.Popen(["/usr/sbin/haproxy", "-db", "-f", str(settings)], stdout=output, stderr=output)
    try:
        _wait_for_port(address, port)
        yield Proxy(address=f"{address}:{port}", log=log)
    finally:
        process.terminate()
        process.wait()


def _find_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _wait_for_port(address: str, port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((address, port), timeout=1):
            return
        time.sleep(0.05)
    raise TimeoutError("HAProxy does not listen")
