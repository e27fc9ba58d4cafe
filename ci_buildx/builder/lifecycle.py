"""Making a builder, finding one that was kept, and removing it.

Order of creation: the namespace, the Jobs, then what they own. The kubelet mounts a pod's volumes a tenth of a second
after it has seen the pod, so the Secret, created within milliseconds of the Jobs, is there in time; and it never
exists without an owner.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ci_buildx.builder import daemon, isolation, labels, manifests
from ci_buildx.builder.builder import Builder, ClientKeys, Location, Manifest
from ci_buildx.builder.certificates import Certificates
from ci_buildx.builder.draft import Draft
from ci_buildx.builder.identity import JobIdentity, expiry
from ci_buildx.builder.plan import ANY, NodePlan, Plan
from ci_buildx.builder.surroundings import Surroundings
from ci_buildx.builder.teardown import teardown
from ci_buildx.errors import Conflict, Forbidden, InputError, Invalid, KubeError, NotFound, Refused, Unauthorized
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.refusal import lacks_right
from ci_buildx.model import platform
from ci_buildx.model.platform import Platform
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings

_NAMESPACES = "/api/v1/namespaces"

__all__ = [
    "Blueprint",
    "drop_node",
    "load",
    "locate",
    "provision",
    "read_config",
    "remember_transport",
    "rewrite_node",
    "teardown",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """Everything that is decided before a builder is made.

    ``runner`` is the pod that it is to go with, if any. ``pull_login`` is the docker configuration that its images are
    pulled with, where the settings want one.
    """

    identity: JobIdentity
    plan: Plan
    settings: BuilderSettings
    certificates: Certificates
    runner: Mapping[str, str] | None = None
    surroundings: Surroundings = field(default_factory=Surroundings)
    pull_login: Secret | None = None


def locate(identity: JobIdentity, settings: BuilderSettings) -> Location:
    """Where the builder's objects will be: in a namespace of its own, or in the one that was asked for."""
    if settings.namespace:
        return Location(name=identity.name, namespace=settings.namespace, exclusive=False)
    return Location(name=identity.name, namespace=identity.name)


def provision(kube: KubeClient, blueprint: Blueprint, *, announce: Callable[[Location], None]) -> Builder:
    """Create everything; pods are not awaited. ``announce`` hears where before the first object is created.

    What exists already under the same identity is taken as made, so that it may be called twice. Raises KubeError;
    what was created until then is the caller's to tear down, unless the error is ``Refused``: then nothing was.
    """
    location = locate(blueprint.identity, blueprint.settings)
    announce(location)
    draft = Draft(
        identity=blueprint.identity,
        location=location,
        settings=blueprint.settings,
        expires=expiry(_server_clock(kube), blueprint.settings.lifetime),
        runner=blueprint.runner,
        server=blueprint.surroundings.server,
        cluster_ranges=blueprint.surroundings.ranges,
    )
    if location.exclusive and labels.creator(namespace := _found(kube, draft)):
        from ci_buildx.builder import entry

        entry.enter(kube, namespace)
        return entry.insist(lambda: _furnish(kube, draft, blueprint))
    return _furnish(kube, draft, blueprint)


def _found(kube: KubeClient, draft: Draft) -> Manifest:
    """Create the namespace, the first of all objects. Raises Refused if it may not be made, or another KubeError."""
    namespace = manifests.namespace(draft)
    try:
        return _create(kube, _NAMESPACES, namespace)
    except (Unauthorized, Invalid) as failure:
        raise Refused(failure) from failure
    except Forbidden as failure:
        from ci_buildx.builder import entry

        if not entry.is_asked_to_sign(failure):
            raise Refused(failure) from failure
    try:
        return _create(kube, _NAMESPACES, entry.sign(kube, namespace))
    except (Forbidden, Unauthorized, Invalid) as failure:
        raise Refused(failure) from failure


