import pytest

from ci_buildx.builder import labels, plan
from ci_buildx.builder.cluster_facts import ClusterFacts, KubeNode, Taint
from ci_buildx.builder.lifecycle import records
from ci_buildx.builder.manifests import objects
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import InputError
from ci_buildx.model import platform
from ci_buildx.model.platform import Platform
from ci_buildx.settings.builder import BuilderSettings, LoadBalance, Toleration

BOTH = ClusterFacts(
    nodes=(
        KubeNode(name="a1", architecture="amd64", labels={"pool": "ci"}),
        KubeNode(name="a2", architecture="amd64"),
        KubeNode(name="b1", architecture="arm64"),
    )
)
AMD64 = ClusterFacts(nodes=(KubeNode(name="a1", architecture="amd64"),))
UNKNOWN = ClusterFacts()
EMPTY = ClusterFacts(nodes=(KubeNode(name="a1", architecture="amd64", usable=False),))


def make(names: str, facts: ClusterFacts, **settings: object) -> Plan:
    platforms = [platform.parse_platform(name) for name in names.split()]
    return plan.make_plan(platforms, facts, BuilderSettings(**settings))  # type: ignore[arg-type]


def shape(made: Plan) -> dict[str, tuple[list[str], list[str]]]:
    return {
        node.name: ([str(each) for each in node.platforms], [str(each) for each in node.emulated])
        for node in made.nodes
    }


@pytest.mark.parametrize(
    ("names", "facts", "expected"),
    [
        ("", UNKNOWN, {"amd64": (["linux/amd64"], [])}),
        ("", EMPTY, {"amd64": (["linux/amd64"], [])}),
        ("", BOTH, {"amd64": (["linux/amd64"], [])}),
        ("linux/amd64", BOTH, {"amd64": (["linux/amd64"], [])}),
        (
            "linux/amd64 linux/arm64",
            BOTH,
            {"amd64": (["linux/amd64"], []), "arm64": (["linux/arm64"], [])},
        ),
        (
            "linux/386 linux/arm/v7 linux/amd64/v3",
            BOTH,
            {"amd64": (["linux/386", "linux/amd64/v3"], []), "arm64": (["linux/arm/v7"], [])},
        ),
        (
            "linux/amd64 linux/arm64",
            AMD64,
            {"amd64": (["linux/amd64", "linux/arm64"], ["linux/arm64"])},
        ),
        ("linux/s390x", BOTH, {"amd64": (["linux/s390x"], ["linux/s390x"])}),
        (
            "linux/amd64 linux/arm64",
            UNKNOWN,
            {"amd64": (["linux/amd64"], []), "arm64": (["linux/arm64"], [])},
        ),
        ("linux/arm64", EMPTY, {"arm64": (["linux/arm64"], [])}),
        ("linux/amd64 linux/amd64", BOTH, {"amd64": (["linux/amd64"], [])}),
    ],
)
def test_nodes_and_their_platforms(names: str, facts: ClusterFacts, expected: dict[str, object]) -> None:
    assert shape(make(names, facts)) == expected


@pytest.mark.parametrize(
    ("names", "facts", "reasons"),
    [
        ("linux/arm64", BOTH, ["linux/arm64: native on 1 node"]),
        ("linux/386 linux/amd64", BOTH, ["linux/386, linux/amd64: native on 2 nodes"]),
        ("linux/arm64", AMD64, ["linux/arm64: emulated on amd64: the cluster has no arm64 node"]),
        (
            "linux/amd64 linux/arm64",
            AMD64,
            ["linux/amd64: native on 1 node; linux/arm64: emulated on amd64: the cluster has no arm64 node"],
        ),
        ("linux/arm64", UNKNOWN, ["linux/arm64: native by scheduling: listing cluster nodes is not allowed"]),
        ("linux/arm64", EMPTY, ["linux/arm64: native by scheduling: no ready cluster node fits yet"]),
    ],
)
def test_reason_is_one_line_for_the_log(names: str, facts: ClusterFacts, reasons: list[str]) -> None:
    assert [node.reason for node in make(names, facts).nodes] == reasons


def test_only_nodes_that_the_selector_matches_count() -> None:
    made = make("linux/amd64 linux/arm64", BOTH, nodeselector=(("pool", "ci"),))
    assert shape(made) == {"amd64": (["linux/amd64", "linux/arm64"], ["linux/arm64"])}


def test_an_architecture_in_the_selector_is_the_only_one() -> None:
    made = make("linux/amd64 linux/arm64", BOTH, nodeselector=(("kubernetes.io/arch", "arm64"),))
    assert shape(made) == {"arm64": (["linux/arm64", "linux/amd64"], ["linux/amd64"])}
    assert make("", BOTH, nodeselector=(("kubernetes.io/arch", "arm64"),)).nodes[0].architecture == "arm64"


def test_replicas_are_per_node() -> None:
    assert [node.replicas for node in make("linux/amd64 linux/arm64", BOTH, replicas=3).nodes] == [3, 3]


