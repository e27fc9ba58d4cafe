"""The nodes of a builder, and the platforms that each of them builds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ci_buildx.builder import pods
from ci_buildx.builder.labels import ARCHITECTURE
from ci_buildx.errors import InputError
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, replace
from ci_buildx.settings.builder import BuilderSettings, LoadBalance, ReplicaRange

if TYPE_CHECKING:
    from ci_buildx.builder.cluster_facts import ClusterFacts


DEFAULT = "amd64"
"""Architecture to build if no platform is set: the same for all accounts and runs, whatever nodes they see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """One node of a builder: ``replicas`` equal pods.

    ``architecture`` is the cluster nodes' ``kubernetes.io/arch``, None for any. ``platforms`` are all platforms that
    are built here, empty for the native ones; ``emulated`` are those of them that run by emulation. ``by_scheduling``
    means that it is unknown whether a fitting cluster node exists; if the pods cannot be scheduled, another node may
    emulate. ``runs`` are the platforms that its buildkitd last reported, its own first; empty if it was not asked yet.

    ``user_namespace``: root in its pods is unprivileged on the cluster node; ``isolation`` confirms this or explains
    why not; ``hosts`` are the only cluster nodes with user namespaces, if others have none. ``loadbalance`` is how one
    of several replicas is chosen, ``max_builds`` the maximum of concurrent builds in each, 0 for unbounded. With
    ``scaling``, the number of replicas follows the builds. ``reason`` explains the plan in one line.
    """

    name: str
    architecture: str | None
    platforms: tuple[Platform, ...] = ()
    emulated: tuple[Platform, ...] = ()
    replicas: int = 1
    by_scheduling: bool = False
    runs: tuple[Platform, ...] = ()
    user_namespace: bool = False
    isolation: str = ""
    hosts: tuple[str, ...] = ()
    loadbalance: LoadBalance = LoadBalance.STICKY
    max_builds: int = 0
    scaling: ReplicaRange | None = None
    reason: str = ""

    @property
    def native(self) -> str | None:
        """Return the architecture that runs without emulation, None if it is not known yet."""
        return self.architecture or (self.runs[0].node_architecture if self.runs else None)

    @property
    def pooled(self) -> bool:
        """Return whether builds have to know of each other: they choose between pods, or their number is bounded."""
        return self.replicas > 1 or self.max_builds > 0 or self.scaling is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The nodes of a builder, at least one."""

    nodes: tuple[NodePlan, ...]


def make_plan(platforms: Sequence[Platform], facts: ClusterFacts, settings: BuilderSettings) -> Plan:
    """Plan one node for each architecture that the cluster has natively; one of them emulates all others.

    If no cluster node is known to fit (or listing them is forbidden), the scheduler decides: the plan has a node for
    each architecture, and :func:`replan` corrects it if one turns out to be unschedulable.
    """
    from ci_buildx.builder.pool.placement import choose_most_builds  # only creation needs it

    nodes, most = _plan_nodes(platforms, facts, settings), choose_most_builds(settings)
    if settings.scaling is not None and not most:
        fix = "add max-builds: pods are added when all of their slots are taken"
        raise InputError("a range of replicas requires a bound on their builds", source="driver-opt replicas", fix=fix)
    return Plan(
        nodes=tuple(
            replace(node, loadbalance=settings.loadbalance, max_builds=most, scaling=settings.scaling) for node in nodes
        )
    )


def describe_nodes(planned: Plan) -> list[str]:
    """Return a line with the reasons for the choice of nodes, and one for each way in which pods are isolated."""
    reasons = "; ".join(node.reason for node in planned.nodes if node.reason)
    return [*([reasons] if reasons else []), *describe_isolation(planned)]


def describe_isolation(planned: Plan) -> list[str]:
    """Return how the pods are isolated; if not all of them alike, each line begins with the nodes that it is about."""
    groups: dict[str, list[str]] = {}
    for node in planned.nodes:
        groups.setdefault(node.isolation, []).append(node.name)
    return [
        isolation if len(groups) == 1 else f"{', '.join(names)}: {isolation}"
        for isolation, names in groups.items()
        if isolation
    ]


def _plan_nodes(platforms: Sequence[Platform], facts: ClusterFacts, settings: BuilderSettings) -> tuple[NodePlan, ...]:
    selector = dict(settings.nodeselector)
    chosen = selector.pop(ARCHITECTURE, None)
    counted = facts.count(selector, settings.tolerations)
    if not platforms:
        return (_plan_default(chosen, counted, facts, settings),)
    groups = _group(platforms)
    if chosen is not None:
        return (_plan_selected(chosen, groups, settings.replicas),)
    if not counted:
        return tuple(_plan_by_scheduling(*group, settings.replicas, facts) for group in groups.items())
    whys = {one: facts.explain_none(one, selector, settings.tolerations) for one in groups if one not in counted}
    return _plan_known_nodes(groups, counted, whys, settings.replicas)


def plan_lasting_node(
    name: str, platforms: Sequence[Platform], facts: ClusterFacts, settings: BuilderSettings
) -> NodePlan:
    """Plan one node of a lasting builder, which builds all ``platforms``, natively or by emulation.

    Its pods start many times; they stay on one architecture, so that the default platform does not change.
    """
    planned = make_plan(platforms, facts, settings).nodes
    first, foreign = planned[0], [platform for node in planned[1:] for platform in node.platforms]
    reasons = [
        first.reason,
        *(_describe_emulation(one, first.architecture, "the node is for several") for one in foreign),
    ]
    return replace(
        first,
        name=name,
        platforms=tuple(dict.fromkeys(platforms)),
        emulated=(*first.emulated, *foreign),
        by_scheduling=False,
        reason="; ".join(reason for reason in reasons if reason),
    )


def replan(plan: Plan, architecture: str) -> Plan | None:
    """Return the plan without the unschedulable nodes of ``architecture``; another node emulates their platforms.

    Returns None if there is no other node.
    """
    lost = [node for node in plan.nodes if node.architecture == architecture]
    kept = [node for node in plan.nodes if node.architecture != architecture]
    if not kept:
        return None
    host = kept[0]
    moved = tuple(platform for node in lost for platform in node.platforms)
    why = f"no {architecture} node can be scheduled"
    reasons = [host.reason, *(_describe_emulation(platform, host.architecture, why) for platform in moved)]
    host = replace(
        host,
        platforms=(*host.platforms, *moved),
        emulated=(*host.emulated, *moved),
        reason="; ".join(reason for reason in reasons if reason),
    )
    return Plan(nodes=(host, *kept[1:]))


_MAKERS = "in input platforms of org/kube-builder/setup, or with kube-builder create --append"
"""Where a builder for later builds gets its platforms."""


def narrow(plan: Plan, platforms: Sequence[Platform], *, key: str = "") -> Plan:
    """Return the part of an existing builder's plan that builds ``platforms``.

    Without platforms, the result is one node that builds its own platform. ``key`` chooses consistently among nodes
    that build a platform equally well. Raises InputError with the platforms that no node builds.
    """
    if not platforms:
        first = plan.nodes[0]
        alike = [node for node in plan.nodes if (node.platforms, node.native) == (first.platforms, first.native)]
        return Plan(nodes=(replace(_choose_balanced(alike, key), platforms=(), emulated=()),))
    chosen: dict[str, tuple[Platform, ...]] = {}
    missing = []
    for platform in dict.fromkeys(platforms):
        able = _select_able_nodes(plan, platform)
        if able:
            node = _choose_balanced(able, key)
            chosen[node.name] = (*chosen.get(node.name, ()), platform)
        else:
            missing.append(platform)
    if missing:
        known = ", ".join(
            f"{node.name} ({_join_names(node.platforms or node.runs) or node.native})" for node in plan.nodes
        )
        raise InputError(
            f"no node of the builder builds {_join_names(missing)}",
            source="--platform",
            fix=f"it has {known}; name all platforms where the builder is made: {_MAKERS}",
        )
    return Plan(nodes=tuple(_restrict(node, chosen[node.name]) for node in plan.nodes if node.name in chosen))


def _select_able_nodes(plan: Plan, platform: Platform) -> list[NodePlan]:
    """Return the nodes that suit a platform best: made for it, else native, else emulating, else unknown.

    A buildkitd that does not report a platform may still have an emulator for it; such nodes come last.
    """
    preferences = (
        [node for node in plan.nodes if platform in node.platforms],
        [node for node in plan.nodes if node.native == platform.node_architecture],
        [node for node in plan.nodes if platform in node.runs],
        [node for node in plan.nodes if node.native is None],
        [node for node in plan.nodes if node.runs],
    )
    return next((nodes for nodes in preferences if nodes), [])


def _choose_balanced(nodes: Sequence[NodePlan], key: str) -> NodePlan:
    """Choose one of several equal nodes, in proportion to their number of pods."""
    if len(nodes) == 1:
        return nodes[0]
    shares = {f"{node.name}/{replica}": node for node in nodes for replica in range(node.replicas)}
    return shares[pods.choose_pod(key, shares)]


def _restrict(node: NodePlan, platforms: tuple[Platform, ...]) -> NodePlan:
    emulated = tuple(one for one in platforms if node.native not in (None, one.node_architecture))
    return replace(node, platforms=platforms, emulated=emulated)


def _group(platforms: Sequence[Platform]) -> dict[str, tuple[Platform, ...]]:
    """Group platforms by the architecture that runs them natively, without duplicates, in the order given."""
    groups: dict[str, tuple[Platform, ...]] = {}
    for platform in dict.fromkeys(platforms):
        architecture = platform.node_architecture
        groups[architecture] = (*groups.get(architecture, ()), platform)
    return groups


def _plan_default(
    chosen: str | None, counted: dict[str, int], facts: ClusterFacts, settings: BuilderSettings
) -> NodePlan:
    """Plan the node of a build without platforms.

    The architecture is the nodeselector's, else DEFAULT; if no cluster node has DEFAULT, the commonest one. If listing
    cluster nodes is forbidden, the scheduler decides whether one fits.
    """
    if chosen is not None:
        architecture, why = chosen, " (the nodeselector)"
    elif DEFAULT in counted or facts.nodes is None or not counted:
        architecture, why = DEFAULT, ""
    else:
        architecture, why = _choose_commonest(counted), f" (no {DEFAULT} node fits)"
    platform = Platform("linux", architecture)
    return NodePlan(
        name=architecture,
        architecture=architecture,
        platforms=(platform,),
        replicas=settings.replicas,
        by_scheduling=chosen is None and not counted,
        reason=f"{platform}: by default, because no platform is set{why}; set --platform for another",
    )


def _choose_commonest(counted: dict[str, int]) -> str:
    return min(counted, key=lambda architecture: (-counted[architecture], architecture))


def _plan_selected(architecture: str, groups: dict[str, tuple[Platform, ...]], replicas: int) -> NodePlan:
    """Plan one node that builds everything on the architecture in the user's nodeselector."""
    native = groups.get(architecture, ())
    emulated = tuple(platform for group in groups.values() for platform in group if platform not in native)
    why = "the nodeselector does not name another architecture"
    reasons = [f"{_join_names(native)}: native, according to the nodeselector"] if native else []
    reasons += [_describe_emulation(platform, architecture, why) for platform in emulated]
    return NodePlan(
        name=architecture,
        architecture=architecture,
        platforms=(*native, *emulated),
        emulated=emulated,
        replicas=replicas,
        reason="; ".join(reasons),
    )


