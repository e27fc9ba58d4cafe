"""Creation, change and scaling of lasting builders.

The Secret is created first: its name can be taken only once, so if two clients create a builder of the same name, one
succeeds. Everything else is owned by the Secret, even objects that are added while the builder is being removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from ci_buildx.builder import cluster_facts, isolation, labels, plan
from ci_buildx.builder.builder import Builder, BuilderLocation, Manifest, Workload
from ci_buildx.builder.cluster_facts import ClusterFacts
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.builder.lifecycle import find, node_secrets, records, volumes
from ci_buildx.builder.lifecycle.records import StoredBuilder, StoredNode
from ci_buildx.builder.manifests import buildkitd, certificates, lasting_objects
from ci_buildx.builder.manifests.certificates import Certificates
from ci_buildx.builder.manifests.draft import BuilderSpec
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import Conflict, Forbidden, InputError, KubeError, NotFound
from ci_buildx.kube.client import KubeClient, amend_object
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, field, replace
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings, UserNamespaces

CERTIFICATES_LAST = 5 * 365 * 24 * 3600
"""Validity of a lasting builder's certificates in seconds."""
RENEWAL = 180 * 24 * 3600
"""Seconds before expiry from which a starting builder gets new certificates, and its users are warned."""

_MARK = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRequest:
    """A requested node of a lasting builder.

    ``node`` is "" if any name will do; ``given`` are the driver options as written; ``pull_login`` is the docker
    configuration for pulling its images, if the settings request one.
    """

    node: str = ""
    platforms: tuple[Platform, ...] = ()
    settings: BuilderSettings
    given: Mapping[str, str] = field(default_factory=dict)
    pull_login: Secret | None = None


def claim_name(kube: KubeClient, location: BuilderLocation, issued: Certificates, *, trust: str = "") -> Manifest:
    """Take the builder's name by creating its Secret, and return that.

    ``trust`` is the scope of the runs that may use the builder, "" for any. Raises InputError if the name is taken or
    the namespace is missing.
    """
    moment = _read_server_time(kube)
    draft = replace(_make_spec(location, BuilderSettings()), identity=_make_identity(location, trust))
    made = lasting_objects.make_secret(draft, issued, _format_time(moment + CERTIFICATES_LAST))
    try:
        return kube.create(location.make_core_path("secrets"), made)
    except Conflict as failure:
        raise make_taken_error(location) from failure
    except NotFound as failure:
        raise _make_namespace_error(location) from failure


def make_taken_error(location: BuilderLocation) -> InputError:
    """Return the error for a builder's name that is taken."""
    return InputError(
        f"builder {location.name!r} already exists in namespace {location.namespace!r}",
        source="--name",
        fix="add a node with --append, change one with --node NAME, or remove it with kube-builder rm",
    )


def check(kube: KubeClient, location: BuilderLocation, order: NodeRequest, facts: ClusterFacts) -> None:
    """Raise InputError if a node of the builder cannot be created, before any of its objects is."""
    _check_free(kube, location, order)
    _plan_single(order.node, order.platforms, order.settings, facts)


def _check_free(kube: KubeClient, location: BuilderLocation, order: NodeRequest) -> None:
    if not order.node:
        return
    places = [f"{location.make_workloads_path(lasting_objects.choose_kind(order.settings))}/{order.node}"]
    if buildkitd.make_files(order.settings):
        places.append(f"{location.make_core_path('configmaps')}/{location.make_config_name(order.node)}")
    for place in places:
        with suppress(NotFound, Forbidden):  # without the right to read, creation reports it
            kube.get(place)
            raise _make_taken_node_error(location, order.node)


def _make_taken_node_error(location: BuilderLocation, name: str) -> InputError:
    message = f"namespace {location.namespace!r} already contains an object named {name!r}"
    return InputError(message, source="--node", fix="choose another name")


