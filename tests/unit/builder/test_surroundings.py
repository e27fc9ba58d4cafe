"""What no proxy is asked for: the cluster's own addresses."""

from __future__ import annotations

from ci_buildx.builder import daemon, identity
from ci_buildx.builder.builder import Location
from ci_buildx.builder.draft import Draft
from ci_buildx.builder.facts import ClusterFacts, NodeFact
from ci_buildx.builder.identity import Origin
from ci_buildx.builder.surroundings import ranges_of
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings, Proxy

NODES = [
    NodeFact(name=f"n{number}", architecture="amd64", ranges=(f"10.1.{number}.0/24", f"fd00:{number}::/64"))
    for number in range(4)
]


def test_ranges_of_neighbouring_nodes_are_one() -> None:
    found = ranges_of([{"spec": {"cidrs": ["10.96.0.0/12"]}}], ClusterFacts(nodes=tuple(NODES)))
    assert found[:2] == ("10.96.0.0/12", "10.1.0.0/22")
    assert len(found) == 6
    assert ranges_of([], ClusterFacts()) == ()


def test_the_variables_are_in_the_secret_and_except_the_cluster() -> None:
    proxy = Proxy(http=Secret("http://u:p@proxy.example"), no_proxy=("corp.example", "localhost"))
    draft = Draft(
        identity=identity.make(Origin(system="local", repository="x"), suffix="s"),
        location=Location(name="b", namespace="b"),
        settings=BuilderSettings(proxy=proxy),
        expires="",
        cluster_ranges=("10.96.0.0/12",),
    )
    assert daemon.proxy_files(draft) == {
        "HTTP_PROXY": b"http://u:p@proxy.example",
        "NO_PROXY": b"corp.example,localhost,127.0.0.1,::1,.svc,.cluster.local,10.96.0.0/12",
    }
    assert [one["name"] for one in daemon.variables(draft)] == ["KUBE_BUILDER_POD_IP", "HTTP_PROXY", "NO_PROXY"]
    assert "u:p" not in repr(daemon.variables(draft))
