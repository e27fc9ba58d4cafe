"""The environment of all contestants: one cluster, one registry, the same variables and files."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.values import ClusterSettings
from devcluster import accounts, buildkitd, environment, layout, registry
from devcluster.accounts import Account

PROJECT = Path(__file__).parent.parent
IMAGE = "moby/buildkit:buildx-stable-1"
ARCHITECTURE = "amd64"
PLATFORM = f"linux/{ARCHITECTURE}"

_UNWANTED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONUNBUFFERED")
"""Variables of developers' machines that would make kube-builder slower than it is for users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The shared environment. ``product`` is the command as users install it; ``undo`` closes after the run.

    ``kube`` belongs to an administrator and only observes. ``account`` is the account of all contestants, selected by
    ``env``: it has the rights of docs/rbac/jobs.yaml, and those of namespace.yaml in namespaces that admit it.
    """

    cluster: layout.Cluster
    kube: KubeClient
    account: Account
    env: dict[str, str]
    folder: Path
    registry: str
    buildkitd_config: Path
    product: Path
    undo: ExitStack

    def reference(self, name: str) -> str:
        """Return the reference to push."""
        return f"{self.registry}/bench/{name}:1"

    def example(self, name: str) -> Path:
        """Return a copy of an example as a separate context.

        It is outside of any git checkout, where buildx would also call git for its provenance, unlike kube-builder.
        """
        target = self.folder / name
        if not target.exists():
            shutil.copytree(PROJECT / "examples" / "hello", target)
        return target

    def use_checkout(self, checkout: Path) -> Ground:
        """Return the same environment with kube-builder of another checkout as the product."""
        return replace(self, product=_install(self.folder / "installed-before", checkout))


@contextmanager
def prepared(cluster: layout.Cluster) -> Iterator[Ground]:
    """Provide the environment on a running cluster."""
    servers = registry.registries(cluster)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as undo:
        folder = Path(name)
        settings = folder / "buildkitd.toml"
        settings.write_text(buildkitd.configuration(servers))
        env = _environment(cluster, folder)
        reached = config.load_cluster(ClusterSettings(), env=env)
        kube = undo.enter_context(KubeClient(reached))
        # buildx's own pods are privileged without a user namespace, which only the policy of jobs.yaml denies.
        account = undo.enter_context(
            accounts.job(kube, reached, f"bench-{secrets.token_hex(4)}", folder, opted_out=True)
        )
        yield Ground(
            cluster=cluster,
            kube=kube,
            account=account,
            env={**env, "KUBECONFIG": str(account.kubeconfig)},
            folder=folder,
            registry=next(server.address for server in servers if server.name == "open"),
            buildkitd_config=settings,
            product=_install(folder / "installed"),
            undo=undo,
        )


def _environment(cluster: layout.Cluster, folder: Path) -> dict[str, str]:
    """Return the cluster's variables, an empty docker configuration, and no variable that slows only kube-builder."""
    inherited = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    docker = folder / "docker"
    docker.mkdir()
    return {**inherited, **environment.variables(cluster), "DOCKER_CONFIG": str(docker)}


def _install(folder: Path, checkout: Path = PROJECT) -> Path:
    """Install the product in a virtual environment where Python finds it by path, as after `pip install`.

    The developers' environment finds it by an import hook of setuptools that users do not have and that costs start-up
    time.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    paths = folder / "lib" / version / "site-packages" / "bench.pth"
    paths.write_text(f"{checkout}\n{packages}\n")
    program = folder / "bin" / "kube-builder"
    described = tomllib.loads((checkout / "pyproject.toml").read_text())
    module, _, function = described["project"]["scripts"]["kube-builder"].partition(":")
    program.write_text(f"#!{folder}/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    program.chmod(0o755)
    return program
