"""Builders as recorded in the cluster: its objects, by labels and annotations, are the only record of them.

A lasting builder is a Secret, whose name can be taken only once, and a Deployment or StatefulSet for each node; all of
them are owned by the Secret. A job's builder is its Jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Builder, BuilderLocation, Lifetime, Workload, locate_lasting_builder
from ci_buildx.builder.identity import PREFIX
from ci_buildx.builder.lifecycle import find as lifecycle_find
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.builder.pods import find_condition
from ci_buildx.errors import Forbidden, InputError, NotFound
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import platform
from ci_buildx.model.documents import parse_json
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, field
from ci_buildx.settings.builder import MOST_BUILDS, BuilderSettings, LoadBalance, Reclaim, ReplicaRange
from ci_buildx.settings.syntax import parse_duration

LASTING = (Workload.DEPLOYMENT, Workload.STATEFUL_SET)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNode:
    """One node as recorded in the cluster.

    ``named`` are the platforms that the user named. ``driver_opts`` and ``flags`` are as the user wrote them.
    ``replicas`` is the number of pods wanted now: 0 while the node is stopped, though its plan keeps the number for
    when it runs; ``ready`` of them are up. ``problem`` is the cluster's message if it refuses to create them.

    ``timeout`` (s) is how long its pods may take to come up. ``retains``: its volumes stay when it is removed.
    ``loads``: builds without an output option are loaded into a docker daemon. ``outdated`` pods are about to be
    replaced by a change.
    """

    kind: Workload
    plan: NodePlan
    driver_opts: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    replicas: int = 1
    ready: int = 0
    transport: str = ""
    problem: str = ""
    timeout: float = BuilderSettings().timeout
    retains: bool = False
    loads: bool = False
    outdated: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Return the node's name."""
        return self.plan.name

    @property
    def named(self) -> tuple[Platform, ...]:
        """Return the platforms that the user named, or that a job's plan assigned."""
        return self.plan.platforms

    @property
    def stopped(self) -> bool:
        """Return whether no pods are wanted."""
        return self.replicas == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBuilder:
    """A builder as recorded in the cluster; nodes are in the order of their creation."""

    location: BuilderLocation
    nodes: tuple[StoredNode, ...]

    @property
    def name(self) -> str:
        """Return the builder's name."""
        return self.location.name

    @property
    def lasting(self) -> bool:
        """Return whether the builder exists until it is removed explicitly."""
        return self.location.lasting

    def find_node(self, name: str) -> StoredNode:
        """Return the node ``name``. Raises InputError if the builder has none of that name."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise InputError(f"builder {self.name!r} has no node {name!r}", source="--node", fix=f"it has {known}")

    def make_builder(self, secret: Mapping[str, Any]) -> Builder:
        """Return a Builder with everything needed to reach it; its keys come from ``secret``."""
        return Builder(
            location=self.location,
            plan=Plan(nodes=tuple(node.plan for node in self.nodes)),
            keys=lifecycle_find.read_keys(secret),
            transports={node.name: node.transport for node in self.nodes if node.transport},
            kinds={node.name: node.kind for node in self.nodes if node.kind is not Workload.JOB},
            trust=(secret["metadata"].get("annotations") or {}).get(labels.TRUST, ""),
            timeout=max((node.timeout for node in self.nodes), default=None) if self.lasting else None,
            loads=any(node.loads for node in self.nodes),
            owner=lifecycle_find.make_secret_reference(secret),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderListing:
    """Builders sorted by namespace and name; ``notes`` report what could not be searched."""

    records: tuple[StoredBuilder, ...]
    notes: tuple[str, ...] = ()


def is_job_builder_name(name: str) -> bool:
    """Return whether ``name`` has the prefix that is reserved for builders of jobs."""
    return name.startswith(PREFIX)


def list_builders(kube: KubeClient, namespace: str = "", *, jobs: bool = False) -> BuilderListing:
    """List all lasting builders, with ``jobs`` also those of jobs; only of ``namespace`` if that is given.

    If listing all namespaces is forbidden, the result has the builders of the context's, and a note. Raises KubeError.
    """
    kinds = tuple(Workload) if jobs else LASTING
    notes: tuple[str, ...] = ()
    try:
        found = _list_workloads(kube, kinds, namespace, _ANY)
    except Forbidden as failure:
        if namespace:
            raise
        found = _list_workloads(kube, kinds, kube.namespace, _ANY)
        notes = (f"only namespace {kube.namespace} was searched: {failure.message}",)
    return BuilderListing(records=_group_by_builder(found), notes=notes)


def find_builder(kube: KubeClient, name: str, namespace: str = "") -> StoredBuilder:
    """Find builder ``name`` in ``namespace`` if that is given, else in the context's, else in all namespaces.

    Raises InputError if it is missing, or if several namespaces have a builder of that name.
    """
    if is_job_builder_name(name):
        return _find_running_job_builder(kube, name, namespace) or read_job_builder(
            kube, lifecycle_find.find_job_builder(kube, name, namespace)
        )
    chosen = labels.make_selector(name)
    here = namespace or kube.namespace
    found = _group_by_builder(_list_workloads(kube, LASTING, here, chosen))
    if not found and not namespace:
        found = _find_elsewhere(kube, name, chosen)
    if not found and (empty := find_lasting_builder(kube, locate_lasting_builder(name, here))):
        return empty
    if not found:
        where = f"in namespace {here!r}" if namespace else "in any namespace"
        raise InputError(f"builder {name!r} not found {where}", fix="list all builders with kube-builder ls")
    if len(found) > 1:
        places = ", ".join(record.location.namespace for record in found)
        raise InputError(f"several namespaces have a builder {name!r}: {places}", fix="name one with --namespace")
    return found[0]


def find_lasting_builder(kube: KubeClient, location: BuilderLocation) -> StoredBuilder | None:
    """Return the lasting builder at ``location``, None if it does not exist. Raises KubeError.

    It may have no nodes, if its creation or removal stopped at its Secret.
    """
    try:
        secret = kube.get(f"{location.make_core_path('secrets')}/{location.make_object_name('keys')}")
    except NotFound:
        return None
    if not labels.belongs_to(secret, location.name):
        return None
    found = _group_by_builder(_list_workloads(kube, LASTING, location.namespace, location.selector))
    return found[0] if found else StoredBuilder(location=location, nodes=())


def read_job_builder(kube: KubeClient, location: BuilderLocation) -> StoredBuilder:
    """Return the job's builder at ``location``, with those of its nodes that are not over."""
    jobs = kube.list(location.jobs_path, labelSelector=location.selector)["items"]
    return StoredBuilder(
        location=location, nodes=tuple(read_node(Workload.JOB, job) for job in jobs if not _is_over(job))
    )


