"""What no proxy is asked for: the cluster's own addresses."""

from __future__ import annotations

from ci_buildx.builder import identity
from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.cluster_facts import ClusterFacts, KubeNode, list_ranges
from ci_buildx.builder.identity import JobOrigin
from ci_buildx.builder.manifests import buildkitd
from ci_buildx.builder.manifests.draft import BuilderSpec
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderProxy, BuilderSettings

NODES = [
    KubeNode(name=f"n{number}", architecture="amd64", ranges=(f"10.1.{number}.0/24", f"fd00:{number}::/64"))
    for number in range(4)
]


def test_ranges_of_neighbouring_nodes_are_one() -> None:
    found = list_ranges([{"spec": {"cidrs": ["10.96.0.0/12"]}}], ClusterFacts(nodes=tuple(NODES)))
    assert found[:2] == ("10.96.0.0/12", "10.1.0.0/22")
    assert len(found) == 6
    assert list_ranges([], ClusterFacts()) == ()


def test_the_variables_are_in_the_secret_and_except_the_cluster() -> None:
    proxy = BuilderProxy(http=Secret("http://u:p@proxy.example"), no_proxy=("corp.example", "localhost"))
    draft = BuilderSpec(
        identity=identity.make_identity(JobOrigin(system="local", repository="x"), suffix="s"),
        location=BuilderLocation(name="b", namespace="b"),
        settings=BuilderSettings(proxy=proxy),
        expires="",
        cluster_ranges=("10.96.0.0/12",),
    )
    assert buildkitd.make_proxy_files(draft) == {
        "HTTP_PROXY": b"http://u:p@proxy.example",
        "NO_PROXY": b"corp.example,localhost,127.0.0.1,::1,.svc,.cluster.local,10.96.0.0/12",
    }
    assert [one["name"] for one in buildkitd.make_variables(draft)] == ["KUBE_BUILDER_POD_IP", "HTTP_PROXY", "NO_PROXY"]
    assert "u:p" not in repr(buildkitd.make_variables(draft))
