"""Making and changing lasting builders where the API server takes things otherwise, or others are faster."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import pytest

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Workload, locate_lasting_builder
from ci_buildx.builder.cluster_facts import ClusterFacts
from ci_buildx.builder.lifecycle import create as lifecycle_create
from ci_buildx.builder.lifecycle import records, volumes
from ci_buildx.builder.lifecycle.create import NodeRequest
from ci_buildx.builder.lifecycle.records import StoredBuilder, StoredNode
from ci_buildx.builder.manifests import certificates, lasting_objects
from ci_buildx.errors import Conflict, Forbidden, Invalid, KubeError, NotFound, Throttled
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import replace
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings, Registries, UserNamespaces

LOCATION = locate_lasting_builder("kube", "ci")
KEYS = "/api/v1/namespaces/ci/secrets/kube-keys"
PULL = "/api/v1/namespaces/ci/secrets/kube-pull"
NODE = "/apis/apps/v1/namespaces/ci/deployments/kube0"
CLAIMS = "/api/v1/namespaces/ci/persistentvolumeclaims"
UNKNOWN = ClusterFacts()
"""Nodes may not be listed."""


class Server:
    """An API server's memory. It drops hostUsers where ``drops``; ``refuses`` has what goes wrong, by verb and path."""

    def __init__(self, *, drops: bool = False) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.drops = drops
        self.refuses: dict[tuple[str, str], KubeError] = {}
        self.server_time = 1_777_636_810.0
        self.meanwhile: list[Any] = []
        """What others do just before a patch."""

    def get(self, path: str) -> dict[str, Any]:
        if path not in self.objects:
            raise NotFound(path, status=404)
        return cast("dict[str, Any]", json.loads(json.dumps(self.objects[path])))

    def create(self, path: str, body: dict[str, Any], **query: str) -> dict[str, Any]:
        place = f"{path}/{body['metadata']['name']}"
        self._check("create", place)
        if place in self.objects:
            raise Conflict("exists", status=409)
        return self._keep(place, body, dry="dryRun" in query)

    def patch(self, path: str, body: Any, kind: str = "merge", **query: str) -> dict[str, Any]:
        self._check("patch", path)
        if self.meanwhile and "dryRun" not in query:
            self.meanwhile.pop(0)()
        found = self.get(path)
        if kind == "json":
            for step in body:
                *way, last = step["path"].strip("/").split("/")
                target = found
                for name in way:
                    target = target[name]
                target[last] = step["value"]
            return self._keep(path, found, dry="dryRun" in query)
        wanted = body.get("metadata", {}).get("resourceVersion")
        if wanted not in (None, found["metadata"]["resourceVersion"]):
            raise Conflict("changed", status=409)
        found["metadata"]["annotations"] = {
            **found["metadata"].get("annotations", {}),
            **body.get("metadata", {}).get("annotations", {}),
        }
        found["data"] = {**found.get("data", {}), **body.get("data", {})}
        return self._keep(path, found)

    def delete(self, path: str, options: Any = None, **_query: str) -> dict[str, Any]:
        self._check("delete", path)
        for place in [one for one in self.objects if one == path or one.startswith(f"{path}/")]:
            del self.objects[place]
        return {}

    def list(self, path: str, **_query: str) -> dict[str, Any]:
        return {"items": [found for place, found in self.objects.items() if place.startswith(f"{path}/")]}

    def _check(self, verb: str, path: str) -> None:
        if failure := self.refuses.get((verb, path)):
            raise failure

    def _keep(self, place: str, body: dict[str, Any], *, dry: bool = False) -> dict[str, Any]:
        kept = json.loads(json.dumps(body))
        version = int(self.objects.get(place, {}).get("metadata", {}).get("resourceVersion", 0))
        kept["metadata"] |= {"resourceVersion": str(version + 1), "uid": "u"}
        if self.drops and "template" in kept.get("spec", {}):
            kept["spec"]["template"]["spec"].pop("hostUsers", None)
        if not dry:
            self.objects[place] = kept
        return cast("dict[str, Any]", json.loads(json.dumps(kept)))


def claimed(server: Server) -> StoredBuilder:
    """A builder without nodes."""
    lifecycle_create.claim_name(client(server), LOCATION, certificates.issue(certificates.NAMES, 3600))
    return StoredBuilder(location=LOCATION, nodes=())


def client(server: Server) -> KubeClient:
    return cast("KubeClient", server)


def order(**settings: Any) -> NodeRequest:
    return NodeRequest(settings=BuilderSettings(**settings))


def add(server: Server, record: StoredBuilder, asked: NodeRequest) -> StoredNode:
    return lifecycle_create.add_node(client(server), record, asked, UNKNOWN)


