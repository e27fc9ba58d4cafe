"""Making lasting builders, changing them, and letting them rest.

The Secret comes first: its name can be taken once, so that of two who create a builder of one name one succeeds.
Everything else belongs to it, also what somebody adds to a builder that is just being removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import count
from typing import Any

from ci_buildx.builder import (
    certificates,
    daemon,
    deployment,
    isolation,
    labels,
    manifests,
    plan,
    store,
    surroundings,
)
from ci_buildx.builder.builder import Builder, Lifetime, Location, Manifest, Workload
from ci_buildx.builder.certificates import Certificates
from ci_buildx.builder.draft import Draft
from ci_buildx.builder.facts import ClusterFacts
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.builder.store import Node, Record
from ci_buildx.errors import Conflict, InputError, NotFound
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, field, replace
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.quantities import parse_quantity

CERTIFICATES_LAST = 5 * 365 * 24 * 3600
"""Seconds that the certificates of a lasting builder are valid."""
RENEWAL = 180 * 24 * 3600
"""Seconds before their end from which a builder that starts gets new ones, and from which its users are warned."""

_SHARE = Decimal("0.8")
"""Of the room for the state, what the cache may take: steps need some, too."""
_MARK = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A node that is asked for.

    ``node`` is "" where any name will do; ``given`` are the driver options as written; ``pull_login`` is the docker
    configuration that its images are pulled with, where the settings ask for one.
    """

    node: str = ""
    platforms: tuple[Platform, ...] = ()
    settings: BuilderSettings
    given: Mapping[str, str] = field(default_factory=dict)
    pull_login: Secret | None = None


def equipped(settings: BuilderSettings) -> BuilderSettings:
    """The settings of a lasting node with what follows from them: flags of buildkitd, before the user's own.

    As buildx 0.38.2 does (``builder/builder.go``, ``parseBuildkitdFlags``), steps may ask for the pod's network unless
    entitlements are named. Where the state has a limit, buildkitd clears its cache before it is reached; else its own
    rules keep it below its share of the node's disk.
    """
    made = []
    said = " ".join((*settings.buildkitd_flags, settings.buildkitd_config))
    if "insecure-entitlement" not in said:
        made.append("--allow-insecure-entitlement=network.host")
    room = dict(settings.limits).get("ephemeral-storage") or settings.storage.claimed or settings.storage.memory
    if room and "gc" not in said:
        most = max(1, int(parse_quantity(room, source="the state's limit") * _SHARE / 10**6))
        made.append(f"--oci-worker-gc-keepstorage={max(1, most // 8)},0,{most}")
    return replace(settings, buildkitd_flags=(*made, *settings.buildkitd_flags))


def locate(name: str, namespace: str) -> Location:
    """Where a lasting builder is."""
    return Location(name=name, namespace=namespace, exclusive=False, lifetime=Lifetime.BUILDER)


def claim(kube: KubeClient, location: Location, issued: Certificates, *, trust: str = "") -> Manifest:
    """Take the builder's name: its Secret. ``trust`` is the scope of the runs that may use it, "" for any.

    Raises InputError if it is taken.
    """
    moment = _now(kube)
    draft = replace(_draft(location, BuilderSettings()), identity=_identity(location, trust))
    made = deployment.secret(draft, issued, _when(moment + CERTIFICATES_LAST))
    try:
        return kube.create(location.core_path("secrets"), made)
    except Conflict as failure:
        raise taken(location) from failure
    except NotFound as failure:
        raise _no_namespace(location) from failure


def taken(location: Location) -> InputError:
    """Somebody has the name."""
    return InputError(
        f"builder {location.name!r} exists already in namespace {location.namespace!r}",
        source="--name",
        fix="add a node with --append, change one with --node NAME, or remove it with kube-builder rm",
    )


def add(kube: KubeClient, record: Record, order: Order, facts: ClusterFacts) -> Node:
    """Make a node of a builder whose name is taken; a name for it is found where none is given.

    Raises InputError if there is one of that name already.
    """
    secret = read_secret(kube, record.location)
    for name in [order.node] if order.node else _free_names(record):
        try:
            return _make(kube, record.location, secret, name, order, facts)
        except Conflict as failure:
            if order.node:
                where = f"namespace {record.location.namespace!r} has something of the name {name!r} already"
                raise InputError(where, source="--node", fix="choose another name") from failure
    raise AssertionError("names do not end")


