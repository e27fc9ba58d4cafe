"""Driver options of builders that stay, by what Kubernetes made of them and what is left of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import layout, registry
from tests import docker_daemon
from tests.integration import inside
from tests.integration.build.lasting import CONFIG, Shop, eventually

VOLUME = "persistent-volume-claim.requests.storage=64Mi"
CLAIMS = "/api/v1/{}/persistentvolumeclaims"
ADMISSION = "/apis/admissionregistration.k8s.io/v1beta1"
AS_YAML = "persistent-volume-claim: {requests: {storage: 64Mi}}\nreclaim: retain\n"


@pytest.fixture
def emptied(shop: Shop) -> Iterator[Shop]:
    """What is meant to stay goes with the test."""
    yield shop
    shop.kube.delete(f"/api/v1/namespaces/{shop.namespace}/persistentvolumeclaims")


def test_volumes_that_are_to_stay_do_and_are_named(emptied: Shop, tmp_path: Path) -> None:
    shop, name = emptied, "kept"
    (tmp_path / "node.yaml").write_text(AS_YAML)
    shapes = {
        "kept-a": ["--driver-opt", f"{VOLUME},reclaim=retain"],
        "kept-b": ["--driver-opt", VOLUME],
        "kept-c": ["--builder-config", "node.yaml"],
    }
    for index, (node, shape) in enumerate(shapes.items()):
        made = shop.create("--name", name, "--node", node, *shape, *(["--append"] if index else []))
        assert made.code == 0, made.stderr
    claims = [f"state-{node}-0" for node in shapes]
    shown = shop.product.run("inspect", "--format", "json", name)
    options = {node["Node"]: node["DriverOpts"] for node in json.loads(shown.stdout)["Nodes"]}
    assert options["kept-a"] == options["kept-c"]
    eventually("a claim for each node", lambda: shop.names(CLAIMS, name) == claims)

    left = shop.product.run("create", "--leave", "--name", name, "--node", "kept-a")
    assert left.code == 0, left.stderr
    where = f"kube-builder: note: kept in namespace {shop.namespace}: persistentvolumeclaims "
    assert left.stderr == f"{where}state-kept-a-0; a new node of the same name reuses them\n"
    assert shop.names(CLAIMS, name) == claims
    removed = shop.product.run("rm", name)
    assert (removed.code, removed.stdout) == (0, b"kept removed\n")
    assert removed.stderr == f"{where}state-kept-a-0, state-kept-c-0; a new node of the same name reuses them\n"
    assert shop.left(name) == ["state-kept-a-0", "state-kept-c-0"]

    config = {"metadata": {"name": "kept-a-config"}}
    shop.kube.create(f"/api/v1/namespaces/{shop.namespace}/configmaps", config)
    failed = shop.create("--name", name, "--node", "kept-a", "--driver-opt", VOLUME)
    assert (failed.code, "already contains an object named 'kept-a'" in failed.stderr) == (2, True)
    shop.kube.delete(f"/api/v1/namespaces/{shop.namespace}/configmaps/kept-a-config")
    kept = shop.objects(CLAIMS, name)
    assert [one["status"]["phase"] for one in kept] == ["Bound", "Bound"]
    volumes = {
        shop.kube.get(f"/api/v1/persistentvolumes/{one['spec']['volumeName']}")["status"]["phase"] for one in kept
    }
    assert volumes == {"Bound"}


def test_what_the_nodes_of_a_builder_share(shop: Shop, context: Path, tmp_path: Path) -> None:
    """A fence, proxies and logins; the second node brings its own login and keeps the first one's."""
    product = shop.product
    basic = product.env["REGISTRY_BASIC"]
    image = f"{basic}/lasting/{context.name}:1"
    own = {basic: f"builder:{product.env['REGISTRY_BASIC_PASSWORD']}"}
    other = {"docker.io": "somebody:else"}
    (context / "Dockerfile").write_text("FROM moby/buildkit:buildx-stable-1\n")
    copied = product.with_env(DOCKER_CONFIG=login(tmp_path, own)).build(
        "--provenance=false", "--push", "-t", image, str(context)
    )
    assert copied.code == 0, copied.stderr

    proxied = {"HTTPS_PROXY": "http://user:seeded-password@192.0.2.9:3128", "NO_PROXY": basic.partition(":")[0]}
    shared = "proxy=true,network-policy=true,image-pull-secrets=auto"
    configured = {CONFIG: str(product.config), **proxied}
    first = product.with_env(**configured, DOCKER_CONFIG=login(tmp_path, own)).run(
        "create", "--name", "shared", "--bootstrap", "--driver-opt", f"{shared},image={image}"
    )
    assert first.code == 0, first.stderr
    second = product.with_env(**configured, DOCKER_CONFIG=login(tmp_path, other)).run(
        "create",
        "--append",
        "--name",
        "shared",
        "--bootstrap",
        "--driver-opt",
        f'{shared},"runner-selector=app=runner"',
    )
    assert second.code == 0, second.stderr

    pods = shop.objects("/api/v1/{}/pods", "shared")
    assert len(pods) == 2
    for pod in pods:
        assert pod["spec"]["imagePullSecrets"] == [{"name": "shared-pull"}]
        assert "seeded-password" not in json.dumps(pod)
        printed = inside.run(shop.kube, pod, "env").splitlines()
        assert "HTTPS_PROXY=http://user:seeded-password@192.0.2.9:3128" in printed
        excepted = next(line for line in printed if line.startswith("NO_PROXY=")).partition("=")[2].split(",")
        ranges = shop.kube.list("/apis/networking.k8s.io/v1/servicecidrs")["items"][0]["spec"]["cidrs"]
        assert {basic.partition(":")[0], ".svc", *ranges} <= set(excepted)
    kept = shop.kube.get(f"/api/v1/namespaces/{shop.namespace}/secrets/shared-pull")
    auths = json.loads(base64.b64decode(kept["data"][".dockerconfigjson"]))["auths"]
    assert set(auths) == {basic, "https://index.docker.io/v1/"}
    (policy,) = shop.objects("/apis/networking.k8s.io/v1/{}/networkpolicies", "shared")
    assert policy["spec"]["podSelector"] == {"matchLabels": {"kube-builder.dev/builder": "shared"}}
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "runner"}}}]
    assert product.run("rm", "shared").code == 0
    assert shop.left("shared") == []
    assert shop.names("/apis/networking.k8s.io/v1/{}/networkpolicies", "shared") == []


