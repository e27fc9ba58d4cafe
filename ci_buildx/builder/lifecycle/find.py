"""Lookup of a builder that was kept, and annotations that are recorded on it.

:mod:`ci_buildx.builder.lifecycle.provision` creates builders.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import (
    CA_FILE,
    CLIENT_CERTIFICATE_FILE,
    CLIENT_KEY_FILE,
    Builder,
    BuilderLocation,
    ClientKeys,
)
from ci_buildx.builder.plan import NodePlan
from ci_buildx.errors import Forbidden, InputError, KubeError, NotFound
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings

if TYPE_CHECKING:
    from ci_buildx.builder.identity import JobIdentity


def locate_job_builder(identity: JobIdentity, settings: BuilderSettings) -> BuilderLocation:
    """Return where the builder's objects will be: in its own namespace or in the configured one."""
    nonce = identity.annotations.get(labels.NONCE, "")
    if settings.namespace:
        return BuilderLocation(name=identity.name, namespace=settings.namespace, exclusive=False, nonce=nonce)
    return BuilderLocation(name=identity.name, namespace=identity.name, nonce=nonce)


def update_node_annotations(kube: KubeClient, builder: Builder, node: NodePlan) -> None:
    """Record on a node's Job what it builds after it has taken over another node's platforms. Raises KubeError."""
    from ci_buildx.builder.manifests.objects import make_node_annotations

    kube.patch(builder.make_workload_path(node), {"metadata": {"annotations": make_node_annotations(node)}})


def remember_transport(kube: KubeClient, builder: Builder, node: NodePlan, transport: str) -> None:
    """Record on a node's workload which transport reaches it, for its next user. Raises KubeError."""
    kube.patch(builder.make_workload_path(node), {"metadata": {"annotations": {labels.TRANSPORT: transport}}})


def read_owner(kube: KubeClient, builder: Builder) -> dict[str, str]:
    """Return an owner reference to one of the builder's workloads, for its other objects. Raises KubeError."""
    from ci_buildx.builder.manifests.objects import make_job_owner_reference

    return make_job_owner_reference(kube.get(builder.make_workload_path(builder.plan.nodes[0])))


def find_job_builder(kube: KubeClient, name: str, namespace: str = "") -> BuilderLocation:
    """Find builder ``name`` in ``namespace`` if that is given, else in its own namespace, else in the context's.

    Raises InputError if none of them has it.
    """
    if namespace and _is_inside(kube, place := BuilderLocation(name=name, namespace=namespace, exclusive=False)):
        return place
    if _has_own_namespace(kube, name):
        return BuilderLocation(name=name, namespace=name)
    place = BuilderLocation(name=name, namespace=kube.namespace, exclusive=False)
    looked = [repr(each) for each in dict.fromkeys((namespace, kube.namespace)) if each]
    try:
        if place.namespace != namespace and _is_inside(kube, place):
            return place
    except Forbidden:
        # A job's account may look only into namespaces of its own, a user's only into the named one.
        looked.remove(repr(kube.namespace))
    fix = (
        f"check the name: found neither as a namespace nor in namespace {' or '.join(looked)}"
        if looked
        else "check the name: no namespace has this name"
    )
    raise InputError(f"builder {name!r} not found", fix=fix)


def _has_own_namespace(kube: KubeClient, name: str) -> bool:
    try:
        namespace = kube.get(f"/api/v1/namespaces/{name}")
    except KubeError as failure:
        if failure.status not in (403, 404):
            raise
        return False
    return labels.belongs_to(namespace, name)


def _is_inside(kube: KubeClient, location: BuilderLocation) -> bool:
    return bool(kube.list(location.jobs_path, labelSelector=location.selector)["items"])


def remove_failed_node(kube: KubeClient, builder: Builder, node: NodePlan) -> None:
    """Remove the Job and pods of a node that could not be scheduled; another node emulates its platforms."""
    options = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
    try:
        kube.delete(builder.make_workload_path(node), options=options)
    except NotFound:
        return


def remove_pod(kube: KubeClient, builder: Builder, name: str) -> None:
    """Remove one pod at once, so that its Job starts another; no account has the right to delete a pod by its name.

    Raises KubeError.
    """
    pods, options = builder.location.make_core_path("pods"), {"gracePeriodSeconds": 0}
    selector = builder.location.selector
    kube.delete(pods, options=options, labelSelector=selector, fieldSelector=f"metadata.name={name}")


def read_keys(secret: Mapping[str, Any]) -> ClientKeys:
    """Return the client's keys from the builder's Secret. Raises KubeError if it has no such keys."""
    files = {name: base64.b64decode(content) for name, content in (secret.get("data") or {}).items()}
    missing = [name for name in (CA_FILE, CLIENT_CERTIFICATE_FILE, CLIENT_KEY_FILE) if name not in files]
    if missing:
        message = f"Secret {secret['metadata']['name']} has no {', '.join(missing)}"
        raise KubeError(message, fix="remove the builder and create it again")
    return ClientKeys(
        ca=files[CA_FILE],
        certificate=files[CLIENT_CERTIFICATE_FILE],
        key=Secret(files[CLIENT_KEY_FILE]),
    )


def make_secret_reference(secret: Mapping[str, Any]) -> dict[str, str]:
    """Return an owner reference to the builder's Secret as returned by the API server, {} if it has no uid."""
    metadata = secret["metadata"]
    if not metadata.get("uid"):
        return {}
    return {"apiVersion": "v1", "kind": "Secret", "name": metadata["name"], "uid": metadata["uid"]}


def read_files(kube: KubeClient, builder: Builder) -> dict[str, str]:
    """Return the files of the builder's ConfigMap, {} if it has none."""
    return read_node_files(kube, builder.location, builder.plan.nodes[0].name)


def read_node_files(kube: KubeClient, location: BuilderLocation, node: str) -> dict[str, str]:
    """Return the files of a node's ConfigMap, {} if it has none. Raises KubeError."""
    try:
        found = kube.get(f"{location.make_core_path('configmaps')}/{location.make_config_name(node)}")
    except NotFound:
        return {}
    return {str(name): str(text) for name, text in (found.get("data") or {}).items()}


def read_secret_files(kube: KubeClient, builder: Builder) -> dict[str, Secret]:
    """Return the files of the builder's Secret. Raises KubeError."""
    location = builder.location
    found = kube.get(f"{location.make_core_path('secrets')}/{location.make_object_name('keys')}")
    return {str(name): Secret(base64.b64decode(content)) for name, content in (found.get("data") or {}).items()}
