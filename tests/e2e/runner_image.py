"""The runner image as a release makes it, from parts that builders without the internet can reach."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ci_buildx import RUNNER_IMAGE
from ci_buildx.model.reference import parse_reference
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.copies import copy_manifest
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.trust import RegistryTrust
from devcluster import cache, layout
from devcluster.images import nodes
from devcluster.registry import Registry
from tests.e2e.checkout import AUTHOR, ROOT

LOCK = ROOT / "requirements.lock"
FETCH = ROOT / "gitlab-template" / "fetch-packages"
PYTHON = "3.13"
"""Version in the image's Debian."""
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_TAGS = ("2014", "_2_17", "_2_26", "_2_27", "_2_28", "_2_31", "_2_34")
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_DEBIAN = f"""\
deb [signed-by={_KEYS}] http://deb.debian.org/debian trixie main
deb [signed-by={_KEYS}] http://deb.debian.org/debian trixie-updates main
deb [signed-by={_KEYS}] http://deb.debian.org/debian-security trixie-security main
"""


@dataclass(frozen=True, kw_only=True)
class RunnerImage:
    """What ``.ci/image`` made: ``folder`` is its build/image, ``log`` what it printed."""

    checkout: Path
    digest: str
    log: str

    @property
    def folder(self) -> Path:
        """The folder of results."""
        return self.checkout / "build" / "image"


def fetch_packages() -> Path:
    """Debian's packages for each architecture, by the script of the image, with the host's apt."""

    def fill(draft: Path) -> None:
        (draft / "sources.list").write_text(_DEBIAN)
        (draft / "apt.conf").write_text(
            f'Dir::Etc::sourcelist "{draft}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        )
        for architecture in MACHINES:
            env = os.environ | {"APT_CONFIG": str(draft / "apt.conf")}
            subprocess.run([FETCH, architecture, draft / architecture], env=env, check=True, timeout=300)

    return _keep("packages", FETCH, fill)


def fetch_wheels() -> Path:
    """The locked wheels for each architecture."""

    def fill(draft: Path) -> None:
        for machine in MACHINES.values():
            platforms = [part for tag in _TAGS for part in ("--platform", f"manylinux{tag}_{machine}")]
            chosen = ["--python-version", PYTHON, "--only-binary", ":all:", "--require-hashes", "-r", str(LOCK)]
            pip = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--dest",
                str(draft),
            ]
            subprocess.run([*pip, *platforms, *chosen], check=True, timeout=300)

    return _keep("wheels", LOCK, fill)


def _keep(name: str, source: Path, fill: Callable[[Path], None]) -> Path:
    """A folder of the cache for this state of a file, filled once."""
    folder = cache.folder() / f"runner-{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if not folder.is_dir():
        draft = folder.with_name(f"{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        fill(draft)
        draft.rename(folder)
    return folder


def build(place: Path, server: Registry, env: Mapping[str, str], config: Path) -> RunnerImage:
    """Run ``.ci/image`` in a checkout of its own, with the devcluster's base, packages and wheels."""
    checkout = place / "checkout"
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0"):
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name)
    git = ["git", "-C", str(checkout)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, *AUTHOR, "commit", "--quiet", "--message", "All"], check=True)
    (checkout / ".venv").symlink_to(Path(sys.prefix))
    Path(sys.prefix, ".installed").touch()
    contexts = {
        "base": f"docker-image://{server.address}/library/busybox:latest",
        "packages": str(fetch_packages()),
        "wheels": str(fetch_wheels()),
    }
    own = {
        "KUBE_BUILDER_BUILD_CONTEXTS": "\n".join(f"{name}={value}" for name, value in contexts.items()),
        "KUBE_BUILDER_BUILDKITD_CONFIG": str(config),
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
    }
    clean = {name: value for name, value in env.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = [".ci/image", server.url]
    done = subprocess.run(
        command, cwd=checkout, env=clean | own, capture_output=True, text=True, timeout=880, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    digest = (checkout / "build" / "image" / "digest").read_text()
    return RunnerImage(checkout=checkout, digest=digest, log=done.stdout)


def publish(image: RunnerImage, server: Registry) -> None:
    """Put the image where the devcluster looks for the public name of it, as a release's workflow does."""
    reference = parse_reference(RUNNER_IMAGE)
    source = RegistryRepository(server.address, "kube-builder/runner")
    target = RegistryRepository(server.address, reference.path)
    trust = RegistryTrust(plain=frozenset({server.address}))
    with RegistryClient(CredentialStore([], env={}), trust=trust) as client:
        copy_manifest(client, image.digest, source, target)
        client.put_manifest(target, reference.tag, client.read_manifest(source, image.digest))
    for node in layout.cluster().nodes:  # A kubelet does not pull a tag again.
        nodes.forget(node, {f"{reference.path}:{reference.tag}": image.digest})
