"""The two sides on one devcluster: kube-builder and docker buildx, each with builders of one node and of two.

Registries and git servers of the tests listen on the loopback of the devcluster's network namespace. So the tests run
in it, and each builder's amd64 pod is on its node's network.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from bench.conformance.suite import SuitePrograms, run_command
from devcluster import buildkitd, environment, layout, namespaces, programs, registry
from devcluster.api import Api
from devcluster.images import base, catalogue
from devcluster.images.image import Content, Image, Variant
from devcluster.images.layer import File

WORKERS = ("kubernetes", "docker-container", "remote", "remote+multinode")
"""Names that the tests may think their builder has, in the order tried: a test skips itself if its name is wrong."""
NAMESPACE = "suite"
PLAIN = "suite-plain"
"""The builder for verbs other than build if each build makes its own."""
CONTROL, CONTROL_TWO = "suite-control", "suite-control-two"
_ARCHITECTURE = "amd64"
_FRONTENDS = {"docker/dockerfile": ("1", "1.17", "latest"), "docker/dockerfile-upstream": ("1.18.0", "master")}
_ALPINE = {
    "/etc/hosts": b"127.0.0.1\tlocalhost\n",
    "/etc/os-release": b"ID=alpine\n",
    "/etc/alpine-release": b"3.18.0\n",
}
"""Files that tests copy from alpine, which is busybox here."""


@dataclass(frozen=True, kw_only=True)
class SuiteSite:
    """A devcluster with a namespace for the builders of both sides."""

    cluster: layout.Cluster
    folder: Path
    namespace: str
    env: dict[str, str]

    def run_inside(self, *command: object, env: dict[str, str] | None = None, check: bool = True) -> str:
        """Run a command in the cluster's network namespace and return its output."""
        prefix = namespaces.enter(self.cluster, mount=False)
        return run_command(*prefix, "--", *command, env={**self.env, **(env or {})}, clean=True, check=check)


@dataclass(frozen=True, kw_only=True)
class SuiteSide:
    """One program under test. ``builders`` are by the worker's name; ``running`` is the one that was switched to."""

    name: str
    program: Path
    builders: dict[str, str]
    running: list[str] = field(default_factory=list)