def test_who_insists_on_user_namespaces_gets_them_or_nothing() -> None:
    insisting = order(user_namespaces=UserNamespaces.TRUE, registries=Registries(insecure=("r.example",)))
    server = Server()
    node = add(server, claimed(server), insisting)
    assert "unprivileged user on its node" in node.plan.isolation
    dropping = Server(drops=True)
    record = claimed(dropping)
    with pytest.raises(Invalid, match="user-namespaces=true: the API server drops hostUsers"):
        add(dropping, record, insisting)
    assert list(dropping.objects) == [KEYS]
    plain = add(dropping, record, order())
    before = dropping.get(NODE)
    with pytest.raises(Invalid, match="drops hostUsers"):
        lifecycle_create.change_node(client(dropping), record, plain, insisting, UNKNOWN)
    assert dropping.get(NODE) == before


def test_a_change_names_the_pods_that_it_replaces() -> None:
    server = Server()
    record = claimed(server)
    node = add(server, record, order())
    server.create("/api/v1/namespaces/ci/pods", {"metadata": {"name": "kube0-a"}})
    record = replace(record, nodes=(node,))
    scaled = lifecycle_create.change_node(client(server), record, node, order(replicas=2), UNKNOWN)
    assert scaled.outdated == frozenset()
    changed = lifecycle_create.change_node(client(server), record, node, order(image="r.example/buildkit:1"), UNKNOWN)
    assert changed.outdated == {"kube0-a"}


def test_the_error_that_ended_the_making_is_told_and_what_stays_is_noted() -> None:
    server = Server()
    record = claimed(server)
    server.refuses = {
        ("create", NODE): Forbidden("exceeded quota", status=403),
        ("delete", "/api/v1/namespaces/ci/configmaps/kube0-config"): Throttled("busy", status=429),
    }
    with pytest.raises(Forbidden, match="exceeded quota") as caught:
        add(server, record, order(registries=Registries(insecure=("r.example",))))
    assert caught.value.__notes__ == ["busy"]


def test_each_nodes_login_for_images_is_kept() -> None:
    server = Server()
    record = claimed(server)

    def asked(**auths: str) -> NodeRequest:
        login = Secret(json.dumps({"auths": {host: {"auth": auth} for host, auth in auths.items()}}))
        return NodeRequest(settings=BuilderSettings(pull_login=True), pull_login=login)

    first = add(server, record, asked(a="1", b="1"))
    assert "immutable" not in server.get(PULL)
    server.meanwhile = [lambda: server.patch(PULL, {"data": {}, "metadata": {"annotations": {"by": "another"}}})]
    add(server, StoredBuilder(location=LOCATION, nodes=(first,)), asked(b="2", c="2"))
    found = json.loads(base64.b64decode(server.get(PULL)["data"][".dockerconfigjson"]))
    assert found == {"auths": {"a": {"auth": "1"}, "b": {"auth": "2"}, "c": {"auth": "2"}}}
    assert server.get(PULL)["metadata"]["annotations"]["by"] == "another"


def test_of_two_jobs_that_renew_certificates_both_have_the_same() -> None:
    server = Server()
    record = claimed(server)
    stopped = replace(add(server, record, order()), replicas=0)
    record = StoredBuilder(location=LOCATION, nodes=(stopped,))
    server.patch(KEYS, {"metadata": {"annotations": {labels.CERTIFICATES_EXPIRE: "2020-01-01T00:00:00Z"}}})
    theirs: list[Any] = []
    server.meanwhile = [lambda: theirs.append(lifecycle_create.read_usable_secret(client(server), record, warn=print))]
    ours = lifecycle_create.read_usable_secret(client(server), record, warn=print)
    assert theirs[0]["data"] == ours["data"] == server.get(KEYS)["data"]


@pytest.mark.parametrize(("retains", "kept"), [(True, ("state-kube0-0",)), (False, ())])
def test_a_node_that_leaves_takes_its_volumes_or_names_them(retains: bool, kept: tuple[str, ...]) -> None:
    server = Server()
    marks = lasting_objects.make_labels(LOCATION, "kube0")
    server.create(CLAIMS, {"metadata": {"name": "state-kube0-0", "labels": marks}})
    nodes = [
        records.read_node(
            Workload.STATEFUL_SET,
            {
                "metadata": {
                    "name": name,
                    "labels": lasting_objects.make_labels(LOCATION, name),
                    "annotations": {labels.RECLAIM: "retain"} if retains else {},
                },
                "spec": {"template": {"spec": {}}},
            },
        )
        for name in ("kube0", "kube1")
    ]
    assert (
        lifecycle_create.remove_node(client(server), StoredBuilder(location=LOCATION, nodes=tuple(nodes)), nodes[0])
        == kept
    )
    assert [place.rpartition("/")[2] for place in server.objects] == list(kept)


def test_volumes_that_a_node_left_behind_stay_when_the_builder_goes() -> None:
    """Their claims say so themselves; those of a node that nobody knows of do not."""
    server = Server()
    left = {**lasting_objects.make_labels(LOCATION, "left"), labels.RECLAIM: "retain"}
    server.create(CLAIMS, {"metadata": {"name": "state-left-0", "labels": left}})
    server.create(CLAIMS, {"metadata": {"name": "state-old-0", "labels": lasting_objects.make_labels(LOCATION, "old")}})
    assert volumes.list_retaining_nodes(client(server), StoredBuilder(location=LOCATION, nodes=())) == {"left"}
