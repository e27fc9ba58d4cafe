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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster import archives, cache, toolchain
from devcluster.errors import DevclusterError
from devcluster.locks import locked

MODULES = Path(__file__).parent / "programs"
KUBERNETES = {"1.34": "1.34.2", "1.37": "1.37.2"}
"""Minor versions of Kubernetes that a cluster can have, with the release that is built of each."""
DEFAULT = "1.37"
"""What a cluster has if no version is named."""
BUILDKIT = "v0.34.2"
BUILDX = "v0.38.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Build instructions of programs of one module; `name` is that of their folder.

    `links` are other names of its only program. `suffix` distinguishes its programs from those of another version.
    """

    name: str
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
        return ["-trimpath", NO_DEBUGGING, *tags, "-ldflags", self.ldflags]


# `-ldflags -w` drops debugging information only at the end; without it, compiling takes a seventh less time.
NO_DEBUGGING = "-gcflags=all=-dwarf=false"
VERSION_PACKAGE = "k8s.io/component-base/version"


def kubernetes(minor: str) -> Recipe:
    """Return the build instructions of etcd and Kubernetes of a minor version such as ``1.37``."""
    return Recipe(
        name=f"kubernetes-{minor}",
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


CONTAINERS = "containers"
"""One module for containerd and BuildKit, so that the packages that both use are compiled once."""
# Released clients and daemons show and compare these versions. The linker ignores those of absent packages.
VERSIONED = " ".join(
    [
        "-s -w",
        f"-X github.com/moby/buildkit/version.Version={BUILDKIT}",
        f"-X github.com/docker/buildx/version.Version={BUILDX}",
    ]
)
RECIPES = (
    *map(kubernetes, KUBERNETES),
    Recipe(
        name="containerd",
        module=CONTAINERS,
        packages=tuple(
            f"github.com/containerd/containerd/v2/cmd/{name}"
            for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        ),
        # Plugins of NRI, which is off: without them, no WebAssembly compiler is built.
        tags="nri_no_wasm",
    ),
    Recipe(
        name="buildkit",
        module=CONTAINERS,
        packages=("github.com/moby/buildkit/cmd/buildkitd",),
        ldflags=VERSIONED,
        tags="nri_no_wasm",
    ),
    Recipe(
        name="runc",
        module="runc",
        packages=("github.com/opencontainers/runc",),
        ldflags="-s -w -extldflags -static",
        tags="seccomp netgo osusergo",
        cgo=True,
    ),
    Recipe(
        name="clients",
        module=CONTAINERS,
        packages=("github.com/moby/buildkit/cmd/buildctl", "github.com/docker/buildx/cmd/buildx"),
        ldflags=VERSIONED,
        tags="nri_no_wasm",
    ),
    Recipe(name="coredns", module="coredns", packages=("github.com/coredns/coredns",)),
    Recipe(name="ring", module="ring", packages=(".",), links=("hashring",)),
    Recipe(name="otlp", module="otlp", packages=(".",), links=("otlpread",)),
    Recipe(name="act", module="act", packages=("github.com/nektos/act", "github.com/rhysd/actionlint/cmd/actionlint")),
)
BUILD_PROGRAMS = ("containerd", "runc", "buildkit")
"""What a cluster needs besides Kubernetes to run builds."""
CLUSTER_PROGRAMS = (*BUILD_PROGRAMS, "clients", "coredns")
"""What a whole cluster needs besides Kubernetes: names for pods, and exec of buildctl in builders too."""
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


def is_built(name: str) -> bool:
    """Return whether a program can be used. Raises LookupError for an unknown name."""
    try:
        path(name)
    except FileNotFoundError:
        return False
    return True


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
    digest = hashlib.sha256(repr((toolchain.release(), recipe, recipe.flags)).encode())
    module = MODULES / recipe.module
    for file in sorted(path for path in module.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(module)).encode() + b"\0" + file.read_bytes())
    return cache.folder() / "programs" / f"{recipe.name}-{digest.hexdigest()[:16]}"


def node_folder(package: str) -> Path:
    """Return the folder of an npm package."""
    return cache.folder() / "programs" / f"{package}-{NODE_PACKAGES[package]}"


def build(names: Iterable[str], beside: Sequence[Callable[[], object]] = ()) -> None:
    """Build the missing programs of these recipes, or take them from release archives if the user has chosen those.

    ``beside`` is work that is done at the same time, if something is compiled. Each recipe's programs are kept as soon
    as they are complete. Raises LookupError for an unknown name, and DevclusterError with one line if modules cannot be
    fetched or do not compile.
    """
    recipes = [find_recipe(name) for name in dict.fromkeys(names)]
    if all(folder(recipe).exists() for recipe in recipes):
        for work in beside:
            work()
        return
    with locked(cache.folder() / "programs"):
        missing = [recipe for recipe in recipes if not folder(recipe).exists()]
        chosen = archives.choose(os.environ)
        missing = [recipe for recipe in missing if not take_archives(recipe, chosen.get(recipe.name, ()))]
        from devcluster import compiler

        compiler.compile_recipes(missing, beside)


def take_archives(recipe: Recipe, parts: Sequence[archives.ReleaseArchive]) -> bool:
    """Fill the recipe's folder from release archives; return whether that was possible.

    Without archives, or if one cannot be fetched, the answer is False. Raises DevclusterError if they lack a program of
    the recipe, or if one has another digest.
    """
    if not parts:
        return False
    offered = {program for part in parts for program in part.programs}
    if offered != set(recipe.files):
        differing = ", ".join(sorted(offered ^ set(recipe.files)))
        raise DevclusterError(f"archives of {recipe.name}: list each program of it once, and no other: {differing}")
    try:
        with building(folder(recipe)) as target:
            if target:
                for part in parts:
                    archives.fetch(part, target)
    except archives.Unreachable as reason:
        print(f"devcluster: {reason}; compiling {recipe.name} instead", file=sys.stderr, flush=True)
        return False
    return True


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name. Raises LookupError for an unknown one."""
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise LookupError(f"no recipe {name!r}; known: {', '.join(recipe.name for recipe in RECIPES)}")


def list_recipes(minor: str) -> tuple[str, ...]:
    """Return the names of all recipes, with this minor version of Kubernetes and no other."""
    others = {kubernetes(other).name for other in KUBERNETES if other != minor}
    return tuple(recipe.name for recipe in RECIPES if recipe.name not in others)


def build_all(minor: str = DEFAULT) -> None:
    """Build all programs, including those of the tests, with this minor version of Kubernetes."""
    build(list_recipes(minor))
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
    target.mkdir(parents=True)
    try:
        yield target
        target.rename(final)
    finally:
        shutil.rmtree(target, ignore_errors=True)