def add_node(kube: KubeClient, record: StoredBuilder, order: NodeRequest, facts: ClusterFacts) -> StoredNode:
    """Create a node of a builder whose name is taken; generate the node's name if none is given.

    Raises InputError if a node of that name exists.
    """
    check(kube, record.location, order, facts)
    secret = read_secret(kube, record.location)
    for name in [order.node] if order.node else _generate_free_names(record):
        try:
            return _make(kube, record.location, secret, name, order, facts)
        except Conflict as failure:
            if order.node:
                raise _make_taken_node_error(record.location, name) from failure
    raise AssertionError("names do not end")


def change_node(
    kube: KubeClient, record: StoredBuilder, node: StoredNode, order: NodeRequest, facts: ClusterFacts
) -> StoredNode:
    """Reconfigure a node; its pods are replaced one after the other if their template changes.

    ``outdated`` of the result are the pods to be replaced. Raises InputError if the node claims a volume or would claim
    one after the change: Kubernetes cannot change that.
    """
    if lasting_objects.choose_kind(order.settings) is not node.kind or node.kind is Workload.STATEFUL_SET:
        raise InputError(
            f"node {node.name!r} cannot be changed: its volumes are set when it is created",
            source="--node",
            fix=f"run kube-builder create --leave --name {record.name} --node {node.name}, then add it with --append",
        )
    owner = find.make_secret_reference(read_secret(kube, record.location))
    draft, planned = _make_node_spec(
        kube, record.location, node.name, order.platforms or node.named, order.settings, facts
    )

    def act(planned: NodePlan, **query: str) -> Manifest:
        made = lasting_objects.make_workload(draft, planned, order.given, owner)
        patch = [
            {"op": "replace", "path": "/spec/template", "value": made["spec"]["template"]},
            {"op": "replace", "path": "/spec/replicas", "value": made["spec"]["replicas"]},
            {"op": "replace", "path": "/metadata/annotations", "value": made["metadata"]["annotations"]},
        ]
        return kube.patch(_make_path(record.location, node), patch, kind="json", **query)

    _check_isolation(act, planned, order.settings)
    node_secrets.update_config_map(kube, draft, planned, owner)
    node_secrets.apply_shared_objects(kube, draft, owner, order.pull_login)
    before, pods = kube.get(_make_path(record.location, node)), _list_pods(kube, record.location, node)
    changed, planned = _act_as_required(act, planned, order.settings)
    outdated = pods if changed["spec"]["template"] != before["spec"]["template"] else frozenset[str]()
    return replace(_read_created_node(changed, node.kind, planned, order.settings), outdated=outdated)


def remove_node(kube: KubeClient, record: StoredBuilder, node: StoredNode) -> tuple[str, ...]:
    """Remove one node and its own objects; return the names of its volume claims if they are to stay.

    Raises InputError for the last node, KubeError.
    """
    if len(record.nodes) == 1:
        raise InputError(
            f"{node.name!r} is the last node of builder {record.name!r}",
            source="--leave",
            fix=f"remove both with kube-builder rm {record.name}",
        )
    location = record.location
    kube.delete(_make_path(location, node), options={"propagationPolicy": "Background"})
    chosen = f"{location.selector},{labels.NODE}={node.name}"
    claims = node.kind is Workload.STATEFUL_SET and not node.retains
    for plural in ("configmaps", *((volumes.PLURAL,) if claims else ())):
        kube.delete(location.make_core_path(plural), labelSelector=chosen)
    return volumes.list_retained_claims(kube, location, node.name) if node.retains else ()


def scale_nodes(kube: KubeClient, record: StoredBuilder, nodes: Sequence[StoredNode], replicas: int | None) -> None:
    """Set each node to ``replicas`` pods, None for its number of pods when it runs. Raises KubeError."""
    for node in nodes:
        wanted = node.plan.replicas if replicas is None else replicas
        notes = {labels.REPLICAS: str(wanted or node.plan.replicas)}
        kube.patch(
            _make_path(record.location, node), {"metadata": {"annotations": notes}, "spec": {"replicas": wanted}}
        )