def test_the_builders_own_default_load_and_what_it_cannot_run(shop: Shop, context: Path, tmp_path: Path) -> None:
    options = "default-load=true,nodeselector=kubernetes.io/arch=amd64"
    assert shop.create("--name", "loads", "--bootstrap", "--driver-opt", options).code == 0
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    with docker_daemon.listening(tmp_path / "s") as daemon:
        here = shop.product.with_env(DOCKER_HOST=f"unix://{tmp_path / 's'}")
        assert here.run("build", "--builder", "loads", "-t", "app:1", str(context)).code == 0
        assert "Dockerfile" not in daemon.names()
        assert "manifest.json" in daemon.names()
        out = f"type=local,dest={tmp_path / 'out'}"
        assert here.run("build", "--builder", "loads", "-o", out, str(context)).code == 0
        assert len(daemon.loaded) == 1
    without = shop.product.with_env(DOCKER_HOST=f"unix://{tmp_path / 's'}-absent")
    nowhere = without.run("build", "--builder", "loads", str(context))
    assert nowhere.code == 2
    assert "driver-opt default-load of builder loads: docker daemon not found" in nowhere.stderr

    (context / "Dockerfile").write_text('FROM scratch\nCOPY Dockerfile /\nRUN ["/bin/true"]\n')
    refused = shop.product.run("build", "--builder", "loads", "--platform", "linux/mips64le", "-o", out, str(context))
    assert refused.code == 1
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("ERROR: pod loads0-")
    assert " does not run linux/mips64le, only linux/amd64, " in last
    assert last.endswith(" or one with driver-opt qemu.install=true")
    assert "; add a node for it with kube-builder create --append --platform: one of that architecture" in last
    assert "load build definition" not in refused.stderr
    assert "WARNING" not in refused.stderr
    assert shop.product.run("rm", "loads").code == 0


