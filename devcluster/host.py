"""What a cluster needs of the host: root, and packages of Debian's or Ubuntu's."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from devcluster import cache
from devcluster.errors import DevclusterError

PACKAGES = (
    "busybox-static",
    "ca-certificates",
    "containernetworking-plugins",
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
# Its Debian package starts a service at once, on a port of the host's; none of its own is wanted here.
NO_SERVICES = Path("/usr/sbin/policy-rc.d")
VARIABLES = ("KUBE_BUILDER_STATE", "KUBE_BUILDER_CACHE")


def become_root() -> None:
    """Start this command again under sudo where it isn't root's; returns only to root."""
    if os.geteuid() == 0:
        return
    if not shutil.which("sudo"):
        raise DevclusterError("a cluster needs root: run this as root, or install sudo")
    kept = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    if "KUBE_BUILDER_CACHE" not in os.environ:
        kept.append(f"KUBE_BUILDER_CACHE={cache.folder()}")
    folder = Path(__file__).parents[1]
    command = ["sudo", "env", "-C", str(folder), *kept, f"PATH={os.environ['PATH']}"]
    os.execvp("sudo", [*command, sys.executable, "-m", "devcluster", *sys.argv[1:]])


def give_to_caller(path: Path) -> None:
    """Let the user who called sudo own a file."""
    owner = os.environ.get("SUDO_UID")
    if owner:
        os.chown(path, int(owner), int(os.environ.get("SUDO_GID", owner)))


def missing_packages() -> list[str]:
    """Those of PACKAGES that aren't installed."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *PACKAGES]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    installed = {line.split()[1] for line in answer.stdout.splitlines() if line.startswith("installed ")}
    return [package for package in PACKAGES if package not in installed]


def install_packages() -> None:
    """Install what is missing, with no service started."""
    missing = missing_packages()
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise DevclusterError(f"install these by hand, there is no apt-get here: {', '.join(missing)}")
    print(f"installing {' '.join(missing)}", file=sys.stderr, flush=True)
    ours = not NO_SERVICES.exists()
    if ours:
        NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
        NO_SERVICES.chmod(0o755)
    try:
        apt("update", "-qq")
        apt("install", "-qq", "-y", "--no-install-recommends", *missing)
    finally:
        if ours:
            NO_SERVICES.unlink()


def apt(*arguments: str) -> None:
    """Run apt-get; its output is shown only where it fails."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevclusterError(f"apt-get {arguments[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")


def foreign_busybox() -> Path:
    """A static busybox for arm64, from Debian's package, unpacked into the cache.

    apt is asked with lists of its own, so that the host need not know a foreign architecture.
    """
    final = cache.folder() / "busybox-arm64"
    program = final / "bin" / "busybox"
    if not final.exists():
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=final.parent) as name:
            folder = Path(name)
            folder.chmod(0o755)
            for part in ("lists/partial", "archives/partial", "unpacked"):
                (folder / part).mkdir(parents=True)
            options = foreign_options(folder)
            apt("update", "-qq", *options)
            apt("install", "-qq", "-y", "--no-install-recommends", "--download-only", *options, "busybox-static")
            package = next((folder / "archives").glob("busybox-static_*.deb"))
            subprocess.run(["dpkg", "--extract", package, folder / "unpacked"], check=True)
            (folder / "unpacked").rename(final)
    return program if program.exists() else final / "usr" / "bin" / "busybox"


def foreign_options(folder: Path) -> list[str]:
    """apt's options for a private view of the arm64 packages."""
    status = folder / "status"
    status.touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "Dir::State::lists": f"{folder}/lists",
        "Dir::State::status": str(status),
        "Dir::Cache::archives": f"{folder}/archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
