"""Programs of foreign architectures, from the distribution's packages, with nothing changed on the host.

apt works with lists and a status of its own here, so that the host need not know a foreign architecture.
"""

import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from devcluster import cache, host, locks

# As platforms name them, and as Debian does.
ARCHITECTURES = {"arm64": "arm64", "arm/v7": "armhf", "386": "i386"}
# Ubuntu has most foreign architectures on another server, of which its usual lists of sources don't know.
UBUNTU = """\
deb [arch=i386 signed-by={keys}] http://archive.ubuntu.com/ubuntu {release} main
deb [arch=arm64,armhf signed-by={keys}] http://ports.ubuntu.com/ubuntu-ports {release} main
"""
UBUNTU_KEYS = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"


def busybox(architecture: str) -> Path:
    """A static busybox for one of ARCHITECTURES. Raises DevclusterError where no package can be had."""
    return ensure() / ARCHITECTURES[architecture]


def ensure() -> Path:
    """The cache's folder with a busybox for each architecture under Debian's name of it; fetched where absent."""
    final = cache.folder() / "busybox"
    if not final.exists():
        with locks.locked(cache.folder()), tempfile.TemporaryDirectory(dir=cache.folder()) as folder:
            if not final.exists():
                fetch(Path(folder)).rename(final)
    return final


def fetch(folder: Path) -> Path:
    """Fetch and unpack the packages within the folder; where the programs are."""
    for part in ("lists/partial", "archives/partial", "programs"):
        (folder / part).mkdir(parents=True)
    options = private_view(folder)
    host.refresh(*options)
    names = [f"busybox-static:{name}" for name in ARCHITECTURES.values()]
    host.apt("download", "-qq", *options, *names, folder=folder)
    for name in ARCHITECTURES.values():
        (package,) = folder.glob(f"busybox-static_*_{name}.deb")
        unpacked = folder / name
        subprocess.run(["dpkg", "--extract", package, unpacked], check=True)
        # Where /bin is a link to /usr/bin, packages have their programs there.
        (program,) = [path for path in unpacked.glob("**/bin/busybox") if path.is_file()]
        shutil.copy2(program, folder / "programs" / name)
    return folder / "programs"


def private_view(folder: Path) -> list[str]:
    """apt's options for a view of the foreign packages that is kept in the folder."""
    (folder / "status").touch()
    first, *_ = ARCHITECTURES.values()
    settings = {
        "APT::Architecture": first,
        "APT::Architectures": ",".join(ARCHITECTURES.values()),
        # The folder is below its user's, where apt's own user may not read.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::State::lists": f"{folder}/lists",
        "Dir::State::status": f"{folder}/status",
        "Dir::Cache::archives": f"{folder}/archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
    }
    system = platform.freedesktop_os_release()
    if system["ID"] == "ubuntu":
        sources = folder / "sources.list"
        sources.write_text(UBUNTU.format(keys=UBUNTU_KEYS, release=system["VERSION_CODENAME"]))
        settings |= {"Dir::Etc::sourcelist": str(sources), "Dir::Etc::sourceparts": "/dev/null"}
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
