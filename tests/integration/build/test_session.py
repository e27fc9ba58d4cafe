"""The session of Docker's page on the kubernetes driver, word for word, with kube-builder in its place."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.errors import Conflict
from ci_buildx.kube.client import KubeClient
from devcluster import layout, pushed, registry
from devcluster.accounts import Account
from tests.e2e.product import Product, Run
from tests.integration.build.lasting import Shop, eventually

NAMESPACE = "buildkit"
BOTH = "linux/amd64,linux/arm64"


@pytest.fixture
def page_shop(kube: KubeClient, product: Product, job_account: Account, tmp_path: Path) -> Iterator[Shop]:
    """The page's namespace, which is also the context's."""
    eventually("an end of an earlier namespace", lambda: _made(kube))  # kubectl create namespace buildkit
    job_account.let_into(NAMESPACE)
    kubeconfig = json.loads(job_account.kubeconfig.read_text())
    kubeconfig["contexts"][0]["context"]["namespace"] = NAMESPACE
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(kubeconfig))
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM busybox\nRUN uname -m > /machine\n")
    inside = Product(cwd=folder, env={**product.env, "KUBECONFIG": str(path)}, config=product.config)
    yield Shop(kube=kube, product=inside, namespace=NAMESPACE)
    kube.delete(f"/api/v1/namespaces/{NAMESPACE}")


@pytest.fixture
def labelled(kube: KubeClient) -> Iterator[None]:
    """A node has the labels of the page's examples."""
    (node,) = kube.list("/api/v1/nodes", labelSelector="kubernetes.io/arch=amd64")["items"]
    path = f"/api/v1/nodes/{node['metadata']['name']}"
    kube.patch(path, {"metadata": {"labels": {"label1": "value1", "label2": "value2"}}})
    yield
    kube.patch(path, {"metadata": {"labels": {"label1": None, "label2": None}}})


def _made(kube: KubeClient) -> bool:
    try:
        kube.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    except Conflict:
        return False
    return True


def say(shop: Shop, line: str) -> Run:
    """Do what a line of the page says."""
    program, verb, *rest = shlex.split(line)
    assert program == "kube-builder"
    run = shop.create(*rest) if verb == "create" else shop.product.run(verb, *rest)
    assert run.code == 0, f"{line}: {run.stderr}"
    return run


def deployments(shop: Shop) -> dict[str, tuple[int, int]]:
    """kubectl -n buildkit get deployments: NAME and READY."""
    items = shop.kube.list(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")["items"]
    return {
        item["metadata"]["name"]: (item["status"].get("readyReplicas", 0), item["spec"]["replicas"]) for item in items
    }


def anew(shop: Shop) -> None:
    """Each section of the page begins without a builder."""
    assert say(shop, "kube-builder rm kube").stdout == b"kube removed\n"
    assert shop.left("kube") == []


def machines(image: str) -> dict[str, bytes]:
    """What each platform's build wrote down, read back from the registry."""
    opened = registry.registries(layout.cluster())[0]
    repository = image.partition("/")[2]
    return {name: one.files["machine"].strip() for name, one in pushed.images(opened.url, repository, "latest").items()}


def test_the_session_of_the_page(page_shop: Shop, labelled: None) -> None:
    image = f"{page_shop.product.env['REGISTRY']}/e2e/{page_shop.product.cwd.parent.name}"
    create = "kube-builder create --bootstrap --name=kube --driver=kubernetes"

    made = say(page_shop, f"{create} --driver-opt=namespace=buildkit")
    assert made.stdout == b"kube\n"
    header, first, second = say(page_shop, "kube-builder ls").stdout.decode().splitlines()
    assert header.split() == ["NAME/NODE", "DRIVER/ENDPOINT", "STATUS", "BUILDKIT", "PLATFORMS"]
    assert first.split() == ["kube", "kubernetes"]
    assert second.startswith(" \\_ kube0-")
    assert " running " in second
    assert "linux/amd64" in second
    assert deployments(page_shop) == {"kube0": (1, 1)}
    say(page_shop, f"kube-builder build --builder=kube -t {image} --push .")
    assert machines(image) == {"linux/amd64": b"x86_64"}

    anew(page_shop)
    say(page_shop, f"{create} --driver-opt=namespace=buildkit,replicas=4")
    assert deployments(page_shop) == {"kube0": (4, 4)}
    pods = page_shop.pods("kube")
    assert len(pods) == 4
    assert all(pod.startswith("kube0-") for pod in pods)
    assert [node["Name"] for node in page_shop.seen("kube")["Nodes"]] == pods

    anew(page_shop)
    selected = """'--driver-opt="nodeselector=label1=value1,label2=value2","tolerations=key=key1,value=value1"'"""
    say(page_shop, f"{create} {selected}")
    (pod,) = page_shop.objects("/api/v1/{}/pods", "kube")
    assert pod["spec"]["nodeSelector"].items() >= {"label1": "value1", "label2": "value2"}.items()
    assert {"key": "key1", "value": "value1"}.items() <= pod["spec"]["tolerations"][0].items()
    anew(page_shop)
    say(page_shop, f"""{create} '--driver-opt="nodeselector=kubernetes.io/arch=arm64"'""")
    (pod,) = page_shop.objects("/api/v1/{}/pods", "kube")
    assert pod["spec"]["nodeName"] == f"{layout.default_name()}-arm64"
    anew(page_shop)
    tolerated = "tolerations=key=foo,value=bar;key=foo2,operator=exists;key=foo3,effect=NoSchedule"
    say(page_shop, f"""{create} '--driver-opt="{tolerated}"'""")
    (pod,) = page_shop.objects("/api/v1/{}/pods", "kube")
    assert [one["key"] for one in pod["spec"]["tolerations"][:3]] == ["foo", "foo2", "foo3"]

    anew(page_shop)
    say(page_shop, f"{create} --driver-opt=namespace=buildkit,qemu.install=true")
    say(page_shop, f"kube-builder build --builder=kube --platform={BOTH} -t {image} --push .")
    assert machines(image) == {"linux/amd64": b"x86_64", "linux/arm64": b"aarch64"}

    anew(page_shop)
    native = "--driver-opt=namespace=buildkit,nodeselector="
    say(page_shop, f'{create} --platform=linux/amd64 --node=builder-amd64 {native}"kubernetes.io/arch=amd64"')
    appending = create.replace("create", "create --append")
    say(page_shop, f'{appending} --platform=linux/arm64 --node=builder-arm64 {native}"kubernetes.io/arch=arm64"')
    assert deployments(page_shop) == {"builder-amd64": (1, 1), "builder-arm64": (1, 1)}
    amd64, arm64 = say(page_shop, "kube-builder ls").stdout.decode().splitlines()[-2:]
    assert amd64.startswith(" \\_ builder-amd64-")
    assert "linux/amd64* (+" in amd64
    assert arm64.startswith(" \\_ builder-arm64-")
    assert "linux/arm64*" in arm64
    both = say(page_shop, f"kube-builder build --builder=kube --platform={BOTH} -t {image} --push .")
    assert "merging index" in both.stderr
    assert machines(image) == {"linux/amd64": b"x86_64", "linux/arm64": b"aarch64"}

    anew(page_shop)
    say(page_shop, "kube-builder create --name=kube --driver=kubernetes --driver-opt=namespace=buildkit,rootless=true")
    (made_rootless,) = page_shop.objects("/apis/apps/v1/{}/deployments", "kube")
    (container,) = made_rootless["spec"]["template"]["spec"]["containers"]
    assert not container["securityContext"].get("privileged")
    anew(page_shop)
