"""The cluster's requirements on the host: root, and packages of Debian or Ubuntu."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster import cache
from devcluster.errors import DevclusterError

PACKAGES = (
    "busybox-static",
    "ca-certificates",
    "containernetworking-plugins",
    "debian-archive-keyring",
    "docker-registry",
    "gcc",
    "git",
    "iproute2",
    "iptables",
    "kmod",
    "libc6-dev",
    "libseccomp-dev",
    "openssh-client",
    "pkg-config",
    "qemu-user-static",
    "rootlesskit",
    "rsync",
    "uidmap",
    "util-linux",
    "xz-utils",
)
# By default, apt-get update ends with 0 if lists are missing; with any, it says so.
UPDATE = ("-qq", "-o", "Acquire::Retries=3", "-o", "APT::Update::Error-Mode=any")
INSTALLATION = ("-qq", "-y", "--no-install-recommends", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300")
PAUSES = (5.0, 20.0)
"""Seconds before each repetition of what a package mirror has failed to deliver."""
# Packages run it before they start a service (invoke-rc.d(8)): docker-registry's service would take a host port.
NO_SERVICES = Path("/usr/sbin/policy-rc.d")
REFUSAL = "#!/bin/sh\n# Of kube-builder's devcluster, while it installs packages.\nexit 101\n"
VARIABLES = ("KUBE_BUILDER_STATE", "KUBE_BUILDER_CACHE", "KUBE_BUILDER_ARCHIVES", "DEVCLUSTER")
MODULE = "devcluster"


def is_root() -> bool:
    """Return whether this process runs as root."""
    return os.geteuid() == 0


def become_root() -> None:
    """Run this command again under sudo unless it runs as root; returns only as root."""
    if not is_root():
        command = as_root(*sys.argv[1:])
        os.execvp(command[0], command)


def as_root(*arguments: str) -> list[str]:
    """Return the command line that runs a devcluster verb as root, with this user's folders. Raises DevclusterError."""
    if not shutil.which("sudo"):
        raise DevclusterError("a cluster needs root: run this as root, or install sudo")
    kept = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    if "KUBE_BUILDER_CACHE" not in os.environ:
        kept.append(f"KUBE_BUILDER_CACHE={cache.folder()}")
    # Bytecode files owned by root would be in the way of the checkout's owner.
    kept += ["PYTHONDONTWRITEBYTECODE=1", f"PATH={os.environ['PATH']}"]
    folder = Path(__file__).parents[1]
    return ["sudo", "env", "-C", str(folder), *kept, sys.executable, "-m", MODULE, *arguments]


def give_to_caller(path: Path) -> None:
    """Make the user who called sudo the owner of a file."""
    owner = os.environ.get("SUDO_UID")
    if owner:
        os.chown(path, int(owner), int(os.environ.get("SUDO_GID", owner)))


def missing_packages() -> list[str]:
    """Return those of PACKAGES that are not installed."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *PACKAGES]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    installed = {line.split()[1] for line in answer.stdout.splitlines() if line.startswith("installed ")}
    return [package for package in PACKAGES if package not in installed]


def install_packages() -> None:
    """Install missing packages without starting services; through sudo unless this process runs as root."""
    missing = missing_packages()
    if not missing and not left_behind():
        return
    if not shutil.which("apt-get"):
        raise DevclusterError(f"install these by hand, there is no apt-get here: {', '.join(missing)}")
    if not is_root():
        subprocess.run(as_root("packages"), check=True)
        return
    with no_services():
        if missing:
            print(f"installing {' '.join(missing)}", file=sys.stderr, flush=True)
            fetch(lambda: apt("install", *INSTALLATION, *missing))


@contextmanager
def no_services() -> Iterator[None]:
    """Prevent packages from starting services; the host's own policy-rc.d stays in place."""
    ours = not NO_SERVICES.exists() or left_behind()
    if ours:
        NO_SERVICES.write_text(REFUSAL)
        NO_SERVICES.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            NO_SERVICES.unlink()


def left_behind() -> bool:
    """Return whether our policy-rc.d was left behind by a killed process."""
    return NO_SERVICES.exists() and NO_SERVICES.read_text() == REFUSAL


def fetch(work: Callable[[], None], *options: str) -> None:
    """Update apt's lists with these options, then do the work, which fetches packages. Repeat both if it fails.

    Lists that cannot be updated are only reported: the work shows whether they were needed. Raises DevclusterError of
    the last attempt.
    """
    for pause in (*PAUSES, None):
        refresh(*options)
        try:
            work()
        except DevclusterError as error:
            if pause is None:
                raise
            print(f"devcluster: {error}; trying again in {pause:.0f} s", file=sys.stderr, flush=True)
            time.sleep(pause)
        else:
            return


def refresh(*options: str) -> None:
    """Update apt's lists, and report those that cannot be updated."""
    try:
        apt("update", *UPDATE, *options)
    except DevclusterError as incomplete:
        print(f"devcluster: {incomplete}", file=sys.stderr, flush=True)


def apt(*arguments: str, folder: Path | None = None) -> None:
    """Run apt-get, in ``folder`` for downloads; show its output only if it fails."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", *arguments]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("E: ")]
        raise DevclusterError(f"apt-get {arguments[0]} failed: {' '.join(errors) or done.stdout.strip()[-500:]}")