def change(kube: KubeClient, record: Record, node: Node, order: Order, facts: ClusterFacts) -> Node:
    """Shape a node anew; its pods are replaced one after the other.

    Raises InputError for what Kubernetes cannot change: a volume that is claimed, or no more.
    """
    if deployment.kind(order.settings) is not node.kind or node.kind is Workload.STATEFUL_SET:
        raise InputError(
            f"node {node.name!r} cannot be changed: its volumes are decided when it is made",
            source="--node",
            fix=f"kube-builder create --leave --name {record.name} --node {node.name}, then --append it anew",
        )
    secret = read_secret(kube, record.location)
    draft, planned = _planned(kube, record.location, node.name, order.platforms or node.named, order.settings, facts)
    owner = deployment.owner(secret)
    _rewrite_files(kube, draft, planned, owner)
    _share(kube, draft, order, owner)
    made = deployment.workload(draft, planned, order.given, owner)
    path = _path(record.location, node)
    patch = [
        {"op": "replace", "path": "/spec/template", "value": made["spec"]["template"]},
        {"op": "replace", "path": "/spec/replicas", "value": made["spec"]["replicas"]},
        {"op": "replace", "path": "/metadata/annotations", "value": made["metadata"]["annotations"]},
    ]
    return store.read_node(node.kind, kube.patch(path, patch, kind="json"))


def leave(kube: KubeClient, record: Record, node: Node) -> None:
    """Remove one node and what is its own. Raises InputError for the last one, KubeError."""
    if len(record.nodes) == 1:
        raise InputError(
            f"{node.name!r} is the last node of builder {record.name!r}",
            source="--leave",
            fix=f"kube-builder rm {record.name} removes both",
        )
    location = record.location
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    kube.delete(_path(location, node), body=options)
    chosen = f"{location.selector},{labels.NODE}={node.name}"
    for plural in ("configmaps", *(("persistentvolumeclaims",) if node.kind is Workload.STATEFUL_SET else ())):
        kube.delete(location.core_path(plural), labelSelector=chosen)


def scale(kube: KubeClient, record: Record, nodes: Sequence[Node], replicas: int | None) -> None:
    """Let each node have ``replicas`` pods, None for as many as it has when it runs. Raises KubeError."""
    for node in nodes:
        wanted = node.plan.replicas if replicas is None else replicas
        notes = {labels.REPLICAS: str(wanted or node.plan.replicas)}
        kube.patch(_path(record.location, node), {"metadata": {"annotations": notes}, "spec": {"replicas": wanted}})


def secret_for_use(kube: KubeClient, record: Record, *, warn: Callable[[str], None]) -> Manifest:
    """The keys of a builder that is about to be used. Raises InputError if it has no nodes, KubeError.

    Near their end they are renewed if all nodes are stopped, since a daemon reads its keys once; else ``warn`` hears
    of it.
    """
    if not record.nodes:
        fix = f"kube-builder rm {record.name}, then create it anew"
        raise InputError(f"builder {record.name!r} has no node: it was not made to its end", fix=fix)
    secret = read_secret(kube, record.location)
    left = expires_in(secret, _now(kube))
    if left >= RENEWAL:
        return secret
    if all(node.stopped for node in record.nodes):
        return _renew(kube, record.location)
    days = max(int(left / 86400), 0)
    warn(f"the certificates of builder {record.name} end in {days} days; kube-builder stop {record.name} renews them")
    return secret


def learn(kube: KubeClient, builder: Builder, node: NodePlan, runs: Sequence[Platform]) -> None:
    """Note what a node's buildkitd says that it runs, for later plans. Raises KubeError."""
    kube.patch(builder.workload_path(node), {"metadata": {"annotations": {labels.RUNS: ",".join(map(str, runs))}}})


def read_secret(kube: KubeClient, location: Location) -> Manifest:
    """The builder's record and keys. Raises KubeError."""
    return kube.get(f"{location.core_path('secrets')}/{location.object_name('keys')}")


def expires_in(secret: Mapping[str, Any], now: float) -> float:
    """Seconds until the certificates end; for ever where nobody knows."""
    import calendar

    text = (secret["metadata"].get("annotations") or {}).get(labels.CERTIFICATES_EXPIRE, "")
    try:
        return calendar.timegm(time.strptime(text, _MARK)) - now
    except ValueError:
        return float("inf")


