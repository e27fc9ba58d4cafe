"""Pinned programs, built from the Go modules in `programs/` and cached outside the tree.

The cache's key covers the inputs of a build: module files, Go's version, flags. A folder with its final name is
complete, because it is renamed after the build.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster import cache, toolchain
from devcluster.locks import locked

MODULES = Path(__file__).parent / "programs"
KUBERNETES = {"1.34": "1.34.2", "1.37": "1.37.2"}
"""Minor versions of Kubernetes that a cluster can have, with the release that is built of each."""
DEFAULT = "1.34"
"""What a cluster has if no version is named."""
BUILDKIT = "v0.34.2"
BUILDX = "v0.38.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Build instructions of one module.

    `links` are other names of its only program. `suffix` distinguishes its programs from those of another version.
    """

    module: str
    packages: tuple[str, ...]
    ldflags: str = "-s -w"
    tags: str = ""
    cgo: bool = False
    links: tuple[str, ...] = ()
    suffix: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """File names of the built programs."""
        return self.links or tuple(package.rsplit("/", 1)[-1] for package in self.packages)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the built programs."""
        return tuple(f"{file}{self.suffix}" for file in self.files)

    @property
    def flags(self) -> list[str]:
        """Arguments of `go build`, without the output."""
        tags = ["-tags", self.tags] if self.tags else []
        return ["-trimpath", *tags, "-ldflags", self.ldflags]


VERSION_PACKAGE = "k8s.io/component-base/version"


def kubernetes(minor: str) -> Recipe:
    """Return the build instructions of etcd and Kubernetes of a minor version such as ``1.37``."""
    return Recipe(
        module=f"kubernetes-{minor}",
        packages=(".",),
        ldflags=" ".join(
            [
                "-s -w",
                f"-X {VERSION_PACKAGE}.gitVersion=v{KUBERNETES[minor]}",
                f"-X {VERSION_PACKAGE}.gitMajor={minor.split('.', maxsplit=1)[0]}",
                f"-X {VERSION_PACKAGE}.gitMinor={minor.split('.')[1]}",
            ]
        ),
        links=("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"),
        suffix="" if minor == DEFAULT else f"-{minor}",
    )


RECIPES = (
    *map(kubernetes, KUBERNETES),
    Recipe(
        module="containerd",
        packages=tuple(
            f"github.com/containerd/containerd/v2/cmd/{name}"
            for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        ),
    ),
    Recipe(
        module="runc",
        packages=("github.com/opencontainers/runc",),
        ldflags="-s -w -extldflags -static",
        tags="seccomp netgo osusergo",
        cgo=True,
    ),
    Recipe(
        module="buildkit",
        packages=(
            "github.com/moby/buildkit/cmd/buildkitd",
            "github.com/moby/buildkit/cmd/buildctl",
            "github.com/docker/buildx/cmd/buildx",
        ),
        # Clients display and compare the versions that builders report: they must be those of released programs.
        ldflags=" ".join(
            [
                "-s -w",
                f"-X github.com/moby/buildkit/version.Version={BUILDKIT}",
                f"-X github.com/docker/buildx/version.Version={BUILDX}",
            ]
        ),
    ),
    Recipe(module="coredns", packages=("github.com/coredns/coredns",)),
    Recipe(module="ring", packages=(".",), links=("hashring",)),
    Recipe(module="otlp", packages=(".",), links=("otlpread",)),
    Recipe(module="act", packages=("github.com/nektos/act", "github.com/rhysd/actionlint/cmd/actionlint")),
)
CLUSTER_MODULES = ("containerd", "runc", "buildkit", "coredns")
"""What every cluster needs besides Kubernetes."""
OPTIONAL_MODULES = frozenset(kubernetes(minor).module for minor in KUBERNETES if minor != DEFAULT)
"""Built when a cluster of that version is started."""
NODE_PACKAGES = {"gitlab-ci-local": "4.72.0", "mermaid": "11.12.0"}
"""npm packages: one runs GitLab's pipelines, one parses the charts of job summaries as GitHub does."""


def path(name: str) -> Path:
    """Return a program's path. Raises LookupError for an unknown name, FileNotFoundError if it is not built."""
    found = installed().get(name)
    if found is None:
        raise LookupError(f"no recipe makes a program {name!r}; known: {', '.join(sorted(installed()))}")
    if not found.exists():
        raise FileNotFoundError(f"{name} is not built yet: run `python -m devcluster programs`")
    return found


def installed() -> dict[str, Path]:
    """Return every program's name and the path where a build puts it."""
    places = {
        name: folder(recipe) / file for recipe in RECIPES for name, file in zip(recipe.names, recipe.files, strict=True)
    }
    modules = {name: node_folder(name) / "node_modules" for name in NODE_PACKAGES}
    return places | {
        "gitlab-ci-local": modules["gitlab-ci-local"] / ".bin" / "gitlab-ci-local",
        "mermaid": modules["mermaid"] / "mermaid" / "dist" / "mermaid.core.mjs",
    }


@functools.cache
def folder(recipe: Recipe) -> Path:
    """Return the recipe's folder in the cache."""
    digest = hashlib.sha256(repr((toolchain.version(toolchain.go()), recipe)).encode())
    for file in sorted((MODULES / recipe.module).iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return cache.folder() / "programs" / f"{recipe.module}-{digest.hexdigest()[:16]}"


def node_folder(package: str) -> Path:
    """Return the folder of an npm package."""
    return cache.folder() / "programs" / f"{package}-{NODE_PACKAGES[package]}"


def build(modules: Iterable[str]) -> None:
    """Build the missing programs of these modules, one process at a time, with a line for each build."""
    wanted = set(modules)
    for recipe in (recipe for recipe in RECIPES if recipe.module in wanted):
        if not folder(recipe).exists():
            with locked(cache.folder() / "programs"), building(folder(recipe)) as target:
                if target:
                    compile_module(recipe, target)


def build_all() -> None:
    """Build all programs of the default Kubernetes, including those of the tests."""
    build(recipe.module for recipe in RECIPES if recipe.module not in OPTIONAL_MODULES)
    for package in NODE_PACKAGES:
        install(package)


def install(package: str) -> None:
    """Install an npm package if it is missing."""
    if not node_folder(package).exists():
        with locked(cache.folder() / "programs"), building(node_folder(package)) as target:
            if target:
                named = f"{package}@{NODE_PACKAGES[package]}"
                command = [*toolchain.npm(), "install", "--silent", "--no-fund", "--prefix", target, named]
                subprocess.run(command, check=True)


@contextmanager
def building(final: Path) -> Iterator[Path | None]:
    """Yield a folder to build into, renamed on success; None if another process has built it."""
    if final.exists():
        yield None
        return
    target = final.with_name(f"{final.name}.tmp")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    print(f"building {final.name} …", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        yield target
        target.rename(final)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    print(f"built {final.name} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def compile_module(recipe: Recipe, target: Path) -> None:
    """Run `go build` and add the links."""
    go = toolchain.go()
    environment = os.environ | {
        "CGO_ENABLED": str(int(recipe.cgo)),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "",
        "PATH": f"{go.parent}{os.pathsep}{os.environ['PATH']}",
    }
    output = target / recipe.module if recipe.links else f"{target}{os.sep}"
    command = [go, "build", *recipe.flags, "-o", output, *recipe.packages]
    subprocess.run(command, cwd=MODULES / recipe.module, env=environment, check=True)
    for link in recipe.links:
        (target / link).symlink_to(recipe.module)
