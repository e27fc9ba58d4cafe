"""Builds a bundle: the locked packages for one Python version and one machine, as one archive.

    python -m dev.release_bundle --python PYTHON --machine x86_64 FOLDER

PYTHON is an interpreter of that version, which compiles the modules; the machine may be another one than this. The
Action unpacks the archive by its digest (``action/unpack.py``) in place of an installation. It holds ``bundle.json``
with what the archive is for, and ``packages/``: those that builds import as compiled modules beside their sources, and
each package of the second layer (``action/later.json``) as an archive. Two runs write the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from ci_buildx import __version__

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
LATER = ROOT / "action" / "later.json"
GLIBC = (2, 28)
"""Oldest C library that the wheels may ask for: that of RHEL 8, Debian 10 and Ubuntu 18.10."""
MACHINES = ("x86_64", "aarch64")
_UNNEEDED = ("bin", "__pycache__", ".lock", "*.dist-info")


def main(arguments: list[str] | None = None) -> int:
    """Build the bundle that the arguments name, print its path and return 0."""
    parser = argparse.ArgumentParser(prog="python -m dev.release_bundle", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the version to build for")
    parser.add_argument("--machine", choices=MACHINES, default="x86_64")
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    print(build_bundle(given.python, given.machine, given.folder))
    return 0


def build_bundle(python: str, machine: str, folder: Path) -> Path:
    """Install the locked packages for another interpreter and pack them; return the archive in ``folder``."""
    asked = [python, "-I", "-S", "-c", "import sys; print(*sys.version_info[:2])"]
    major, minor = map(int, subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split())
    first, second = split_lock(LOCK.read_text(), frozenset(json.loads(LATER.read_text())))
    with tempfile.TemporaryDirectory() as name:
        packages, later = Path(name, "packages"), Path(name, "later")
        for entries, target in ((first, packages), (second, later)):
            install_packages(entries, target, f"{major}.{minor}", machine)
        compile_modules(python, packages)
        for top in sorted(later.iterdir()):
            pack_package(top, packages / f"{top.stem}.zip")
        facts = {"python": [major, minor], "machine": machine, "glibc": GLIBC, "version": __version__}
        target = folder / f"kube-builder-{__version__}-cp{major}{minor}-linux-{machine}.zip"
        write_bundle(packages, facts, LOCK, target)
    return target


def split_lock(text: str, later: frozenset[str]) -> tuple[list[str], list[str]]:
    """Return the lock's entries of the first layer and of the second one."""
    entries = [entry for entry in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE) if re.match("[a-z0-9]", entry)]
    seconds = [entry for entry in entries if entry.partition("==")[0] in later]
    return [entry for entry in entries if entry not in seconds], seconds


def install_packages(entries: Iterable[str], target: Path, version: str, machine: str) -> None:
    """Install wheels for a Python version and a machine, each verified against its hashes."""
    target.mkdir()
    listed = target.with_suffix(".txt")
    listed.write_text("".join(entries))
    platform = f"{machine}-manylinux_{'_'.join(map(str, GLIBC))}"
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(target)]
    command += ["--python-version", version, "--python-platform", platform, "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--require-hashes", "--requirement", listed], check=True)
    for pattern in _UNNEEDED:
        for found in target.glob(pattern):
            shutil.rmtree(found) if found.is_dir() else found.unlink()


def compile_modules(python: str, packages: Path) -> None:
    """Compile all modules; the results are valid wherever and whenever they are unpacked."""
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(packages), "-p", "packages"]
    subprocess.run([python, "-I", "-S", "-m", "compileall", *options, packages], check=True)


def pack_package(top: Path, target: Path) -> None:
    """Pack a module or a package of pure Python, so that few files are to be verified before each use."""
    if top.suffix != ".py" and not (top / "__init__.py").exists():
        raise ValueError(f"{top.name} is not a module or a package of pure Python")
    with ZipFile(target, "w", ZIP_DEFLATED) as archive:
        _add_files(archive, top.parent, top)


def write_bundle(packages: Path, facts: Mapping[str, object], lock: Path, target: Path) -> None:
    """Write the archive; ``lock`` is the file whose packages these are."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=9) as archive:
        facts = {**facts, "lock": hashlib.sha256(lock.read_bytes()).hexdigest()}
        _add(archive, "bundle.json", json.dumps(facts).encode())
        _add_files(archive, packages.parent, packages)


def _add_files(archive: ZipFile, root: Path, top: Path) -> None:
    files = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
    for path in files:
        _add(archive, path.relative_to(root).as_posix(), path.read_bytes())


def _add(archive: ZipFile, name: str, content: bytes) -> None:
    info = ZipInfo(name)  # with a fixed time
    # An archive inside of it stays as it is: most jobs need none of them.
    info.compress_type = ZIP_STORED if name.endswith(".zip") else ZIP_DEFLATED
    archive.writestr(info, content, compresslevel=9)


if __name__ == "__main__":
    sys.exit(main())
