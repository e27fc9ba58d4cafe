"""Owners of a builder's objects: the run that created them, and the pod of the CI job's runner.

Labels prove nothing, because anyone can write them: a run accepts only objects with its own nonce.

Owners do not work across namespaces (Kubernetes' documentation, "Owners and dependents"): a pod can own only objects in
its own namespace.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Manifest
from ci_buildx.errors import Conflict, KubeError
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass

_LONGEST = 200
"""Longest text from an annotation in a message, in characters."""


def is_own(existing: Mapping[str, Any], manifest: Manifest) -> bool:
    """Return whether this run created ``existing`` from ``manifest``, and it is not being deleted."""
    nonce = labels.read_nonce(manifest)
    same = labels.belongs_to(existing, manifest["metadata"]["labels"][labels.BUILDER])
    return same and bool(nonce) and labels.read_nonce(existing) == nonce and not _is_going(existing)


def make_conflict(existing: Mapping[str, Any], manifest: Manifest) -> Conflict:
    """Return the error for a name that is taken.

    It names the existing object, the fix and, if the object's annotations contain that, who created it when.
    """
    metadata = manifest["metadata"]
    kind, name, space = manifest["kind"], metadata["name"], existing["metadata"].get("namespace", "")
    what = f"{kind.lower() if kind == 'Namespace' else kind} {name}{f' in namespace {space}' if space else ''}"
    if labels.belongs_to(existing, metadata["labels"][labels.BUILDER]) and _is_going(existing):
        return Conflict(f"{what} is still being deleted", status=409, fix="try again when it is gone")
    removal = f"kubectl delete{f' -n {space}' if space else ''} {kind.lower()} {name}"
    return Conflict(
        f"{what} already exists, and this run did not create it{describe_creator(existing)}",
        status=409,
        fix=f"start a new job, which uses another name; if it is unused: {removal}",
    )


def describe_creator(existing: Mapping[str, Any]) -> str:
    """Return in brackets when an object was created and, by its annotations, by whom and for what; else ""."""
    metadata = existing["metadata"]
    notes = metadata.get("annotations") or {}
    created = metadata.get("creationTimestamp") or ""
    said = [f"created {_escape_line(created)}"] if created else []
    for key, word in ((labels.CREATOR, "by"), (labels.REPOSITORY, "for"), (labels.RUN_URL, "in")):
        if notes.get(key):
            said.append(f"{word} {_escape_line(notes[key])}")
    return f" ({', '.join(said)})" if said else ""


def _is_going(existing: Mapping[str, Any]) -> bool:
    return bool(existing["metadata"].get("deletionTimestamp"))


def _escape_line(text: str) -> str:
    """Return untrusted text as one short, printable line."""
    shown = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


_PATIENCE = 5.0
"""Seconds in which the IP address of a pod that has just started must become known.

A kubelet reports it after it has started the containers, and late if it is busy.
"""
_PAUSE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerHost:
    """Name and IP addresses of this machine."""

    name: str
    addresses: frozenset[str]


def read_host(towards: str) -> RunnerHost:
    """Return the hostname, in a pod its name, and the IP address that ``towards`` (an IP address) would see.

    Resolving the own hostname instead would query only DNS in images without an ``nsswitch.conf``.
    """
    family = socket.AF_INET6 if ":" in towards else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect((towards, 9))  # chooses the route, and sends nothing
        except OSError:
            return RunnerHost(name=socket.gethostname(), addresses=frozenset())
        return RunnerHost(name=socket.gethostname(), addresses=frozenset((channel.getsockname()[0],)))


def find_own_pod(
    kube: KubeClient, namespace: str, env: Mapping[str, str], *, look: Callable[[str], RunnerHost] = read_host
) -> dict[str, str] | None:
    """Return an owner reference to the pod of this process; None if it does not run in a pod of ``namespace``.

    Addresses are compared, because a pod of the same name in another cluster has other addresses.
    """
    server = env.get("KUBERNETES_SERVICE_HOST")
    if not server:
        return None
    host = look(server)
    try:
        pod = _wait_for_addresses(kube, f"/api/v1/namespaces/{namespace}/pods/{host.name}")
    except KubeError:
        return None
    if not _list_addresses(pod) & host.addresses:
        return None
    return {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"].get("uid", "")}


def _wait_for_addresses(kube: KubeClient, path: str) -> Manifest:
    """Return the pod at ``path``, with its addresses if they become known in time. Raises KubeError."""
    deadline = time.monotonic() + _PATIENCE
    while not _list_addresses(pod := kube.get(path)) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return pod


def _list_addresses(pod: Manifest) -> set[str]:
    return {address["ip"] for address in (pod.get("status") or {}).get("podIPs") or ()}