def _plan_by_scheduling(
    architecture: str, platforms: tuple[Platform, ...], replicas: int, facts: ClusterFacts
) -> NodePlan:
    why = "listing cluster nodes is not allowed" if facts.nodes is None else "no ready cluster node fits yet"
    reason = f"{_join_names(platforms)}: native by scheduling: {why}"
    return NodePlan(
        name=architecture,
        architecture=architecture,
        platforms=platforms,
        replicas=replicas,
        by_scheduling=True,
        reason=reason,
    )


def _plan_known_nodes(
    groups: dict[str, tuple[Platform, ...]], counted: dict[str, int], whys: dict[str, str], replicas: int
) -> tuple[NodePlan, ...]:
    native = [architecture for architecture in groups if architecture in counted]
    if not native:
        native = [_choose_commonest(counted)]
    foreign = [platform for architecture, group in groups.items() if architecture not in native for platform in group]
    nodes = [_make_native_node(name, groups.get(name, ()), counted[name], replicas) for name in native]
    if foreign:
        nodes[0] = _add_emulation(nodes[0], foreign, whys)
    return tuple(nodes)


def _make_native_node(architecture: str, platforms: tuple[Platform, ...], count: int, replicas: int) -> NodePlan:
    where = f"{count} node{'' if count == 1 else 's'}"
    reason = f"{_join_names(platforms)}: native on {where}" if platforms else ""
    return NodePlan(name=architecture, architecture=architecture, platforms=platforms, replicas=replicas, reason=reason)


def _add_emulation(node: NodePlan, foreign: Sequence[Platform], whys: dict[str, str]) -> NodePlan:
    reasons = [node.reason] if node.reason else []
    reasons += [
        _describe_emulation(platform, node.architecture, whys[platform.node_architecture]) for platform in foreign
    ]
    return replace(node, platforms=(*node.platforms, *foreign), emulated=tuple(foreign), reason="; ".join(reasons))


def _describe_emulation(platform: Platform, architecture: str | None, why: str) -> str:
    return f"{platform}: emulated on {architecture or 'any node'}: {why}"


def _join_names(platforms: Sequence[Platform]) -> str:
    return ", ".join(str(platform) for platform in platforms)
