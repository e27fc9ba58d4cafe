"""Making and changing lasting builders where the API server takes things otherwise, or others are faster."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Workload
from ci_buildx.builder.cluster_facts import ClusterFacts
from ci_buildx.builder.lifecycle import create as lifecycle_create
from ci_buildx.builder.lifecycle import records, volumes
from ci_buildx.builder.lifecycle.create import NodeRequest
from ci_buildx.builder.lifecycle.records import StoredBuilder, StoredNode
from ci_buildx.builder.manifests import lasting_objects
from ci_buildx.errors import Forbidden, Invalid, Throttled
from ci_buildx.model.record import replace
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings, Registries, UserNamespaces
from tests.unit.builder.lifecycle.memory_server import KEYS, LOCATION, NODE, Server, claimed, client, order

PULL = "/api/v1/namespaces/ci/secrets/kube-pull"
CLAIMS = "/api/v1/namespaces/ci/persistentvolumeclaims"
UNKNOWN = ClusterFacts()
"""Nodes may not be listed."""


def add(server: Server, record: StoredBuilder, asked: NodeRequest) -> StoredNode:
    return lifecycle_create.add_node(client(server), record, asked, UNKNOWN)


def test_who_insists_on_user_namespaces_gets_them_or_nothing() -> None:
    insisting = order(user_namespaces=UserNamespaces.TRUE, registries=Registries(insecure=("r.example",)))
    server = Server()
    node = add(server, claimed(server), insisting)
    assert "unprivileged user on its cluster node" in node.plan.isolation
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