def _find_running_job_builder(kube: KubeClient, name: str, namespace: str) -> StoredBuilder | None:
    """Return a job's builder at its most likely location if it runs there, else None.

    Its Jobs contain everything that its namespace would show, so that need not be read.
    """
    try:
        record = read_job_builder(
            kube, BuilderLocation(name=name, namespace=namespace or name, exclusive=namespace in ("", name))
        )
    except Forbidden:
        return None
    return record if record.nodes else None


def load_builder(kube: KubeClient, record: StoredBuilder) -> Builder:
    """Load everything needed to reach a recorded builder. Raises KubeError, InputError if a job's builder is over."""
    location = record.location
    if not (record.nodes or location.lasting):
        fix = "omit the builder: its lifetime has ended or it was removed"
        raise InputError(f"builder {record.name!r} has no nodes", fix=fix)
    return record.make_builder(kube.get(f"{location.make_core_path('secrets')}/{location.make_object_name('keys')}"))


def read_node(kind: Workload, workload: Mapping[str, Any]) -> StoredNode:
    """Read a node from its workload."""
    metadata, spec, status = workload["metadata"], workload.get("spec") or {}, workload.get("status") or {}
    notes = metadata.get("annotations") or {}
    scale = int(spec.get("parallelism" if kind is Workload.JOB else "replicas", 1))
    name = (metadata.get("labels") or {}).get(labels.NODE, "")
    ready = status.get("ready" if kind is Workload.JOB else "readyReplicas") or 0
    return StoredNode(
        kind=kind,
        plan=NodePlan(
            name=name,
            architecture=_read_architecture(workload),
            platforms=read_platforms(notes.get(labels.PLATFORMS, "")),
            emulated=read_platforms(notes.get(labels.EMULATED, "")),
            replicas=scale or _read_count(notes.get(labels.REPLICAS, "")),
            runs=read_platforms(notes.get(labels.RUNS, "")),
            loadbalance=read_loadbalance(notes.get(labels.LOADBALANCE, "")),
            max_builds=min(_read_count(notes.get(labels.MAX_BUILDS, "0")), MOST_BUILDS),
            scaling=_read_range(notes),
            reason=notes.get(labels.REASON, ""),
        ),
        driver_opts=_read_json(notes.get(labels.DRIVER_OPTS), dict),
        flags=tuple(_read_json(notes.get(labels.BUILDKITD_FLAGS), list)),
        replicas=scale,
        ready=int(ready),
        transport=notes.get(labels.TRANSPORT, ""),
        problem=str(find_condition(workload, "ReplicaFailure").get("message", "")),
        timeout=_read_timeout(notes.get(labels.TIMEOUT, "")),
        retains=notes.get(labels.RECLAIM) == Reclaim.RETAIN,
        loads=notes.get(labels.DEFAULT_LOAD) == "true",
    )


