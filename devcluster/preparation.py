"""What a cluster needs before it starts: packages of the host, and programs. Only the standard library is imported."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from devcluster import foreign, host, programs


def prepare(version: str, *, small: bool) -> None:
    """Install the host's packages, and build or fetch the programs with this minor version of Kubernetes.

    ``small`` leaves out what no build needs. Raises DevclusterError.
    """
    beside: list[Callable[[], object]] = [host.install_packages, foreign.ensure]
    if not host.is_root():
        # sudo may ask for a password: not between lines of progress.
        with phase("host packages"):
            beside.pop(0)()
    with phase("programs"):
        wanted = programs.BUILD_PROGRAMS if small else programs.CLUSTER_PROGRAMS
        programs.build([programs.kubernetes(version).name, *wanted], beside)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Print how long a part took."""
    began = time.monotonic()
    yield
    print(f"{name:<14} {time.monotonic() - began:5.1f} s", file=sys.stderr, flush=True)
