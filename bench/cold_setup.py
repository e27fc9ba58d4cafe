"""`python -m bench.cold_setup`: `make demo` of a new clone with empty caches, as on a new machine.

Only Debian's packages are taken as they are: the result lists those that were missing. Modules, packages of Python,
and everything that is compiled begin from nothing. The demo's cluster is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench import machine
from bench.ground import PROJECT
from devcluster import host

RESULTS = Path(__file__).parent / "results"
CLUSTER = "cold-setup"
ROUTES, INTERFACES = Path("/proc/net/route"), Path("/sys/class/net")

_PHASE = re.compile(r"(.{14}) +([0-9.]+) s$")
_BUILT = re.compile(r"built (\S+) in (\d+) s$")
_FETCHED = re.compile(r"fetched the modules of .* in (\d+) s$")


@dataclass(kw_only=True)
class ColdSetup:
    """Seconds of the whole command and of its parts, processor time, and bytes that arrived from the network.

    Modules are fetched while others are compiled already, so `fetched` is a part of the phase `programs`.
    """

    seconds: float = 0.0
    processor: float = 0.0
    received: int = 0
    fetched: int = 0
    environment: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    built: dict[str, int] = field(default_factory=dict)
    missing_packages: list[str] = field(default_factory=list)

    def read_line(self, line: str, elapsed: float) -> None:
        """Take a figure from a line of the output, which came after ``elapsed`` seconds."""
        if phase := _PHASE.match(line):
            name, seconds = phase[1].strip(), float(phase[2])
            if not self.phases:
                self.environment = round(elapsed - seconds, 1)
            self.phases[name] = round(self.phases.get(name, 0.0) + seconds, 1)
        elif built := _BUILT.match(line):
            self.built[built[1]] = int(built[2])
        elif fetched := _FETCHED.match(line):
            self.fetched = int(fetched[1])


def run_demo(checkout: Path, env: Mapping[str, str]) -> ColdSetup:
    """Run `make demo` and print its output, each line with its second. Raises CalledProcessError."""
    found = ColdSetup(missing_packages=host.missing_packages())
    before, arrived = measure_processor(), read_received()
    began = time.monotonic()
    command = ["make", "demo"]
    with subprocess.Popen(
        command, cwd=checkout, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            elapsed = time.monotonic() - began
            print(f"{elapsed:6.1f}  {line}", end="", flush=True)
            found.read_line(line.rstrip(), elapsed)
    found.seconds = round(time.monotonic() - began, 1)
    found.processor = round(measure_processor() - before, 1)
    found.received = read_received() - arrived
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return found


def measure_processor() -> float:
    """Return the processor time of ended children in seconds. The cluster's processes are none of them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read_received() -> int:
    """Return the bytes that the interface of the default route has received."""
    for line in ROUTES.read_text().splitlines()[1:]:
        interface, destination, *_ = line.split()
        if destination == "00000000":
            return int((INTERFACES / interface / "statistics" / "rx_bytes").read_text())
    return 0


def make_environment(folder: Path) -> dict[str, str]:
    """Return an environment whose caches are empty folders."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KUBE_BUILDER_")}
    return kept | {
        "KUBE_BUILDER_CACHE": str(folder / "cache"),
        "GOCACHE": str(folder / "gocache"),
        "GOMODCACHE": str(folder / "modules"),
        "PIP_NO_CACHE_DIR": "1",
        "DEVCLUSTER": CLUSTER,
    }


def main() -> int:
    """Measure once, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_setup", description=__doc__)
    file = RESULTS / f"cold-setup-{time.strftime('%Y-%m-%d')}.json"
    parser.add_argument("--json", type=Path, default=file, metavar="FILE")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where the clone and the caches are made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cold-setup-", dir=arguments.folder) as name:
        folder = Path(name)
        checkout, env = folder / "checkout", make_environment(folder)
        subprocess.run(["git", "clone", "--quiet", PROJECT, checkout], check=True)
        facts = machine.facts()
        try:
            found = run_demo(checkout, env)
        finally:
            down = [sys.executable, "-m", "devcluster", "--name", CLUSTER, "down"]
            subprocess.run(down, cwd=checkout, env=env, check=True)
            # Go's modules are read-only folders.
            subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    print(f"{found.seconds:.0f} s, of which {found.fetched} s fetching beside compiling; {found.received / 1e6:.0f} MB")
    arguments.json.write_text(json.dumps({"machine": facts, **asdict(found)}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