def read_usable_secret(kube: KubeClient, record: StoredBuilder, *, warn: Callable[[str], None]) -> Manifest:
    """Return the Secret with the keys of a builder that is about to be used.

    Certificates near their end are renewed if all nodes are stopped, because a daemon reads its keys once; otherwise
    ``warn`` is called. Raises InputError if the builder has no nodes, KubeError.
    """
    if not record.nodes:
        fix = f"remove it with kube-builder rm {record.name}, then create it again"
        raise InputError(f"builder {record.name!r} has no node: its creation was not completed", fix=fix)
    secret = read_secret(kube, record.location)
    left = read_seconds_to_expiry(secret, _read_server_time(kube))
    if left >= RENEWAL:
        return secret
    if all(node.stopped for node in record.nodes):
        return _renew_certificates(kube, record.location)
    days = max(int(left / 86400), 0)
    fix = f"renew them with kube-builder stop {record.name}"
    warn(f"the certificates of builder {record.name} expire in {days} days; {fix}")
    return secret


def record_platforms(kube: KubeClient, builder: Builder, node: NodePlan, runs: Sequence[Platform]) -> None:
    """Record which platforms a node's buildkitd reports, for later plans. Raises KubeError."""
    kube.patch(builder.make_workload_path(node), {"metadata": {"annotations": {labels.RUNS: ",".join(map(str, runs))}}})


def read_secret(kube: KubeClient, location: BuilderLocation) -> Manifest:
    """Return the Secret with the builder's record and keys. Raises KubeError."""
    return kube.get(f"{location.make_core_path('secrets')}/{location.make_object_name('keys')}")


def read_seconds_to_expiry(secret: Mapping[str, Any], now: float) -> float:
    """Return the seconds until the certificates expire; infinity if the expiry is missing or invalid."""
    import calendar

    text = (secret["metadata"].get("annotations") or {}).get(labels.CERTIFICATES_EXPIRE, "")
    try:
        return calendar.timegm(time.strptime(text, _MARK)) - now
    except ValueError:
        return float("inf")


def _make(
    kube: KubeClient, location: BuilderLocation, secret: Manifest, name: str, order: NodeRequest, facts: ClusterFacts
) -> StoredNode:
    """Create a node: its files before the workload that mounts them. Raises Conflict if a name is taken."""
    draft, planned = _make_node_spec(kube, location, name, order.platforms, order.settings, facts)
    owner, kind = find.make_secret_reference(secret), lasting_objects.choose_kind(order.settings)

    def act(planned: NodePlan, **query: str) -> Manifest:
        made = lasting_objects.make_workload(draft, planned, order.given, owner)
        return kube.create(location.make_workloads_path(kind), made, **query)

    _check_isolation(act, planned, order.settings)
    configured = node_secrets.create_config_map(kube, draft, planned, owner)
    try:
        node_secrets.apply_shared_objects(kube, draft, owner, order.pull_login)
        created, planned = _act_as_required(act, planned, order.settings)
    except BaseException as error:
        if configured:
            _undo(
                error, lambda: kube.delete(f"{location.make_core_path('configmaps')}/{location.make_config_name(name)}")
            )
        raise
    return _read_created_node(created, kind, planned, order.settings)


def _undo(error: BaseException, act: Callable[[], object]) -> None:
    """Undo a step because of ``error``, which remains the error to report."""
    try:
        act()
    except KubeError as failure:
        error.add_note(str(failure))


def _check_isolation(act: Callable[..., Manifest], planned: NodePlan, settings: BuilderSettings) -> None:
    """Check by a dry run that the pods get user namespaces if the user requires them. Raises Invalid."""
    if settings.user_namespaces is UserNamespaces.TRUE:
        isolation.correct_isolation(Plan(nodes=(planned,)), [act(planned, dryRun="All")], settings)


