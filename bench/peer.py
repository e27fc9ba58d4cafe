"""Commands of docker buildx: its kubernetes driver, and its remote driver on a pod of kube-builder."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import measure
from bench.ground import ARCHITECTURE, IMAGE, Ground
from bench.measure import Run
from ci_buildx.builder.builder import SERVER_NAME
from ci_buildx.builder.lifecycle import records
from devcluster import programs
from devcluster.errors import DevclusterError

PORT = 1234
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """buildx with its own configuration and a namespace for its builders.

    It runs as the administrator: the policies of docs/rbac refuse the labels of its ConfigMaps.
    """

    ground: Ground
    namespace: str

    def call(self, *arguments: str, cwd: Path | None = None, variables: Mapping[str, str] | None = None) -> Run:
        """Run buildx."""
        kubeconfig = str(self.ground.cluster.kubeconfig)
        env = {**self.ground.env, "KUBECONFIG": kubeconfig, "BUILDX_CONFIG": str(self.ground.folder / "buildx")}
        return measure.run([str(programs.path("buildx")), *arguments], env={**env, **(variables or {})}, cwd=cwd)

    def build(self, builder: str, context: Path, *options: str) -> Run:
        """Run one build."""
        return self.call("build", "--builder", builder, *options, str(context))

    def bake(self, builder: str, context: Path, variables: Mapping[str, str]) -> Run:
        """Build the default targets of a folder's definition."""
        return self.call("bake", "--builder", builder, "--progress", "plain", cwd=context, variables=variables)

    def create(
        self,
        builder: str,
        architecture: str = ARCHITECTURE,
        *,
        append: bool = False,
        bootstrap: bool = True,
        replicas: int = 1,
    ) -> Run:
        """Create a builder with one node on a cluster node of that architecture, or append such a node; start all."""
        driver = [f"namespace={self.namespace}", f"image={IMAGE}", f"nodeselector=kubernetes.io/arch={architecture}"]
        driver.append(f"replicas={replicas}")
        more = ["--append"] if append else []
        return self.call(
            "create",
            *more,
            *("--name", builder, "--node", f"{builder}-{architecture}", "--platform", f"linux/{architecture}"),
            *("--driver", "kubernetes", "--driver-opt", ",".join(driver)),
            *("--buildkitd-config", str(self.ground.buildkitd_config)),
            *(["--bootstrap"] if bootstrap else []),
        )

    def remove(self, builder: str) -> Run:
        """Remove a builder."""
        return self.call("rm", "--force", builder)

    @contextmanager
    def builder(
        self, architectures: Sequence[str] = (ARCHITECTURE,), *, around: list[Run] | None = None
    ) -> Iterator[str]:
        """Provide a running builder; yield its name. Its first build has pulled the base image.

        The commands that create it, and the one that removes it, are added to ``around``.
        """
        name = f"up-{secrets.token_hex(3)}"
        runs = [] if around is None else around
        try:
            for place, architecture in enumerate(architectures):
                last = place == len(architectures) - 1
                runs.append(self.create(name, architecture, append=place > 0, bootstrap=last))
            platforms = ",".join(f"linux/{architecture}" for architecture in architectures)
            context = self.ground.example("kept")
            self.build(name, context, "--platform", platforms, "--push", "--tag", self.ground.reference("kept"))
            yield name
        finally:
            runs.append(self.remove(name))

    @contextmanager
    def remote(self, ours: str) -> Iterator[str]:
        """Provide a builder of the remote driver on a kept builder of kube-builder: same buildkitd, TCP and mTLS."""
        ground = self.ground
        keys = records.load_builder(ground.kube, records.find_builder(ground.kube, ours)).keys
        address = self._address(ours)
        files = {"cacert": keys.ca, "cert": keys.certificate, "key": keys.key.reveal()}
        options = [f"servername={SERVER_NAME}"]
        for name, content in files.items():
            (ground.folder / name).write_bytes(content)
            options.append(f"{name}={ground.folder / name}")
        name = f"remote-{secrets.token_hex(3)}"
        driver = ["--driver", "remote", "--driver-opt", ",".join(options)]
        self.call("create", "--name", name, *driver, f"tcp://{address}:{PORT}")
        try:
            yield name
        finally:
            self.remove(name)

    def _address(self, namespace: str) -> str:
        """Return the address of the pod in a namespace; a tunnel may reach the pod before the kubelet reports it."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            for pod in self.ground.kube.list(f"/api/v1/namespaces/{namespace}/pods")["items"]:
                if address := pod["status"].get("podIP"):
                    return str(address)
            time.sleep(0.1)
        raise DevclusterError(f"the pod in {namespace} has no address")


@contextmanager
def prepared(ground: Ground) -> Iterator[Peer]:
    """Provide buildx with a namespace, which is deleted at the end."""
    name = f"bench-{secrets.token_hex(4)}"
    marks = {"pod-security.kubernetes.io/enforce": "privileged"}
    ground.kube.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": marks}})
    try:
        ground.account.let_into(name)
        yield Peer(ground=ground, namespace=name)
    finally:
        ground.kube.delete(f"/api/v1/namespaces/{name}")
