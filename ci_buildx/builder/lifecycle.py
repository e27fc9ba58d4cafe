"""Finding a builder that was kept, and what is noted at it; :mod:`ci_buildx.builder.provision` makes one."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import (
    CA_FILE,
    CLIENT_CERTIFICATE_FILE,
    CLIENT_KEY_FILE,
    CONFIG_FILE,
    Builder,
    ClientKeys,
    Location,
)
from ci_buildx.builder.plan import ANY, NodePlan, Plan
from ci_buildx.errors import Forbidden, InputError, KubeError, NotFound
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import platform
from ci_buildx.model.platform import Platform
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings, LoadBalance

if TYPE_CHECKING:
    from ci_buildx.builder.identity import JobIdentity


def locate(identity: JobIdentity, settings: BuilderSettings) -> Location:
    """Where the builder's objects will be: in a namespace of its own, or in the one that was asked for."""
    if settings.namespace:
        return Location(name=identity.name, namespace=settings.namespace, exclusive=False)
    return Location(name=identity.name, namespace=identity.name)


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
    from ci_buildx.builder.manifests import node_notes

    kube.patch(builder.workload_path(node), {"metadata": {"annotations": node_notes(node)}})


def remember_transport(kube: KubeClient, builder: Builder, node: NodePlan, transport: str) -> None:
    """Note at a node's workload which transport reaches it, for :func:`load`. Raises KubeError."""
    kube.patch(builder.workload_path(node), {"metadata": {"annotations": {labels.TRANSPORT: transport}}})


def owner_of(kube: KubeClient, builder: Builder) -> dict[str, str]:
    """What an object of the builder goes with: one of its workloads. Raises KubeError."""
    from ci_buildx.builder.manifests import owner

    return owner(kube.get(builder.workload_path(builder.plan.nodes[0])))


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
        ca=files[CA_FILE],
        certificate=files[CLIENT_CERTIFICATE_FILE],
        key=Secret(files[CLIENT_KEY_FILE]),
    )


def read_config(kube: KubeClient, builder: Builder) -> str:
    """The builder's buildkitd.toml, "" if it has none."""
    location = builder.location
    try:
        found = kube.get(f"{location.core_path('configmaps')}/{location.config_name(builder.plan.nodes[0].name)}")
    except NotFound:
        return ""
    return str(found["data"].get(CONFIG_FILE, ""))


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
        loadbalance=read_loadbalance(notes.get(labels.LOADBALANCE, "")),
        reason=notes.get(labels.REASON, ""),
    )


def read_loadbalance(text: str) -> LoadBalance:
    """How one of several replicas is chosen, by what was noted of it."""
    return LoadBalance.RANDOM if text == LoadBalance.RANDOM else LoadBalance.STICKY


def _notes(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    return manifest["metadata"].get("annotations") or {}


def _platforms(text: str) -> tuple[Platform, ...]:
    return tuple(platform.parse(part) for part in text.split(",") if part)


def _ended(job: Mapping[str, Any]) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(item["type"] in ("Failed", "Complete") and item["status"] == "True" for item in conditions)