def login(folder: Path, names: dict[str, str]) -> str:
    """A folder with docker's configuration of these users and passwords, by registry."""
    place = folder / f"docker-{len(list(folder.glob('docker-*')))}"
    place.mkdir()
    auths = {
        "https://index.docker.io/v1/" if host == "docker.io" else host: {
            "auth": base64.b64encode(text.encode()).decode()
        }
        for host, text in names.items()
    }
    (place / "config.json").write_text(json.dumps({"auths": auths}))
    return str(place)


@pytest.fixture
def dropping(shop: Shop) -> Iterator[Shop]:
    """An API server that drops hostUsers of Deployments, as one does whose feature gate is off; in one namespace."""
    kube, name = shop.kube, f"drops-{shop.namespace}"
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
    here = {"matchLabels": {"kubernetes.io/metadata.name": shop.namespace}}
    removal = '[JSONPatch{op: "remove", path: "/spec/template/spec/hostUsers"}]'
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"namespaceSelector": here, "resourceRules": [rule]},
            "matchConditions": [{"name": "asked", "expression": "has(object.spec.template.spec.hostUsers)"}],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": removal}}],
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
        },
    }
    kube.create(f"{ADMISSION}/mutatingadmissionpolicies", policy)
    binding = {"metadata": {"name": name}, "spec": {"policyName": name}}
    kube.create(f"{ADMISSION}/mutatingadmissionpolicybindings", binding)
    pod = {"containers": [{"name": "a", "image": "a"}], "hostUsers": False}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod}
    tried = {"metadata": {"name": "tried"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}

    def drops() -> bool:
        made = kube.create(f"/apis/apps/v1/namespaces/{shop.namespace}/deployments", tried, dryRun="All")
        return "hostUsers" not in made["spec"]["template"]["spec"]

    try:
        eventually("the policy", drops)
        yield shop
    finally:
        kube.delete(f"{ADMISSION}/mutatingadmissionpolicybindings/{name}")
        kube.delete(f"{ADMISSION}/mutatingadmissionpolicies/{name}")


def test_user_namespaces_that_the_server_drops_are_refused_or_said(dropping: Shop) -> None:
    refused = dropping.create("--name", "strict", "--driver-opt", "user-namespaces=true")
    assert refused.code == 1
    assert refused.stderr.splitlines()[-1] == (
        "ERROR: user-namespaces=true: the API server drops hostUsers; "
        "enable its feature gate UserNamespacesSupport, or omit the option"
    )
    assert dropping.left("strict") == []
    told = dropping.create("--name", "easy")
    assert told.code == 0, told.stderr
    on_host = "no user namespace: privileged BuildKit is root on its cluster node: the API server drops hostUsers"
    assert f"WARNING: node easy0: {on_host}\n" in told.stderr
    assert dropping.product.run("rm", "easy").code == 0


def test_a_private_authority_is_known_to_jobs_that_lack_its_file(shop: Shop, context: Path, tmp_path: Path) -> None:
    """Nodes push through buildkitd, the job pushes the index: both trust what the builder was made with."""
    _, basic, _ = registry.registries(layout.cluster())
    assert basic.ca_file
    (tmp_path / "ca.crt").write_bytes(basic.ca_file.read_bytes())
    config = f'[registry."{basic.address}"]\nca = ["ca.crt"]\n'
    (tmp_path / "own.toml").write_text(config)
    alike = ["--name", "private", "--buildkitd-config", "own.toml"]
    try:
        for architecture, more in (("amd64", []), ("arm64", ["--append"])):
            node = ["--node", f"private-{architecture}", "--platform", f"linux/{architecture}", *more]
            made = shop.product.run(
                "create", *alike, *node, "--driver-opt", f"nodeselector=kubernetes.io/arch={architecture}"
            )
            assert made.code == 0, made.stderr
        (tmp_path / "ca.crt").unlink()
        (tmp_path / "own.toml").unlink()
        (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
        login = base64.b64encode(f"{basic.username}:{basic.password.reveal_text()}".encode()).decode()
        product = shop.product.with_env(DOCKER_AUTH_CONFIG=json.dumps({"auths": {basic.address: {"auth": login}}}))
        named = ["--builder", "private", "--push", "-t", f"{basic.address}/e2e/{context.name}:1"]
        run = product.build("--platform", "linux/amd64,linux/arm64", *named, str(context), own_builder=False)
        assert run.code == 0, run.stderr
        assert "merging index" in run.stderr
    finally:
        assert shop.product.run("rm", "private").code == 0
