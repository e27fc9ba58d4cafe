"""What the product must be allowed to do, as tables: docs/rbac and the questions of `doctor` come from here.

Verbs as RBAC has them (kubernetes 1.34, ``pkg/apis/rbac/types.go``). A tunnel is a GET that is upgraded: servers up to
1.34 ask for ``get`` on pods/exec and pods/portforward, from 1.35 on for ``create``; so both are held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from ci_buildx.model.record import dataclass

REAPER = "kube-builder-reaper"
"""What the reaper's CronJob, account and role are called."""
INSIDE = "kube-builder-inside"
"""The ClusterRole that a job binds to itself in the namespace that it has made, and nobody anywhere else."""
RBAC_GROUP = "rbac.authorization.k8s.io"
GRANT_GROUP = "kube-builder.dev"
GRANT_RESOURCE = "builders"
"""A resource that exists in RBAC only: verbs on it lift rules of the admission policies."""
UNCONFINE = "unconfine"
"""The verb that allows privileged pods without a user namespace."""
USE_HOST = "use-host"
"""The verb that allows the network, processes, ports and folders of the host."""


class RightsMode(StrEnum):
    """Who needs rights: builds in a namespace that is there, builds that make their own, the reaper, who looks for
    lasting builders in all namespaces, and builds in a namespace that are to know the cluster."""

    NAMESPACE = "namespace"
    JOBS = "jobs"
    REAPER = "reaper"
    LISTING = "listing"
    LOOKING = "looking"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRule:
    """One rule of a Role: ``resources`` of one API ``group``, ``verbs``, and what they are for.

    ``names`` limits it to objects of these names. ``vital``: without it the mode does not work at all.
    """

    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str
    group: str = ""
    names: tuple[str, ...] = ()
    vital: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessQuestion:
    """One thing that the API server can be asked: may this user do ``verb`` on ``resource``?

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
        why="boot watches its pods, and removes them first",
    ),
    RoleRule(
        resources=("pods/portforward", "pods/exec"),
        verbs=("get", "create"),
        why="tunnels to buildkitd: servers up to 1.34 ask for get, from 1.35 on for create",
    ),
    RoleRule(
        resources=("secrets", "configmaps"),
        verbs=("create", "get", "list", "deletecollection"),
        why="the builder's certificates and its buildkitd.toml",
    ),
    RoleRule(
        group="coordination.k8s.io",
        resources=("leases",),
        verbs=("create", "get", "list", "patch"),
        why="signs of life, so that the builder of a job that was killed is known as such",
        vital=False,
    ),
    RoleRule(
        group="networking.k8s.io",
        resources=("networkpolicies",),
        verbs=("create", "get"),
        why="who may reach buildkitd's port, with driver-opt network-policy",
        vital=False,
    ),
    RoleRule(
        resources=("events",),
        verbs=("list", "watch"),
        why="why a pod does not start",
        vital=False,
    ),
)
"""Inside the namespace that holds the builder, whoever made it."""

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
        why="their record and certificates, which are renewed, and the files of their nodes",
        vital=False,
    ),
    RoleRule(
        group="networking.k8s.io",
        resources=("networkpolicies",),
        verbs=("list", "patch", "deletecollection"),
        why="who may reach their buildkitd, which changes and goes with them",
        vital=False,
    ),
    RoleRule(
        resources=("persistentvolumeclaims",),
        verbs=("get", "list", "delete", "deletecollection"),
        why="their volumes, which go with them",
        vital=False,
    ),
    RoleRule(
        resources=("pods/log",),
        verbs=("get",),
        why="kube-builder logs",
        vital=False,
    ),
)
"""What lasting builders (`kube-builder create`) need besides in their namespace."""

LEAVING: tuple[RoleRule, ...] = (
    RoleRule(
        resources=("namespaces",),
        verbs=("delete",),
        why="the job's own: asked with its namespace, so that it is no right on any other",
    ),
)
"""What a job needs besides in a namespace that goes with the builder."""

ENTERING: tuple[RoleRule, ...] = (
    RoleRule(
        resources=("namespaces",),
        verbs=("create", "get"),
        why="the job's own namespace; the policy says which names, labels and creator it may have",
    ),
    RoleRule(
        group=RBAC_GROUP,
        resources=("rolebindings",),
        verbs=("create",),
        why="the job lets itself into the namespace that it has made; the policy says that it is only there",
    ),
    RoleRule(
        group=RBAC_GROUP,
        resources=("clusterroles",),
        verbs=("bind",),
        names=(INSIDE,),
        why="this role alone may be given on",
    ),
)
"""What a job needs outside the namespace that it makes."""

LOOKING: tuple[RoleRule, ...] = (
    RoleRule(
        resources=("nodes",),
        verbs=("list",),
        why="which architectures there are; without it, scheduling finds out",
        vital=False,
    ),
    RoleRule(
        group="networking.k8s.io",
        resources=("servicecidrs",),
        verbs=("list",),
        why="NO_PROXY with the cluster's own addresses, with driver-opt proxy",
        vital=False,
    ),
    RoleRule(
        resources=("configmaps",),
        verbs=("get",),
        names=("cluster-autoscaler-status",),
        why="whether the cluster makes nodes; without it, a pod that fits nowhere is given up later",
        vital=False,
    ),
    RoleRule(
        group="batch",
        resources=("cronjobs",),
        verbs=("list",),
        names=(REAPER,),
        why="whether the reaper is installed; without it, doctor cannot say",
        vital=False,
    ),
    RoleRule(
        group="storage.k8s.io",
        resources=("storageclasses",),
        verbs=("list",),
        why="which volumes lasting builders can have; without it, doctor cannot say",
        vital=False,
    ),
)
"""What makes a builder's plan better and is not needed."""

SWEEPING: tuple[RoleRule, ...] = (
    RoleRule(
        resources=("namespaces",),
        verbs=("list",),
        why="finding what expired jobs of this account have left",
        vital=False,
    ),
)
"""What lets a job tidy up after others of its account, which is not needed."""

REAPING: tuple[RoleRule, ...] = (
    RoleRule(
        resources=("namespaces",),
        verbs=("list", "get", "delete"),
        why="what expired jobs have left; the policy lets it delete builders' namespaces only",
    ),
    RoleRule(
        group="coordination.k8s.io",
        resources=("leases",),
        verbs=("list",),
        why="signs of life of the jobs",
        vital=False,
    ),
)
"""What `kube-builder reap` needs in the whole cluster. What is in a namespace goes with it."""


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
        why="how each node's pods are",
        vital=False,
    ),
)
"""What `kube-builder ls` needs to see all namespaces. Without it, it sees the context's, or the one that is named."""


def list_questions(rules: Iterable[RoleRule], namespace: str = "") -> Iterator[AccessQuestion]:
    """Each verb on each resource of ``rules``, one by one."""
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
