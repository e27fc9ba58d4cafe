"""Rights that kube-builder needs, as tables: the source of docs/rbac and of the questions of `doctor`.

Verbs as in RBAC (kubernetes 1.34, ``pkg/apis/rbac/types.go``). A tunnel is an upgraded GET: servers up to 1.34 require
``get`` on pods/exec and pods/portforward, from 1.35 on ``create``; so roles grant both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from ci_buildx.model.record import dataclass

REAPER = "kube-builder-reaper"
"""Name of the reaper's CronJob, account and role."""
INSIDE = "kube-builder-inside"
"""ClusterRole that a job binds to itself in the namespace that it has created; it is bound nowhere else."""
RBAC_GROUP = "rbac.authorization.k8s.io"
GRANT_GROUP = "kube-builder.dev"
GRANT_RESOURCE = "builders"
"""Resource that exists only in RBAC: verbs on it lift rules of the admission policies."""
UNCONFINE = "unconfine"
"""Verb that allows privileged pods without a user namespace."""
USE_HOST = "use-host"
"""Verb that allows the network, processes, ports and folders of the host."""


class RightsMode(StrEnum):
    """Mode of use; each has its own rights.

    ``NAMESPACE``: builds in an existing namespace. ``JOBS``: builds that create their own. ``REAPER``: the reaper.
    ``LISTING``: users who look for lasting builders in all namespaces. ``LOOKING``: builds in an existing namespace
    that need facts about the cluster.
    """

    NAMESPACE = "namespace"
    JOBS = "jobs"
    REAPER = "reaper"
    LISTING = "listing"
    LOOKING = "looking"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRule:
    """One rule of a Role: ``verbs`` on ``resources`` of one API ``group``, and ``why`` they are needed.

    ``names`` limits it to objects with these names. ``vital``: the mode does not work at all without it.
    """

    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str
    group: str = ""
    names: tuple[str, ...] = ()
    vital: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessQuestion:
    """One question to the API server: may this user do ``verb`` on ``resource``?

    ``namespace`` is "" for the whole cluster.
    """

    verb: str
    resource: str
    group: str = ""
    name: str = ""
    namespace: str = ""
    why: str = ""
    vital: bool = True


BUILDING: tuple[RoleRule, ...] = (
    RoleRule(
        group="batch",
        resources=("jobs",),
        verbs=("create", "get", "list", "patch", "delete", "deletecollection"),
        why="the workload of each node",
    ),
    RoleRule(
        resources=("pods",),
        verbs=("get", "list", "watch", "deletecollection"),
        why="watch its pods while they start; delete them first at the end",
    ),
    RoleRule(
        resources=("pods/portforward", "pods/exec"),
        verbs=("get", "create"),
        why="tunnels to buildkitd: API servers up to 1.34 check get, from 1.35 on create",
    ),
    RoleRule(
        resources=("secrets", "configmaps"),
        verbs=("create", "get", "list", "deletecollection"),
        why="the builder's certificates and its buildkitd.toml",
    ),
    RoleRule(
        group="coordination.k8s.io",
        resources=("leases",),
        verbs=("create", "get", "list", "watch", "patch", "delete"),
        why="a Lease that a running job renews, so that a killed job is detected; slots and queue of builds that share "
        "pods",
        vital=False,
    ),
    RoleRule(
        group="networking.k8s.io",
        resources=("networkpolicies",),
        verbs=("create", "get"),
        why="the NetworkPolicy of driver-opt network-policy",
        vital=False,
    ),
    RoleRule(
        resources=("events",),
        verbs=("list", "watch"),
        why="why a pod does not start",
        vital=False,
    ),
)
"""Rights inside the namespace that holds the builder, regardless of who created it."""

KEEPING: tuple[RoleRule, ...] = (
    RoleRule(
        group="apps",
        resources=("deployments", "statefulsets"),
        verbs=("create", "get", "list", "watch", "patch", "delete", "deletecollection"),
        why="the nodes of lasting builders",
        vital=False,
    ),
    RoleRule(
        resources=("secrets", "configmaps"),
        verbs=("patch", "delete"),
        why="renew their certificates, and update their record and their nodes' files",
        vital=False,
    ),
    RoleRule(
        group="networking.k8s.io",
        resources=("networkpolicies",),
        verbs=("list", "patch", "deletecollection"),
        why="their NetworkPolicies, updated and deleted with them",
        vital=False,
    ),
    RoleRule(
        resources=("persistentvolumeclaims",),
        verbs=("get", "list", "delete", "deletecollection"),
        why="their volumes, deleted with them",
        vital=False,
    ),
    RoleRule(
        resources=("pods",),
        verbs=("patch",),
        why="which idle pods of an elastic builder are removed first (replicas=MIN..MAX)",
        vital=False,
    ),
    RoleRule(
        resources=("pods/log",),
        verbs=("get",),
        why="kube-builder logs",
        vital=False,
    ),
)
"""Additional rights that lasting builders (`kube-builder create`) need in their namespace."""

LEAVING: tuple[RoleRule, ...] = (
    RoleRule(
        resources=("namespaces",),
        verbs=("delete",),
        why="the job's own namespace: the role is bound inside it, so no other one is affected",
    ),
)
"""Additional rights that a job needs in a namespace that is deleted with the builder."""