def prepare_site(cluster: layout.Cluster, built: SuitePrograms, folder: Path) -> SuiteSite:
    """Make a namespace, a kubeconfig for it, and the images that the tests start from."""
    folder.mkdir(parents=True, exist_ok=True)
    marks = {"pod-security.kubernetes.io/enforce": "privileged"}
    Api(cluster).call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": marks}})
    kubeconfig = yaml.safe_load(cluster.kubeconfig.read_text())
    for context in kubeconfig["contexts"]:
        context["context"]["namespace"] = NAMESPACE
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(kubeconfig))
    file.chmod(0o600)
    (folder / "docker").mkdir(exist_ok=True)
    (folder / "buildkitd.toml").write_text(buildkitd.configuration(registry.registries(cluster)))
    template = {"spec": {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}}
    (folder / "pod-template.yaml").write_text(yaml.safe_dump(template))
    catalogue.push(cluster, make_images(built))
    env = {
        **environment.variables(cluster),
        "KUBECONFIG": str(file),
        "DOCKER_CONFIG": str(folder / "docker"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    return SuiteSite(cluster=cluster, folder=folder, namespace=NAMESPACE, env=env)


def make_images(built: SuitePrograms) -> list[Image]:
    """Make the images of docker.io that the tests name: alpine is busybox, each frontend is the built one."""
    busybox = next(image for image in catalogue.images() if image.repository == "library/busybox")
    frontend = Variant(
        architecture=_ARCHITECTURE,
        layers=(Content(entries=(File(path="/bin/frontend", source=built.frontend, mode=0o755),), compressed=True),),
        settings={
            "Entrypoint": ["/bin/frontend"],
            "Env": [base.PATH],
            "Labels": {
                "moby.buildkit.frontend.network.none": "true",
                "moby.buildkit.frontend.caps": ",".join(
                    f"moby.buildkit.frontend.{name}" for name in ("inputs", "subrequests", "contexts")
                ),
            },
        },
    )
    more = Content(entries=tuple(File(path=path, source=text) for path, text in _ALPINE.items()), compressed=True)
    alpine = tuple(replace(variant, layers=(*variant.layers, more)) for variant in busybox.variants)
    images = [Image(repository="library/alpine", tags=("latest", "3.21"), variants=alpine)]
    return images + [Image(repository=name, tags=tags, variants=(frontend,)) for name, tags in _FRONTENDS.items()]


def open_control(site: SuiteSite) -> SuiteSide:
    """Return docker buildx with builders of its kubernetes driver, which it makes: one node, and two."""
    program = programs.path("buildx")
    for name in (CONTROL, CONTROL_TWO):
        env = {"BUILDX_CONFIG": f"/tmp/buildx-{name}"}
        nodes = (_ARCHITECTURE,) if name == CONTROL else layout.ARCHITECTURES
        if Api(site.cluster).get(_find_deployment(site, f"{name}-{_ARCHITECTURE}")) is None:
            shutil.rmtree(env["BUILDX_CONFIG"], ignore_errors=True)  # Its record is of a cluster that is gone.
        for place, architecture in enumerate(nodes):
            more = ["--append"] if place else []
            node = f"{name}-{architecture}"
            options = f"namespace={site.namespace},nodeselector=kubernetes.io/arch={architecture}"
            listed = site.run_inside(program, "inspect", name, env=env, check=False)
            if not re.search(rf"^Name: +{node}$", listed, re.M):
                site.run_inside(
                    *(program, "create", *more, "--name", name, "--node", node, "--driver", "kubernetes"),
                    *("--driver-opt", options, "--platform", f"linux/{architecture}"),
                    *("--buildkitd-config", site.folder / "buildkitd.toml"),
                    env=env,
                )
        site.run_inside(program, "inspect", "--bootstrap", name, env=env)
        _move_to_host_network(site, f"{name}-{_ARCHITECTURE}")
    return SuiteSide(name="control", program=program, builders=_name_builders(CONTROL, CONTROL_TWO))


def open_product(program: Path) -> SuiteSide:
    """Return kube-builder; its builders are made when a test needs them."""
    return SuiteSide(name="kube-builder", program=program, builders=_name_builders("suite-ours", "suite-ours-two"))


def switch_builder(site: SuiteSite, side: SuiteSide, name: str) -> None:
    """Let this builder of kube-builder be the only one that runs: two would want one port of one node."""
    if side.running == [name]:
        return
    for other in {*side.builders.values()} - {name}:
        site.run_inside(side.program, "stop", other, check=False)
        _wait_for_end(site, other)
    nodes = layout.ARCHITECTURES if name.endswith("-two") else (_ARCHITECTURE,)
    listed = site.run_inside(side.program, "inspect", "--bootstrap", name, check=False)
    for place, architecture in enumerate(nodes):
        node = f"{name}-{architecture}"
        if re.search(rf"^Name: +{node}(-|$)", listed, re.M):
            continue
        options = make_driver_options(site, architecture, host=place == 0 and name != PLAIN)
        site.run_inside(
            *(side.program, "create", *(["--append"] if place else []), "--bootstrap", "--name", name, "--node", node),
            *(word for option in options for word in ("--driver-opt", option)),
            *("--namespace", site.namespace),
            *(("--platform", f"linux/{architecture}") if len(nodes) > 1 else ()),
            *("--buildkitd-config", site.folder / "buildkitd.toml"),
        )
    side.running[:] = [name]


def make_driver_options(site: SuiteSite, architecture: str = _ARCHITECTURE, *, host: bool) -> list[str]:
    """Return driver options that select the node and, with ``host``, its network."""
    template = [f"pod-template={site.folder / 'pod-template.yaml'}", "user-namespaces=false"] if host else []
    return [f"nodeselector=kubernetes.io/arch={architecture}", *template]


def _name_builders(one: str, two: str) -> dict[str, str]:
    return {worker: two if "multinode" in worker else one for worker in WORKERS}


def _find_deployment(site: SuiteSite, name: str) -> str:
    return f"/apis/apps/v1/namespaces/{site.namespace}/deployments/{name}"


def _wait_for_end(site: SuiteSite, name: str) -> None:
    pods = f"/api/v1/namespaces/{site.namespace}/pods"
    for _ in range(240):
        listed = Api(site.cluster).get(pods)["items"]
        if not any(pod["metadata"]["name"].startswith(f"{name}-{_ARCHITECTURE}") for pod in listed):
            return
        time.sleep(0.5)


def _move_to_host_network(site: SuiteSite, name: str) -> None:
    """Change a Deployment of docker buildx, which has no option for that, and wait for its new pod."""
    api = Api(site.cluster)
    path = _find_deployment(site, name)
    (container,) = api.get(path)["spec"]["template"]["spec"]["containers"]
    change = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "template": {
                "spec": {
                    "hostNetwork": True,
                    "dnsPolicy": "ClusterFirstWithHostNet",
                    "containers": [{"name": container["name"], "readinessProbe": {"initialDelaySeconds": 1}}],
                }
            }
        },
    }
    status, body = api.call("PATCH", f"{path}?fieldManager=suite&force=true", change)
    if status >= 400:
        raise SystemExit(f"deployment {name}: {body.decode()}")
    for _ in range(240):
        found = api.get(path)
        state = found["status"]
        current = state.get("observedGeneration") == found["metadata"]["generation"]
        if current and state.get("updatedReplicas") == state.get("availableReplicas") == state.get("replicas") == 1:
            return
        time.sleep(0.5)
    raise SystemExit(f"deployment {name} does not become ready")