def _make(kube: KubeClient, location: Location, secret: Manifest, name: str, order: Order, facts: ClusterFacts) -> Node:
    """Make a node: its files before what mounts them. Raises Conflict where something has one of their names."""
    draft, planned = _planned(kube, location, name, order.platforms, order.settings, facts)
    owner = deployment.owner(secret)
    configured = _create_files(kube, draft, planned, owner)
    try:
        _share(kube, draft, order, owner)
        kind = deployment.kind(order.settings)
        created = kube.create(location.workloads_path(kind), deployment.workload(draft, planned, order.given, owner))
    except BaseException:
        if configured:
            kube.delete(f"{location.core_path('configmaps')}/{location.config_name(name)}")
        raise
    node = store.read_node(kind, created)
    return replace(node, plan=replace(node.plan, isolation=planned.isolation))


def _planned(
    kube: KubeClient,
    location: Location,
    name: str,
    platforms: tuple[Platform, ...],
    settings: BuilderSettings,
    facts: ClusterFacts,
) -> tuple[Draft, NodePlan]:
    """What a node's objects are made from."""
    around = surroundings.look(kube, facts, settings)
    draft = replace(_draft(location, settings), server=around.server, cluster_ranges=around.ranges)
    single = plan.single(name, platforms, facts, settings)
    (planned,) = isolation.isolate(Plan(nodes=(single,)), facts, settings).nodes
    return draft, planned


def _create_files(kube: KubeClient, draft: Draft, node: NodePlan, owner: Mapping[str, str]) -> bool:
    """Make the node's ConfigMap, if it has files."""
    if not daemon.files(draft.settings):
        return False
    kube.create(draft.location.core_path("configmaps"), deployment.config_map(draft, node, owner))
    return True


def _rewrite_files(kube: KubeClient, draft: Draft, node: NodePlan, owner: Mapping[str, str]) -> None:
    """Let the node's ConfigMap hold what its files are now."""
    try:
        _create_files(kube, draft, node, owner)
    except Conflict:
        made = deployment.config_map(draft, node, owner)
        path = f"{draft.location.core_path('configmaps')}/{made['metadata']['name']}"
        kube.patch(path, [{"op": "replace", "path": "/data", "value": made["data"]}], kind="json")


def _share(kube: KubeClient, draft: Draft, order: Order, owner: Mapping[str, str]) -> None:
    """Bring what all nodes have in common to what this one needs: proxies, the login for images, the fence."""
    location = draft.location
    if secrets := daemon.proxy_files(draft):
        import base64

        encoded = {name: base64.b64encode(value).decode() for name, value in secrets.items()}
        kube.patch(f"{location.core_path('secrets')}/{location.object_name('keys')}", {"data": encoded})
    if order.pull_login is not None:
        _bring(kube, location.core_path("secrets"), manifests.pull_secret(draft, order.pull_login, [owner]))
    if draft.settings.network is not None:
        policies = f"/apis/networking.k8s.io/v1/namespaces/{location.namespace}/networkpolicies"
        _bring(kube, policies, manifests.network_policy(draft, draft.settings.network, [owner]))


def _bring(kube: KubeClient, collection: str, manifest: Manifest) -> None:
    """Make an object, or let the one that is there be like it."""
    try:
        kube.create(collection, manifest)
    except Conflict:
        kept = {key: value for key, value in manifest.items() if key not in ("immutable", "type")}
        kube.patch(f"{collection}/{manifest['metadata']['name']}", kept)


def _renew(kube: KubeClient, location: Location) -> Manifest:
    issued = certificates.issue(certificates.NAMES, CERTIFICATES_LAST)
    made = deployment.secret(_draft(location, BuilderSettings()), issued, _when(_now(kube) + CERTIFICATES_LAST))
    changes = {"metadata": {"annotations": made["metadata"]["annotations"]}, "data": made["data"]}
    return kube.patch(f"{location.core_path('secrets')}/{location.object_name('keys')}", changes)


def _free_names(record: Record) -> Iterator[str]:
    taken = {node.name for node in record.nodes}
    names = (f"{record.name}{index}" for index in count())
    return (name for name in names if name not in taken)


def _draft(location: Location, settings: BuilderSettings) -> Draft:
    return Draft(identity=_identity(location), location=location, settings=settings, expires="")


def _identity(location: Location, trust: str = "") -> JobIdentity:
    notes = {labels.TRUST: trust} if trust else {}
    return JobIdentity(name=location.name, labels=deployment.marks(location), annotations=notes)


def _path(location: Location, node: Node) -> str:
    return f"{location.workloads_path(node.kind)}/{node.name}"


def _no_namespace(location: Location) -> InputError:
    return InputError(
        f"there is no namespace {location.namespace!r}", source="namespace", fix="create it, or name another"
    )


def _now(kube: KubeClient) -> float:
    return kube.server_time or time.time()


def _when(moment: float) -> str:
    return time.strftime(_MARK, time.gmtime(moment))