ENTERING: tuple[RoleRule, ...] = (
    RoleRule(
        resources=("namespaces",),
        verbs=("create", "get"),
        why="the job's own namespace; the policy restricts its name, labels and creator",
    ),
    RoleRule(
        group=RBAC_GROUP,
        resources=("rolebindings",),
        verbs=("create",),
        why="the job binds its role in the namespace that it has created; the policy allows this only there",
    ),
    RoleRule(
        group=RBAC_GROUP,
        resources=("clusterroles",),
        verbs=("bind",),
        names=(INSIDE,),
        why="bind this role, and no other",
    ),
)
"""Rights that a job needs outside the namespace that it creates."""

LOOKING: tuple[RoleRule, ...] = (
    RoleRule(
        resources=("nodes",),
        verbs=("list",),
        why="the cluster's architectures, and which nodes are cordoned; without this right, the scheduler decides",
        vital=False,
    ),
    RoleRule(
        group="networking.k8s.io",
        resources=("servicecidrs",),
        verbs=("list",),
        why="the cluster's own addresses for NO_PROXY, with driver-opt proxy",
        vital=False,
    ),
    RoleRule(
        resources=("configmaps",),
        verbs=("get",),
        names=("cluster-autoscaler-status",),
        why="whether the cluster adds nodes; without this right, a pod that fits no node fails later",
        vital=False,
    ),
    RoleRule(
        group="batch",
        resources=("cronjobs",),
        verbs=("list",),
        names=(REAPER,),
        why="whether the reaper is installed; without this right, doctor does not know",
        vital=False,
    ),
    RoleRule(
        group="storage.k8s.io",
        resources=("storageclasses",),
        verbs=("list",),
        why="which volumes lasting builders can have; without this right, doctor does not know",
        vital=False,
    ),
)
"""Optional rights that improve a builder's plan."""

SWEEPING: tuple[RoleRule, ...] = (
    RoleRule(
        resources=("namespaces",),
        verbs=("list",),
        why="find leftovers of this account's expired jobs",
        vital=False,
    ),
)
"""Optional rights that let a job clean up after other jobs of its account."""

REAPING: tuple[RoleRule, ...] = (
    RoleRule(
        resources=("namespaces",),
        verbs=("list", "get", "delete"),
        why="leftovers of expired jobs; the policy permits deleting only builders' namespaces",
    ),
    RoleRule(
        group="coordination.k8s.io",
        resources=("leases",),
        verbs=("list",),
        why="the Leases of running jobs",
        vital=False,
    ),
)
"""Rights of `kube-builder reap` in the whole cluster. A namespace's contents are deleted with it."""


LISTING: tuple[RoleRule, ...] = (
    RoleRule(
        group="apps",
        resources=("deployments", "statefulsets"),
        verbs=("list",),
        why="the nodes of lasting builders in all namespaces: kube-builder ls, and names without --namespace",
    ),
    RoleRule(
        group="batch",
        resources=("jobs",),
        verbs=("list",),
        why="the builders of jobs, for kube-builder ls --all",
        vital=False,
    ),
    RoleRule(
        resources=("pods",),
        verbs=("list",),
        why="the status of each node's pods",
        vital=False,
    ),
)
"""Rights of `kube-builder ls` for all namespaces; without them, it lists the context's namespace or a named one."""


def list_questions(rules: Iterable[RoleRule], namespace: str = "") -> Iterator[AccessQuestion]:
    """Yield one question for each verb on each resource of ``rules``."""
    for rule in rules:
        for resource in rule.resources:
            for verb in rule.verbs:
                for name in rule.names or ("",):
                    yield AccessQuestion(
                        verb=verb,
                        resource=resource,
                        group=rule.group,
                        name=name,
                        namespace=namespace,
                        why=rule.why,
                        vital=rule.vital,
                    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRights:
    """What a group of commands needs: ``rules`` in one namespace, or in the whole cluster if ``everywhere``.

    ``mode`` is the one whose roles contain them.
    """

    commands: str
    rules: tuple[RoleRule, ...]
    mode: RightsMode
    everywhere: bool = False


def _select_vital(rules: Iterable[RoleRule]) -> tuple[RoleRule, ...]:
    return tuple(rule for rule in rules if rule.vital)


COMMANDS: tuple[CommandRights, ...] = (
    CommandRights(commands="build, with a namespace of its own", rules=ENTERING, mode=RightsMode.JOBS, everywhere=True),
    CommandRights(commands="build --namespace", rules=_select_vital(BUILDING), mode=RightsMode.NAMESPACE),
    CommandRights(
        commands="create, stop, scale, rm", rules=(*_select_vital(BUILDING), *KEEPING[:2]), mode=RightsMode.NAMESPACE
    ),
    CommandRights(commands="logs", rules=KEEPING[4:], mode=RightsMode.NAMESPACE),
    CommandRights(
        commands="ls in all namespaces", rules=_select_vital(LISTING), mode=RightsMode.LISTING, everywhere=True
    ),
    CommandRights(commands="reap", rules=_select_vital(REAPING), mode=RightsMode.REAPER, everywhere=True),
)
"""Commands and the rights without which they do not work."""