def _furnish(kube: KubeClient, draft: Draft, blueprint: Blueprint) -> Builder:
    """Create what is inside; what is there already is taken as made."""
    location = draft.location
    created = _create_jobs(kube, draft, blueprint.plan.nodes)
    owners = [manifests.owner(job) for job in created]
    if blueprint.pull_login is not None:
        _create(kube, location.core_path("secrets"), manifests.pull_secret(draft, blueprint.pull_login, owners))
    if draft.settings.network is not None:
        fence = manifests.network_policy(draft, draft.settings.network, owners)
        _create(kube, f"/apis/networking.k8s.io/v1/namespaces/{location.namespace}/networkpolicies", fence)
    if daemon.files(draft.settings):
        _create(kube, location.core_path("configmaps"), manifests.config_map(draft, owners))
    secret = _create(kube, location.core_path("secrets"), manifests.secret(draft, blueprint.certificates, owners))
    planned = isolation.correct(blueprint.plan, created, draft.settings)
    return Builder(location=location, plan=planned, keys=read_keys(secret))


def _create_jobs(kube: KubeClient, draft: Draft, nodes: Sequence[NodePlan]) -> list[Manifest]:
    """Create the Jobs, the first objects in a namespace that is not the builder's own."""
    location = draft.location
    try:
        return _create_all(kube, location.jobs_path, [manifests.job(draft, node) for node in nodes])
    except Forbidden as failure:
        if location.exclusive or not lacks_right(failure):
            raise
        raise Refused(failure) from failure
    except NotFound as failure:
        if location.exclusive or not failure.message.startswith("namespaces "):
            raise
        fix = "create it or leave --namespace out"
        missing = NotFound(failure.message, status=failure.status, reason=failure.reason, fix=fix)
        raise Refused(missing) from failure


def load(kube: KubeClient, name: str, namespace: str = "") -> Builder:
    """A builder that was kept, by its name, wherever :func:`find` finds it.

    Raises InputError if there is none, or if it has no nodes left (its lifetime is over).
    """
    location = find(kube, name, namespace)
    jobs = kube.list(location.jobs_path, labelSelector=location.selector)["items"]
    nodes = tuple(_read_node(job) for job in jobs if not job["metadata"].get("deletionTimestamp") and not _ended(job))
    if not nodes:
        raise InputError(
            f"builder {name!r} has no node left", fix="its lifetime is over or it was removed; build without it"
        )
    secret = kube.get(f"{location.core_path('secrets')}/{location.object_name('keys')}")
    won = {job["metadata"]["labels"][labels.NODE]: _notes(job).get(labels.TRANSPORT) for job in jobs}
    return Builder(
        location=location,
        plan=Plan(nodes=nodes),
        keys=read_keys(secret),
        transports={node: transport for node, transport in won.items() if transport},
        trust=_notes(secret).get(labels.TRUST, ""),
    )


def rewrite_node(kube: KubeClient, builder: Builder, node: NodePlan) -> None:
    """Note at a node's Job what it builds now that it has taken over another's platforms. Raises KubeError."""
    kube.patch(builder.workload_path(node), {"metadata": {"annotations": manifests.node_notes(node)}})


def remember_transport(kube: KubeClient, builder: Builder, node: NodePlan, transport: str) -> None:
    """Note at a node's workload which transport reaches it, for :func:`load`. Raises KubeError."""
    kube.patch(builder.workload_path(node), {"metadata": {"annotations": {labels.TRANSPORT: transport}}})


def owner_of(kube: KubeClient, builder: Builder) -> dict[str, str]:
    """What an object of the builder goes with: one of its workloads. Raises KubeError."""
    return manifests.owner(kube.get(builder.workload_path(builder.plan.nodes[0])))


def find(kube: KubeClient, name: str, namespace: str = "") -> Location:
    """Where the builder called ``name`` is: in ``namespace`` if one is named, in its own, or in the context's.

    Raises InputError if none of them has it.
    """
    if namespace and _is_inside(kube, place := Location(name=name, namespace=namespace, exclusive=False)):
        return place
    if _has_its_own(kube, name):
        return Location(name=name, namespace=name)
    place = Location(name=name, namespace=kube.namespace, exclusive=False)
    looked = [repr(each) for each in dict.fromkeys((namespace, kube.namespace)) if each]
    try:
        if place.namespace != namespace and _is_inside(kube, place):
            return place
    except Forbidden:
        # A job's account may look into namespaces of its own only, a user's into the one that it named.
        looked.remove(repr(kube.namespace))
    fix = f"neither as a namespace nor in namespace {' or '.join(looked)}" if looked else "no namespace is called so"
    raise InputError(f"there is no builder {name!r}", fix=fix)