def read_platforms(text: str) -> tuple[Platform, ...]:
    """Read the platforms from an annotation; none if it is invalid."""
    try:
        return tuple(platform.parse_platform(part) for part in text.split(",") if part)
    except ValueError:
        return ()


def _read_count(text: str) -> int:
    """Read a number of pods or builds from an annotation; 1 if it is invalid."""
    return int(text) if text.isdecimal() and 0 < len(text) <= _LONGEST_COUNT else 1


_LONGEST_COUNT = 9
_ANY = f"{labels.MANAGED_BY}={labels.MANAGER},{labels.BUILDER}"

_Found = tuple[Workload, Mapping[str, Any]]


def _list_workloads(kube: KubeClient, kinds: Sequence[Workload], namespace: str, selector: str) -> list[_Found]:
    """List the workloads of all kinds at once, in one namespace or in all ("")."""
    inside = f"/namespaces/{namespace}" if namespace else ""

    def list_workloads(kind: Workload) -> list[_Found]:
        items = kube.list(f"{kind.group}{inside}/{kind}", labelSelector=selector)["items"]
        return [(kind, item) for item in items if not item["metadata"].get("deletionTimestamp")]

    return [found for part in _run_at_once(list_workloads, kinds) for found in part]


def _run_at_once(work: Callable[[Workload], list[_Found]], kinds: Sequence[Workload]) -> Iterable[list[_Found]]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=len(kinds)) as pool:
        return list(pool.map(work, kinds))


def _find_elsewhere(kube: KubeClient, name: str, selector: str) -> tuple[StoredBuilder, ...]:
    try:
        return _group_by_builder(_list_workloads(kube, LASTING, "", selector))
    except Forbidden as failure:
        where = f"builder {name!r} not found in namespace {kube.namespace!r}"
        fix = f"set --namespace: other namespaces cannot be searched ({failure.message})"
        raise InputError(where, fix=fix) from failure


def _group_by_builder(found: Iterable[_Found]) -> tuple[StoredBuilder, ...]:
    groups: dict[tuple[str, str], list[_Found]] = {}
    for kind, item in found:
        metadata = item["metadata"]
        place = (metadata.get("namespace", ""), (metadata.get("labels") or {}).get(labels.BUILDER, ""))
        groups.setdefault(place, []).append((kind, item))
    return tuple(_read_builder(namespace, name, groups[namespace, name]) for namespace, name in sorted(groups))


def _read_builder(namespace: str, name: str, found: list[_Found]) -> StoredBuilder:
    jobs = all(kind is Workload.JOB for kind, _ in found)
    location = BuilderLocation(
        name=name,
        namespace=namespace,
        exclusive=jobs and namespace == name,
        lifetime=Lifetime.JOB if jobs else Lifetime.BUILDER,
    )
    found.sort(key=lambda each: (str(each[1]["metadata"].get("creationTimestamp")), each[1]["metadata"]["name"]))
    return StoredBuilder(location=location, nodes=tuple(read_node(kind, item) for kind, item in found))


def _is_over(job: Mapping[str, Any]) -> bool:
    ended = any(find_condition(job, kind).get("status") == "True" for kind in ("Failed", "Complete"))
    return ended or bool(job["metadata"].get("deletionTimestamp"))


def read_loadbalance(text: str) -> LoadBalance:
    """Read how one of several replicas is chosen, from an annotation."""
    return next((one for one in LoadBalance if one == text), LoadBalance.STICKY)


def _read_range(notes: Mapping[str, str]) -> ReplicaRange | None:
    """Read the range of an elastic node's replicas, None for a fixed number."""
    if not (text := notes.get(labels.REPLICA_RANGE, "")):
        return None
    from ci_buildx.settings.driver_opts.checks import parse_replicas

    with suppress(InputError):
        least, most = parse_replicas(text, source=labels.REPLICA_RANGE)
        idle = parse_duration(notes.get(labels.IDLE_TIMEOUT, ""), source=labels.IDLE_TIMEOUT)
        return ReplicaRange(least=least, most=most, idle=idle)
    return None


def _read_timeout(text: str) -> float:
    if text:
        with suppress(InputError):
            return parse_duration(text, source=labels.TIMEOUT)
    return BuilderSettings().timeout


def _read_architecture(workload: Mapping[str, Any]) -> str | None:
    """Return the architecture that the workload's pods are bound to, None if any."""
    template = (workload.get("spec") or {}).get("template") or {}
    pod = template.get("spec") or {}
    found = (pod.get("nodeSelector") or {}).get(labels.ARCHITECTURE)
    return str(found) if found else None


def _read_json(text: str | None, kind: type) -> Any:
    """Return the JSON value of an annotation; an empty ``kind`` if it is missing or invalid."""
    try:
        value = parse_json(text or "null")
    except ValueError:
        value = None
    return value if isinstance(value, kind) else kind()