def _act_as_required(
    act: Callable[[NodePlan], Manifest], planned: NodePlan, settings: BuilderSettings
) -> tuple[Manifest, NodePlan]:
    """Call ``act``; repeat it with a user namespace if a policy of docs/rbac requires one. Raises KubeError."""
    try:
        return act(planned), planned
    except Forbidden as failure:
        if not isolation.is_required(failure, (planned,), settings):
            raise
    confined = isolation.require(planned)
    return act(confined), confined


def _read_created_node(workload: Manifest, kind: Workload, planned: NodePlan, settings: BuilderSettings) -> StoredNode:
    """Return the node as the API server accepted it."""
    (taken,) = isolation.correct_isolation(Plan(nodes=(planned,)), [workload], settings).nodes
    node = records.read_node(kind, workload)
    return replace(node, plan=replace(node.plan, isolation=taken.isolation))


def _make_node_spec(
    kube: KubeClient,
    location: BuilderLocation,
    name: str,
    platforms: tuple[Platform, ...],
    settings: BuilderSettings,
    facts: ClusterFacts,
) -> tuple[BuilderSpec, NodePlan]:
    """Return the specification and the plan from which a node's objects are made."""
    around = cluster_facts.read_surroundings(kube, facts, settings)
    draft = replace(_make_spec(location, settings), server=around.server, cluster_ranges=around.ranges)
    return draft, _plan_single(name, platforms, settings, facts)


def _plan_single(
    name: str, platforms: tuple[Platform, ...], settings: BuilderSettings, facts: ClusterFacts
) -> NodePlan:
    """Return the node's plan. Raises InputError if no cluster node meets the settings' requirements."""
    single = plan.plan_lasting_node(name, platforms, facts, settings)
    (planned,) = isolation.plan_isolation(Plan(nodes=(single,)), facts, settings).nodes
    return planned


def _renew_certificates(kube: KubeClient, location: BuilderLocation) -> Manifest:
    """Renew the certificates; if two clients renew them at once, both get those of the first."""
    issued = certificates.issue(certificates.NAMES, CERTIFICATES_LAST)

    def renew(found: Manifest) -> Manifest | None:
        now = _read_server_time(kube)
        if read_seconds_to_expiry(found, now) >= RENEWAL:
            return None
        made = lasting_objects.make_secret(
            _make_spec(location, BuilderSettings()), issued, _format_time(now + CERTIFICATES_LAST)
        )
        return {"metadata": {"annotations": made["metadata"]["annotations"]}, "data": made["data"]}

    return amend_object(kube, f"{location.make_core_path('secrets')}/{location.make_object_name('keys')}", renew)


def _generate_free_names(record: StoredBuilder) -> Iterator[str]:
    taken = {node.name for node in record.nodes}
    names = (f"{record.name}{index}" for index in count())
    return (name for name in names if name not in taken)


def _make_spec(location: BuilderLocation, settings: BuilderSettings) -> BuilderSpec:
    return BuilderSpec(identity=_make_identity(location), location=location, settings=settings, expires="")


def _make_identity(location: BuilderLocation, trust: str = "") -> JobIdentity:
    notes = {labels.TRUST: trust} if trust else {}
    return JobIdentity(name=location.name, labels=lasting_objects.make_labels(location), annotations=notes)


def _make_path(location: BuilderLocation, node: StoredNode) -> str:
    return f"{location.make_workloads_path(node.kind)}/{node.name}"


def _list_pods(kube: KubeClient, location: BuilderLocation, node: StoredNode) -> frozenset[str]:
    chosen = f"{location.selector},{labels.NODE}={node.name}"
    found = kube.list(location.make_core_path("pods"), labelSelector=chosen)["items"]
    return frozenset(one["metadata"]["name"] for one in found)


def _make_namespace_error(location: BuilderLocation) -> InputError:
    return InputError(
        f"namespace {location.namespace!r} not found", source="namespace", fix="create it, or name another"
    )


def _read_server_time(kube: KubeClient) -> float:
    return kube.server_time or time.time()


def _format_time(moment: float) -> str:
    return time.strftime(_MARK, time.gmtime(moment))