def test_an_unschedulable_architecture_is_emulated_in_another_node() -> None:
    replanned = plan.replan(make("linux/amd64 linux/arm64 linux/arm/v7", UNKNOWN), "arm64")
    assert replanned is not None
    assert shape(replanned) == {
        "amd64": (["linux/amd64", "linux/arm64", "linux/arm/v7"], ["linux/arm64", "linux/arm/v7"])
    }
    assert "linux/arm64: emulated on amd64: no arm64 node can be scheduled" in replanned.nodes[0].reason


def test_there_is_no_other_plan_for_the_only_node() -> None:
    assert plan.replan(make("linux/arm64", UNKNOWN), "arm64") is None


KEPT = make("linux/amd64 linux/s390x linux/arm64", BOTH)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("", {"amd64": ([], [])}),
        ("linux/arm64", {"arm64": (["linux/arm64"], [])}),
        ("linux/s390x linux/amd64", {"amd64": (["linux/s390x", "linux/amd64"], ["linux/s390x"])}),
        ("linux/arm/v7", {"arm64": (["linux/arm/v7"], [])}),
    ],
)
def test_a_kept_builder_builds_what_is_asked(names: str, expected: dict[str, object]) -> None:
    assert shape(plan.narrow(KEPT, [platform.parse_platform(name) for name in names.split()])) == expected


def test_a_kept_builder_names_what_it_cannot_build() -> None:
    with pytest.raises(InputError, match="--platform: no node of the builder builds linux/riscv64; it has amd64") as it:
        plan.narrow(KEPT, [platform.parse_platform("linux/riscv64")])
    assert it.value.fix.endswith("input platforms of org/kube-builder/setup, or with kube-builder create --append")


def test_how_replicas_are_balanced_is_part_of_the_plan_and_of_what_is_read_again() -> None:
    settings = BuilderSettings(replicas=3, loadbalance=LoadBalance.RANDOM)
    (node,) = plan.make_plan((), ClusterFacts(), settings).nodes
    assert node.loadbalance is LoadBalance.RANDOM
    noted = objects.make_node_annotations(node)[labels.LOADBALANCE]
    assert records.read_loadbalance(noted) is LoadBalance.RANDOM
    assert records.read_loadbalance("") is LoadBalance.STICKY


@pytest.mark.parametrize("facts", [BOTH, UNKNOWN])
def test_without_a_platform_all_accounts_build_the_same(facts: ClusterFacts) -> None:
    """Also where most nodes are of the other architecture."""
    more = () if facts.nodes is None else (KubeNode(name="b2", architecture="arm64"),) * 9
    (only,) = make("", facts if facts.nodes is None else ClusterFacts(nodes=(*facts.nodes, *more))).nodes
    assert only.platforms == (Platform("linux", "amd64"),)
    assert only.reason.startswith("linux/amd64: by default, because no platform is set")


def test_without_a_platform_a_cluster_without_such_nodes_builds_for_its_own() -> None:
    (only,) = make("", ClusterFacts(nodes=(KubeNode(name="b", architecture="arm64"),))).nodes
    assert (only.architecture, only.by_scheduling) == ("arm64", False)


def test_a_tainted_node_is_native_where_that_is_tolerated_and_named_where_not() -> None:
    tainted = KubeNode(name="b", architecture="arm64", taints=(Taint("only", "arm"),))
    facts = ClusterFacts(nodes=(KubeNode(name="a", architecture="amd64"), tainted))
    assert shape(make("linux/amd64 linux/arm64", facts)) == {"amd64": (["linux/amd64", "linux/arm64"], ["linux/arm64"])}
    assert (
        "cluster node b is reserved by taint only=arm:NoSchedule"
        in make("linux/amd64 linux/arm64", facts).nodes[0].reason
    )
    both = make("linux/amd64 linux/arm64", facts, tolerations=(Toleration(key="only", operator="Exists"),))
    assert [node.architecture for node in both.nodes] == ["amd64", "arm64"]


def plan_node(architecture: str, isolation: str, reason: str = "") -> NodePlan:
    reason = reason or f"linux/{architecture}: native on 1 node"
    return NodePlan(name=architecture, architecture=architecture, platforms=(), reason=reason, isolation=isolation)


def test_nodes_that_are_isolated_alike_take_two_lines_in_the_log() -> None:
    planned = Plan(nodes=(plan_node("amd64", "user namespace"), plan_node("arm64", "user namespace")))
    assert plan.describe_nodes(planned) == [
        "linux/amd64: native on 1 node; linux/arm64: native on 1 node",
        "user namespace",
    ]


def test_each_way_in_which_nodes_are_isolated_names_its_nodes() -> None:
    names = {"amd64": "user namespace", "arm64": "privileged", "s390x": "user namespace"}
    planned = Plan(nodes=tuple(plan_node(name, isolation) for name, isolation in names.items()))
    assert plan.describe_nodes(planned)[1:] == ["amd64, s390x: user namespace", "arm64: privileged"]
    assert plan.describe_nodes(Plan(nodes=(plan_node("amd64", ""),))) == ["linux/amd64: native on 1 node"]