def _has_its_own(kube: KubeClient, name: str) -> bool:
    try:
        namespace = kube.get(f"/api/v1/namespaces/{name}")
    except KubeError as failure:
        if failure.status not in (403, 404):
            raise
        return False
    return labels.belongs_to(namespace, name)


def _is_inside(kube: KubeClient, location: Location) -> bool:
    return bool(kube.list(location.jobs_path, labelSelector=location.selector)["items"])


def drop_node(kube: KubeClient, builder: Builder, node: NodePlan) -> None:
    """Remove one node's Job and pods: it could not be scheduled, and another node emulates its platforms."""
    options = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
    try:
        kube.delete(builder.workload_path(node), body={"kind": "DeleteOptions", "apiVersion": "v1", **options})
    except NotFound:
        return


def read_keys(secret: Mapping[str, Any]) -> ClientKeys:
    """The client's side of the builder's Secret."""
    files = {name: base64.b64decode(content) for name, content in secret["data"].items()}
    return ClientKeys(
        ca=files[daemon.CA_FILE],
        certificate=files[manifests.CLIENT_CERTIFICATE_FILE],
        key=Secret(files[manifests.CLIENT_KEY_FILE]),
    )


def read_config(kube: KubeClient, builder: Builder) -> str:
    """The builder's buildkitd.toml, "" if it has none."""
    location = builder.location
    try:
        found = kube.get(f"{location.core_path('configmaps')}/{location.object_name('config')}")
    except NotFound:
        return ""
    return str(found["data"].get(daemon.CONFIG_FILE, ""))


def _server_clock(kube: KubeClient) -> float:
    """Epoch seconds by the API server: the runner's own clock may be wrong, and expiry is judged by the server's."""
    if kube.server_time is None:
        kube.get("/version")
    return kube.server_time or time.time()


def _create_all(kube: KubeClient, collection: str, drafts: Sequence[Manifest]) -> list[Manifest]:
    """Create several objects at once: each costs a round trip to a server that may be far away."""
    if len(drafts) == 1:
        return [_create(kube, collection, drafts[0])]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=len(drafts)) as pool:
        return list(pool.map(lambda draft: _create(kube, collection, draft), drafts))


def _create(kube: KubeClient, collection: str, manifest: Manifest) -> Manifest:
    """Create an object, or take the one that is there if it is the same builder's and stays."""
    try:
        return kube.create(collection, manifest)
    except Conflict:
        name = manifest["metadata"]["name"]
        existing = kube.get(f"{collection}/{name}")
        if not labels.belongs_to(existing, manifest["metadata"]["labels"][labels.BUILDER]):
            raise
        if existing["metadata"].get("deletionTimestamp"):
            raise Conflict(
                f"{manifest['kind']} {name} is still being deleted", status=409, fix="try again when it is gone"
            ) from None
        return existing


def _read_node(job: Mapping[str, Any]) -> NodePlan:
    metadata, spec = job["metadata"], job["spec"]
    notes = _notes(job)
    name = metadata["labels"][labels.NODE]
    return NodePlan(
        name=name,
        architecture=None if name == ANY else name,
        platforms=_platforms(notes.get(labels.PLATFORMS, "")),
        emulated=_platforms(notes.get(labels.EMULATED, "")),
        replicas=spec.get("parallelism", 1),
        reason=notes.get(labels.REASON, ""),
    )


def _notes(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    return manifest["metadata"].get("annotations") or {}


def _platforms(text: str) -> tuple[Platform, ...]:
    return tuple(platform.parse(part) for part in text.split(",") if part)


def _ended(job: Mapping[str, Any]) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(item["type"] in ("Failed", "Complete") and item["status"] == "True" for item in conditions)
