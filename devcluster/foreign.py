"""Programs of foreign architectures, from the distribution's packages, without changes on the host.

apt uses separate lists and a separate status, so that the host need not enable foreign architectures.
"""

import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from devcluster import cache, host, locks

# Names of platforms, mapped to Debian's names.
ARCHITECTURES = {"arm64": "arm64", "arm/v7": "armhf", "386": "i386"}
# Ubuntu keeps most foreign architectures on another server, which its default sources do not list.
UBUNTU = """\
deb [arch=i386 signed-by={keys}] http://archive.ubuntu.com/ubuntu {release} main
deb [arch=arm64,armhf signed-by={keys}] http://ports.ubuntu.com/ubuntu-ports {release} main
"""
UBUNTU_KEYS = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"


def busybox(architecture: str) -> Path:
    """Return a static busybox for one of ARCHITECTURES. Raises DevclusterError if no package is available."""
    return ensure() / ARCHITECTURES[architecture]


def ensure() -> Path:
    """Return the cache's folder with a busybox for each architecture, by Debian's names; fetch it if missing."""
    final = cache.folder() / "busybox"
    if not final.exists():
        with locks.locked(cache.folder()), tempfile.TemporaryDirectory(dir=cache.folder()) as folder:
            if not final.exists():
                fetch(Path(folder)).rename(final)
    return final


def fetch(folder: Path) -> Path:
    """Fetch and unpack the packages within the folder; return the folder of the programs."""
    for part in ("lists/partial", "archives/partial", "programs"):
        (folder / part).mkdir(parents=True)
    options = private_view(folder)
    names = [f"busybox-static:{name}" for name in ARCHITECTURES.values()]
    host.fetch(lambda: host.apt("download", "-qq", *options, *names, folder=folder), *options)
    for name in ARCHITECTURES.values():
        (package,) = folder.glob(f"busybox-static_*_{name}.deb")
        unpacked = folder / name
        subprocess.run(["dpkg", "--extract", package, unpacked], check=True)
        # If /bin is a link to /usr/bin, packages have their programs there.
        (program,) = [path for path in unpacked.glob("**/bin/busybox") if path.is_file()]
        shutil.copy2(program, folder / "programs" / name)
    return folder / "programs"


def private_view(folder: Path) -> list[str]:
    """Return apt's options for a separate view of the foreign packages, stored in the folder."""
    (folder / "status").touch()
    first, *_ = ARCHITECTURES.values()
    settings = {
        "APT::Architecture": first,
        "APT::Architectures": ",".join(ARCHITECTURES.values()),
        # The folder is below the user's home, which apt's own user cannot read.
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
