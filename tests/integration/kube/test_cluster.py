"""The client on a real cluster: every verb, real refusals, real credentials of accounts that may do little."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized, Unreachable
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess, load_cluster
from ci_buildx.kube.tls import TlsSettings
from ci_buildx.settings.values import ClusterSettings
from ci_buildx.transport.race import PodAddress


def configmap(name: str, **content: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": content}


@pytest.fixture
def path(namespace: str) -> str:
    """The API path of the ConfigMaps in the tests' namespace."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


def test_an_object_from_creation_to_deletion(keeper: KubeClient, path: str) -> None:
    made = keeper.create(path, configmap("life", a="1"))
    assert keeper.get(f"{path}/life")["metadata"]["uid"] == made["metadata"]["uid"]
    assert keeper.patch(f"{path}/life", {"data": {"b": "2"}})["data"] == {"a": "1", "b": "2"}
    operations = [{"op": "remove", "path": "/data/a"}]
    assert keeper.patch(f"{path}/life", operations, kind="json")["data"] == {"b": "2"}
    assert keeper.patch(f"{path}/life", {"data": {"c": "3"}}, kind="strategic")["data"] == {"b": "2", "c": "3"}
    assert [item["metadata"]["name"] for item in keeper.list(path, fieldSelector="metadata.name=life")["items"]] == [
        "life"
    ]
    keeper.delete(f"{path}/life", options={"preconditions": {"uid": made["metadata"]["uid"]}})
    with pytest.raises(NotFound, match='configmaps "life" not found'):
        keeper.get(f"{path}/life")


def test_refusals(keeper: KubeClient, path: str) -> None:
    keeper.create(path, configmap("twice"))
    with pytest.raises(Conflict, match='"twice" already exists'):
        keeper.create(path, configmap("twice"))
    with pytest.raises(Invalid, match=r"metadata\.name: Invalid value"):
        keeper.create(path, configmap("Not Allowed"))


def test_watch_tells_each_change_until_stopped(keeper: KubeClient, path: str) -> None:
    keeper.create(path, configmap("watched"))
    stop, seen = threading.Event(), []
    selector = "metadata.name=watched"
    for event in keeper.watch(path, deadline=time.monotonic() + 60, stop=stop, fieldSelector=selector):
        seen.append((event.type.value, event.object.get("data")))
        if event.type == "ADDED":
            keeper.patch(f"{path}/watched", {"data": {"a": "1"}})
        elif event.type == "MODIFIED":
            keeper.delete(f"{path}/watched")
        else:
            stop.set()
    assert seen == [("ADDED", None), ("MODIFIED", {"a": "1"}), ("DELETED", {"a": "1"})]


def test_watch_ends_at_its_deadline(keeper: KubeClient, path: str) -> None:
    assert list(keeper.watch(path, deadline=time.monotonic() + 1, labelSelector="none=there")) == []


def test_watch_from_a_version_that_is_gone_starts_over(keeper: KubeClient, path: str) -> None:
    keeper.create(path, configmap("old"))
    watch = keeper.watch(path, resource_version="1", deadline=time.monotonic() + 30, fieldSelector="metadata.name=old")
    assert next(watch).object["metadata"]["name"] == "old"


def test_versions_and_clock(keeper: KubeClient) -> None:
    major, minor = keeper.read_server_version()
    assert (major, minor) >= (1, 30)
    assert keeper.server_time is not None
    assert abs(keeper.server_time - time.time()) < 60


def test_the_official_package_with_our_credentials(bobs_kube: KubeClient, namespace: str) -> None:
    from kubernetes.client import ApiException, CoreV1Api

    api = CoreV1Api(bobs_kube.make_official_client())
    assert api.list_namespaced_pod(namespace).kind == "PodList"
    with pytest.raises(ApiException, match="Forbidden"):
        api.list_namespace()


@pytest.mark.usefixtures("listener")
def test_a_restricted_account_is_told_what_it_lacks(
    bobs_kube: KubeClient, listener: PodAddress, namespace: str
) -> None:
    user = f"system:serviceaccount:{namespace}:bob"
    assert bobs_kube.list(f"/api/v1/namespaces/{namespace}/pods")["kind"] == "PodList"
    with pytest.raises(Forbidden, match=f'user "{user}" may not create namespaces in the whole cluster'):
        bobs_kube.create("/api/v1/namespaces", {"metadata": {"name": "x"}})
    with pytest.raises(Forbidden, match=f'may not create jobs.batch in namespace "{namespace}"'):
        bobs_kube.create(f"/apis/batch/v1/namespaces/{namespace}/jobs", {"metadata": {"name": "x"}})
    with pytest.raises(Forbidden, match=r'may not (get|create) pods/portforward .*"get" and "create"'):
        bobs_kube.open_websocket(listener.make_path("portforward"), [("ports", "1234")], ["v4.channel.k8s.io"])


def test_the_in_cluster_account_and_its_rotation(
    bobs_cluster: ClusterAccess, bobs_token: str, namespace: str, tmp_path: Path
) -> None:
    host, port = bobs_cluster.address
    for name, content in (("token", bobs_token), ("namespace", namespace)):
        (tmp_path / name).write_text(content)
    (tmp_path / "ca.crt").write_bytes(bobs_cluster.tls.authority)
    env = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}
    client = KubeClient(load_cluster(ClusterSettings(), env=env, account=tmp_path))
    pods = f"/api/v1/namespaces/{client.namespace}/pods"
    assert client.list(pods)["kind"] == "PodList"
    (tmp_path / "token").write_text("no longer valid")
    with pytest.raises(Unauthorized, match="does not accept the credentials"):
        client.list(pods)
    (tmp_path / "token").write_text(bobs_token)
    assert client.list(pods)["kind"] == "PodList"
    client.close()


def test_an_exec_plugin_with_a_real_token(
    bobs_cluster: ClusterAccess, bobs_token: str, namespace: str, tmp_path: Path
) -> None:
    version = "client.authentication.k8s.io/v1"
    credential = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": bobs_token}}
    (tmp_path / "credential").write_text(json.dumps(credential))
    (tmp_path / "ca.crt").write_bytes(bobs_cluster.tls.authority)
    plugin = {
        "apiVersion": version,
        "command": "cat",
        "args": [str(tmp_path / "credential")],
        "interactiveMode": "Never",
    }
    config = {
        "current-context": "dev",
        "contexts": [{"name": "dev", "context": {"cluster": "dev", "user": "bob", "namespace": namespace}}],
        "clusters": [{"name": "dev", "cluster": {"server": bobs_cluster.server, "certificate-authority": "ca.crt"}}],
        "users": [{"name": "bob", "user": {"exec": plugin}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    client = KubeClient(load_cluster(ClusterSettings(kubeconfig=(tmp_path / "config",)), env={"PATH": "/usr/bin:/bin"}))
    assert client.list(f"/api/v1/namespaces/{client.namespace}/pods")["kind"] == "PodList"
    client.close()


def test_the_system_trust_does_not_know_the_cluster(bobs_cluster: ClusterAccess) -> None:
    client = KubeClient(replace(bobs_cluster, tls=TlsSettings()))
    with pytest.raises(Unreachable, match="is not trusted"):
        client.get("/version")
    client.close()
