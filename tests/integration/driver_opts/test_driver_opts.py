"""Each driver option, by what Kubernetes really made of it while a build was under way."""

from __future__ import annotations

import base64
import json
import re
import secrets
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.builder.manifests.podspec import DRAIN
from ci_buildx.kube.client import KubeClient
from devcluster import binfmt, layout, namespaces
from tests.e2e.cluster import Builders
from tests.integration.driver_opts import nodes
from tests.integration.driver_opts.conftest import Builds, Held

PRIORITY_CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
AMD64 = ("--platform", "linux/amd64")
SELECTED = "kubernetes.io/arch=amd64,kubernetes.io/os=linux"


def pod_of(held: Held, node: str = "amd64") -> dict[str, Any]:
    return held.pods()[node]


def buildkitd(pod: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in pod["spec"]["containers"] if one["name"] == "buildkitd")


def test_a_builder_by_default_is_nobody_on_its_nodes(builds: Builds) -> None:
    """On both architectures: root in the pods, and in the steps that they run, is another user on the node."""
    with builds.holding("--platform", "linux/amd64,linux/arm64", steps="RUN cat /proc/self/uid_map\n") as held:
        pods = held.pods()
        assert set(pods) == {"amd64", "arm64"}
        for pod in pods.values():
            assert pod["spec"]["hostUsers"] is False
            assert buildkitd(pod)["securityContext"] == {"privileged": True}
            assert "state" in {volume["name"] for volume in pod["spec"]["volumes"]}
            notes = pod["metadata"]["annotations"]
            assert notes["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
            assert held.inside(pod, "id", "-u") == "0\n"
            first, outside, count = map(int, held.inside(pod, "cat", "/proc/1/uid_map").split())
            assert (first, count) == (0, 65536)
            assert outside >= 65536
            assert owners_on_the_host(outside)
            assert "overlayfs" in held.inside(pod, "buildctl", "debug", "workers", "--verbose")
        said = held.finish()
    assert "user namespace: root in the pod is an unprivileged user on its cluster node\n" in said
    assert said.count("is an unprivileged user on its cluster node") == 1


def test_where_one_node_of_two_has_no_user_namespaces(builds: Builds, kube: KubeClient) -> None:
    """By default nobody has one then; who insists gets the node that can; and is refused where none can."""
    (builds.context / "Dockerfile").write_text("FROM busybox\nRUN echo begins at $(cat /proc/self/uid_map)\n")
    with nodes.without_user_namespaces(kube) as (both, unable):
        refused, by_default, insisting = (
            builds.product.build(*AMD64, *given([f"nodeselector={selected}", *more]), str(builds.context))
            for selected, more in (
                (f"kubernetes.io/hostname={unable}", ["user-namespaces=true"]),
                (both, []),
                (both, ["user-namespaces=true"]),
            )
        )
    assert by_default.code == 0, by_default.stderr
    reason = "no user namespace: privileged BuildKit is root on its cluster node: 1 of 2 cluster nodes report none\n"
    assert reason in by_default.stderr
    assert "begins at 0 0 4294967295\n" in by_default.stderr
    assert insisting.code == 0, insisting.stderr
    assert " user namespace: root in the pod is an unprivileged user on its cluster node\n" in insisting.stderr
    assert f"on node {layout.default_name()}-amd64 answered" in insisting.stderr
    assert re.search(r"begins at 0 \d{5,} 65536\n", insisting.stderr), insisting.stderr
    assert refused.code == 2
    assert refused.stderr.splitlines()[-1] == (
        f"kube-builder: error: driver-opt user-namespaces: no suitable cluster node reports user namespaces: {unable}; "
        "they require Linux 6.3, containerd 2 or CRI-O 1.25, and Kubernetes 1.33"
    )
    assert Builders(kube, builds.context.name).left() == []


def owners_on_the_host(uid: int) -> list[str]:
    """The programs that this machine, which is the node, runs as a user."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = status.read_text().splitlines()
        except OSError:
            continue
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        if fields.get("Uid", "").split("\t")[0] == str(uid):
            found.append(fields["Name"])
    assert "buildkitd" in found, found
    return found


@pytest.fixture
def priority_class(kube: KubeClient) -> Iterator[str]:
    """A class of the test's own: those of the system are not for builders."""
    name = f"tests-{secrets.token_hex(4)}"
    kube.create(PRIORITY_CLASSES, {"metadata": {"name": name}, "value": 1000})
    yield name
    kube.delete(f"{PRIORITY_CLASSES}/{name}")


def test_options_of_scheduling_and_marks(builds: Builds, priority_class: str) -> None:
    made = builds.product.cwd / "builder"
    options = [
        f'"nodeselector={SELECTED}"',
        '"annotations=team.example/owner=images,team.example/note=a=b"',
        '"labels=team=images,tier=ci"',
        (
            '"tolerations=key=foo,value=bar;key=foo2,operator=exists;key=foo3,effect=NoSchedule;'
            'key=foo4,operator=Exists,effect=noexecute,tolerationSeconds=30"'
        ),
        f"schedulername=default-scheduler,priority-class={priority_class},grace-period=7",
        "dns-policy=ClusterFirstWithHostNet",
        "requests.cpu=10m,requests.memory=32Mi,requests.ephemeral-storage=16Mi",
        "limits.cpu=2,limits.memory=4Gi,limits.ephemeral-storage=8Gi",
        "env.BUILDKIT_TTY_LOG_LINES=7,env.FROM_HERE=x=y",
        "serviceaccount=default,buildkit-root-volume-memory=512Mi,user-namespaces=false,network-policy=true",
        '"runner-selector=app=runner"',
        "pod-template=pod.yaml",
    ]
    (made.parent / "pod.yaml").write_text(POD)
    with builds.holding(*AMD64, *given(options)) as held:
        (job,) = held.objects("/apis/batch/v1/jobs")
        pod = pod_of(held)
        for marked in (job, pod):
            assert marked["metadata"]["annotations"]["team.example/note"] == "a=b"
            assert {("team", "images"), ("tier", "ci")} <= set(marked["metadata"]["labels"].items())
        spec = pod["spec"]
        assert spec["nodeSelector"] == {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
        tolerations = [one for one in spec["tolerations"] if one.get("key", "").startswith("foo")]
        assert tolerations == [
            {"key": "foo", "value": "bar"},
            {"key": "foo2", "operator": "Exists"},
            {"effect": "NoSchedule", "key": "foo3"},
            {"effect": "NoExecute", "key": "foo4", "operator": "Exists", "tolerationSeconds": 30},
        ]
        assert spec["schedulerName"] == "default-scheduler"
        assert spec["priorityClassName"] == priority_class
        assert spec["priority"] == 1000
        assert spec["dnsPolicy"] == "ClusterFirstWithHostNet"
        assert spec["terminationGracePeriodSeconds"] == 7
        assert spec["serviceAccountName"] == "default"
        assert spec["automountServiceAccountToken"] is False
        (spread,) = spec["topologySpreadConstraints"]
        assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
        container = buildkitd(pod)
        assert container["resources"] == {
            "requests": {"cpu": "10m", "memory": "32Mi", "ephemeral-storage": "16Mi"},
            "limits": {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "8Gi"},
        }
        printed = held.inside(pod, "env")
        assert "FROM_HERE=x=y\n" in printed
        assert "OF_TEMPLATE=1\n" in printed
        assert " /var/lib/buildkit tmpfs rw" in held.inside(pod, "cat", "/proc/mounts")
        assert "size=524288k" in held.inside(pod, "grep", "/var/lib/buildkit", "/proc/mounts")
        assert held.inside(pod, "cat", "/proc/1/uid_map").split() == ["0", "0", "4294967295"]
        assert "registry.example" in held.inside(pod, "cat", "/etc/hosts")
        assert [one["name"] for one in spec["containers"]] == ["buildkitd", "side"]
        assert spec["affinity"]["podAntiAffinity"]
        (policy,) = held.objects("/apis/networking.k8s.io/v1/networkpolicies")
        assert policy["spec"]["ingress"] == [
            {
                "from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "runner"}}}],
                "ports": [{"port": 1234, "protocol": "TCP"}],
            }
        ]
        assert policy["metadata"]["ownerReferences"][0]["name"] == job["metadata"]["name"]
        said = held.finish()
    assert (
        "no user namespace: privileged BuildKit is root on its cluster node: driver-opt user-namespaces=false\n" in said
    )


POD = """
spec:
  affinity:
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 1
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector: {matchLabels: {app: noisy}}
  hostAliases:
    - {ip: 192.0.2.7, hostnames: [registry.example]}
  containers:
    - name: buildkitd
      env: [{name: OF_TEMPLATE, value: "1"}]
    - name: side
      image: busybox
      command: [sh, -c, "trap 'exit 0' TERM; sleep 600 & wait"]
"""


@pytest.fixture
def pod_ranges(kube: KubeClient) -> Iterator[tuple[str, ...]]:
    """The addresses of a node's pods, which clusters give that share them out themselves."""
    ranges = ("198.18.77.0/24", "fd00:77::/64")
    with nodes.added(kube, marks={}, spec={"podCIDR": ranges[0], "podCIDRs": list(ranges)}, status={}):
        yield ranges


def test_options_of_registries_and_storage(builds: Builds, pod_ranges: tuple[str, ...]) -> None:
    """A mirror stands in for a registry that does not exist; one is trusted by its authority, one is insecure."""
    registry, basic = builds.product.env["REGISTRY"], builds.product.env["REGISTRY_BASIC"]
    folder = builds.product.cwd
    login = base64.b64encode(f"builder:{builds.product.env['REGISTRY_BASIC_PASSWORD']}".encode()).decode()
    auths = {basic: {"auth": login}, "https://index.docker.io/v1/": {"auth": login}}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    (folder / "own.toml").write_text('debug = true\n[registry."docker.io"]\n  http = true\n')
    options = [
        f'"registry-mirrors=nowhere.example={registry},docker.io=198.51.100.1:1;{registry}"',
        f'"insecure-registries={registry},r.example:5000"',
        f"ca-certificates={builds.product.env['REGISTRY_BASIC_CA']}",
        "persistent-volume-claim.requests.storage=64Mi,image-pull-secrets=auto,proxy=true",
    ]
    variables = {
        "HTTPS_PROXY": "http://user:seeded-password@192.0.2.9:3128",
        "NO_PROXY": f"{basic.partition(':')[0]},.example,198.51.100.1",
        "DOCKER_CONFIG": str(folder),
    }
    steps = "COPY --from=nowhere.example/library/busybox /bin/busybox /mirrored\n"
    tag = f"{basic}/opts/{builds.context.name}:1"
    with builds.holding(
        *AMD64, *given(options), "--push", "-t", tag, steps=steps, config=folder / "own.toml", **variables
    ) as held:
        pod = pod_of(held)
        (claim,) = held.objects("/api/v1/persistentvolumeclaims")
        assert claim["spec"]["resources"]["requests"]["storage"] == "64Mi"
        assert claim["metadata"]["ownerReferences"][0]["kind"] == "Pod"
        assert claim["status"]["phase"] == "Bound"
        kept = {one["metadata"]["name"]: one for one in held.objects("/api/v1/secrets")}
        assert kept["buildkit-pull"]["type"] == "kubernetes.io/dockerconfigjson"
        assert pod["spec"]["imagePullSecrets"] == [{"name": "buildkit-pull"}]
        assert "seeded-password" not in json.dumps([pod, *held.objects("/apis/batch/v1/jobs")])
        printed = held.inside(pod, "env")
        assert "HTTPS_PROXY=http://user:seeded-password@192.0.2.9:3128\n" in printed
        excepted = next(line for line in printed.splitlines() if line.startswith("NO_PROXY=")).split("=")[1].split(",")
        ranges = held.kube.list("/apis/networking.k8s.io/v1/servicecidrs")["items"][0]["spec"]["cidrs"]
        assert {".example", ".svc", "127.0.0.1", *ranges, *pod_ranges} <= set(excepted)
        config = tomllib.loads(held.inside(pod, "cat", "/etc/buildkit/config/buildkitd.toml"))
        assert config["debug"] is True
        assert config["registry"]["docker.io"] == {"http": True, "mirrors": ["198.51.100.1:1", registry]}
        assert config["registry"]["r.example:5000"] == {"http": True, "insecure": True}
        held.finish()


NAMED = """
image: {image}
image-pull-secrets: [registry-login]
persistent-volume-claim: {{requests: {{storage: 64Mi}}}}
storage-class: standard
nodeselector: {{kubernetes.io/arch: amd64}}
"""


def test_a_private_image_is_pulled_with_the_jobs_login_or_a_secret_that_is_named(
    builds: Builds, tmp_path: Path, kube: KubeClient, shared_namespace: str
) -> None:
    basic = builds.product.env["REGISTRY_BASIC"]
    image = f"{basic}/opts/{builds.context.name}-buildkit:1"
    login = base64.b64encode(f"builder:{builds.product.env['REGISTRY_BASIC_PASSWORD']}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {basic: {"auth": login}}}))
    product = builds.product.with_env(DOCKER_CONFIG=str(tmp_path))
    (builds.context / "Dockerfile").write_text("FROM moby/buildkit:buildx-stable-1\n")
    other = f"{image}-other"  # what a node has pulled once is not asked for again
    tags = ("-t", image, "-t", other)
    copied = product.build(*AMD64, "--provenance=false", "--push", *tags, str(builds.context))
    assert copied.code == 0, copied.stderr
    (builds.context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    options = ("--driver-opt", f"image={image}", "--driver-opt", "image-pull-secrets=auto", "-o", "out")
    unknown = builds.product.with_env(DOCKER_CONFIG=str(builds.context)).build(*AMD64, *options, str(builds.context))
    assert unknown.code == 2
    assert unknown.stderr.splitlines()[-1].endswith(
        f"credentials for {basic} not found; log in there, or name a Secret"
    )
    run = product.build(*AMD64, *options, str(builds.context))
    assert run.code == 0, run.stderr
    assert (tmp_path / "out" / "Dockerfile").exists()
    secret = {
        "metadata": {"name": "registry-login"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": (tmp_path / "config.json").read_text()},
    }
    kube.create(f"/api/v1/namespaces/{shared_namespace}/secrets", secret)
    (tmp_path / "builder.yaml").write_text(NAMED.format(image=other))
    inside = ("--namespace", shared_namespace, "--builder-config", "builder.yaml")
    with builds.holding(*AMD64, *inside) as held:
        (pod,) = kube.list(f"/api/v1/namespaces/{shared_namespace}/pods")["items"]
        (claim,) = kube.list(f"/api/v1/namespaces/{shared_namespace}/persistentvolumeclaims")["items"]
        held.finish()
    assert buildkitd(pod)["image"] == other
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry-login"}]
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert (claim["spec"]["storageClassName"], claim["status"]["phase"]) == ("standard", "Bound")
    assert claim["metadata"]["ownerReferences"][0]["name"] == pod["metadata"]["name"]


def test_rootless_runs_as_a_user_of_its_own(builds: Builds) -> None:
    """By default unconfined, which PodSecurity calls privileged."""
    with builds.holding(*AMD64, "--driver-opt", "rootless=true", steps="RUN cat /proc/self/uid_map\n") as held:
        check_rootless(held, level="privileged")
        assert "Seccomp:\t0\n" in held.inside(pod_of(held), "cat", "/proc/1/status")
        assert "rootless: buildkitd is uid 1000 on its cluster node\n" in held.finish()


def test_rootless_is_baseline_with_a_profile_on_the_node(builds: Builds) -> None:
    options = "rootless=true,seccomp-profile=localhost/buildkit.json,apparmor-profile=default"
    with builds.holding(*AMD64, "--driver-opt", options, steps="RUN cat /proc/self/uid_map\n") as held:
        check_rootless(held, level="baseline")
        assert "Seccomp:\t2\n" in held.inside(pod_of(held), "cat", "/proc/1/status")
        held.finish()


def check_rootless(held: Held, *, level: str) -> None:
    namespace = held.kube.get(f"/api/v1/namespaces/{held.builder}")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == level
    pod = pod_of(held)
    assert "privileged" not in json.dumps(pod["spec"])
    assert held.inside(pod, "id", "-u") == "1000\n"
    maps = held.inside(pod, "sh", "-c", "cat /proc/[0-9]*/uid_map | sort -u")
    assert ["0", "1000", "1"] in [line.split() for line in maps.splitlines()]
    assert "overlayfs" in held.inside(pod, "buildctl", "debug", "workers", "--verbose")


def test_a_pod_that_drains_lets_a_build_finish(builds: Builds, tmp_path: Path) -> None:
    """As builders that last are: the pod is deleted in the middle of a step, and the build goes well."""
    hook = {"preStop": {"exec": {"command": ["sh", "-c", DRAIN]}}}
    template = {"spec": {"containers": [{"name": "buildkitd", "lifecycle": hook}]}}
    (tmp_path / "drains.json").write_text(json.dumps(template))
    with builds.holding(*AMD64, "--driver-opt", "pod-template=drains.json,grace-period=60") as held:
        pod = pod_of(held)["metadata"]
        held.kube.delete(f"/api/v1/namespaces/{pod['namespace']}/pods/{pod['name']}")
        assert held.pods()["amd64"]["metadata"]["deletionTimestamp"]
        held.finish()


def test_a_platform_that_the_pods_do_not_run_is_said_before_the_build(builds: Builds) -> None:
    dockerfile = builds.context / "Dockerfile"
    dockerfile.write_text("FROM scratch\nCOPY Dockerfile /\n")
    command = ("--platform", "linux/amd64,linux/mips64le", str(builds.context))
    assert builds.product.build(*command).code == 0  # nothing runs, so no emulator is needed
    dockerfile.write_text('FROM scratch\nCOPY Dockerfile /\nRUN ["/bin/true"]\n')
    run = builds.product.build(*command)
    assert run.code == 1
    last = run.stderr.splitlines()[-1]
    assert last.startswith("ERROR: pod buildkit-amd64-")
    assert " does not run linux/mips64le, only linux/amd64, " in last
    assert last.endswith("; add driver-opt qemu.install=true, or nodes of that architecture")
    assert "load build definition" not in run.stderr


def test_qemu_install_registers_emulators_with_the_nodes_kernel(builds: Builds, unregistered: None) -> None:
    """From nothing: the host's own registration is away, and the build for arm64 runs on the amd64 node."""
    options = "qemu.install=true,nodeselector=kubernetes.io/arch=amd64"
    steps = "RUN /bin/busybox uname -m && /bin/busybox true\n"
    with builds.holding("--platform", "linux/arm64", "--driver-opt", options, steps=steps) as held:
        assert binfmt.read()["qemu-aarch64"].interpreter == "/usr/bin/qemu-aarch64"
        (status,) = pod_of(held)["status"]["initContainerStatuses"]
        assert (status["name"], status["state"]["terminated"]["exitCode"]) == ("qemu", 0)
        assert "linux/s390x" in held.inside(pod_of(held), "buildctl", "debug", "workers", "--verbose")
        said = held.finish()
    assert "driver-opt qemu.install registers emulators with the cluster node's kernel\n" in said
    assert "aarch64" in said


@pytest.fixture
def unregistered() -> Iterator[None]:
    """The host without emulators; what it had is there again afterwards, and nothing else."""
    folder = namespaces.BINFMT
    before = {name for name in binfmt.read() if name.startswith("qemu-")}
    remove = "for each in qemu-*; do [ ! -e $each ] || echo -1 > $each; done"
    binfmt.within(None, f"cd {folder}; {remove}")
    try:
        yield
    finally:
        lines = "".join(f"printf '%s' '{binfmt.definition(name)}' > register\n" for name in sorted(before))
        binfmt.within(None, f"cd {folder}; {remove}\n{lines}")


def given(options: list[str]) -> list[str]:
    """As they stand on a command line."""
    return [word for option in options for word in ("--driver-opt", option)]
