"""Removing what expired builders left: a selection without I/O, and a sweep that acts on it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Location
from ci_buildx.builder.identity import PREFIX
from ci_buildx.builder.pods import age
from ci_buildx.builder.teardown import explain_stuck, teardown
from ci_buildx.errors import Forbidden, Unreachable
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.refusal import refusal
from ci_buildx.model.record import dataclass

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_TEARDOWN_TIME = 60.0
_DELETION_TIME = 60.0
_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a sweep found: ``expired`` builders, of them the ``removed`` ones, and ``problems`` by builder.

    ``notes`` say where it could not look.
    """

    expired: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    problems: Mapping[str, str]
    notes: tuple[str, ...] = ()


def is_expired(manifest: Mapping[str, Any], now: float) -> bool:
    """Whether an object bears our expiry, readable and in the past of ``now`` (epoch seconds)."""
    text = (manifest["metadata"].get("annotations") or {}).get(labels.EXPIRES, "")
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (TypeError, ValueError):
        return False
    return moment.timestamp() < now


def is_builder_namespace(namespace: Mapping[str, Any]) -> bool:
    """Whether a namespace is a builder's own: by prefix, by manager, and by bearing its own name as builder."""
    name = namespace["metadata"].get("name", "")
    return bool(name.startswith(PREFIX)) and labels.belongs_to(namespace, name)


def is_stuck(namespace: Mapping[str, Any], now: float) -> bool:
    """Whether it was deleted so long ago that it will not go by itself."""
    deleted = namespace["metadata"].get("deletionTimestamp") or ""
    return bool(deleted) and age(deleted, now) > _DELETION_TIME


def select_namespaces(namespaces: Iterable[Mapping[str, Any]], now: float) -> list[Location]:
    """The places of builders that have expired; nothing that is not provably ours and provably over."""
    return [
        Location(name=found["metadata"]["name"], namespace=found["metadata"]["name"])
        for found in namespaces
        if is_builder_namespace(found) and is_expired(found, now)
    ]


def select_objects(manifests: Iterable[Mapping[str, Any]], namespace: str, now: float) -> list[Location]:
    """Builders that live in somebody's ``namespace``, all of whose ``manifests`` have expired."""
    expired: dict[str, bool] = {}
    for manifest in manifests:
        name = (manifest["metadata"].get("labels") or {}).get(labels.BUILDER, "")
        if name.startswith(PREFIX) and labels.belongs_to(manifest, name):
            expired[name] = expired.get(name, True) and is_expired(manifest, now)
    return [Location(name=name, namespace=namespace, exclusive=False) for name, over in expired.items() if over]


def sweep(kube: KubeClient, *, namespaces: Sequence[str] = (), dry_run: bool = False) -> Sweep:
    """Remove expired builders: those with a namespace of their own, and those inside ``namespaces``.

    Age is judged by the API server's clock. Where namespaces are named, being forbidden to list them all is a note in
    the result. Raises KubeError where listing fails; a builder that cannot be removed is a problem in the result, and
    the others are removed all the same.
    """
    inside = {namespace: _list_objects(kube, namespace) for namespace in namespaces}
    notes = []
    try:
        listed, now = _list_namespaces(kube)
    except Forbidden as failure:
        if not namespaces or kube.server_time is None:
            raise
        listed, now = [], kube.server_time
        notes.append(f"only the named namespaces were searched: {failure.message}")
    stuck = {item["metadata"]["name"]: explain_stuck(item) for item in listed if is_stuck(item, now)}
    expired = select_namespaces(listed, now)
    for namespace, manifests in inside.items():
        expired += select_objects(manifests, namespace, now)
    removed, problems = [], {}
    for location in [] if dry_run else expired:
        if location.exclusive and location.name in stuck:
            problems[location.name] = f"its deletion does not end: {stuck[location.name] or 'no cause is given'}"
            continue
        report = teardown(kube, location, deadline=time.monotonic() + _TEARDOWN_TIME)
        if report.left:
            problems[location.name] = "; ".join(report.notes)
        else:
            removed.append(location.name)
    names = tuple(each.name for each in expired)
    return Sweep(expired=names, removed=tuple(removed), problems=problems, notes=tuple(notes))


def _list_namespaces(kube: KubeClient) -> tuple[list[dict[str, Any]], float]:
    """Our namespaces, by the official package, and the server's clock as it answered."""
    from kubernetes.client import CoreV1Api

    api = kube.official()
    core = CoreV1Api(api)
    found: list[dict[str, Any]] = []
    token = None
    while True:
        page, date = _page(api, core, token)
        found += page["items"]
        token = page["metadata"].get("continue")
        if not token:
            return found, date


def _page(api: ApiClient, core: Any, token: str | None) -> tuple[dict[str, Any], float]:
    from email.utils import parsedate_to_datetime

    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    marked = f"{labels.MANAGED_BY}={labels.MANAGER}"
    more = {"_continue": token} if token else {}
    try:
        listed, _status, headers = core.list_namespace_with_http_info(label_selector=marked, limit=_PAGE, **more)
    except ApiException as failure:
        body = failure.body or b""
        body = body.encode() if isinstance(body, str) else body
        raise refusal(failure.status or 0, body, "GET /api/v1/namespaces") from failure
    except HTTPError as failure:
        raise Unreachable(f"cannot list namespaces: {failure}") from failure
    return api.sanitize_for_serialization(listed), parsedate_to_datetime(headers["Date"]).timestamp()


def _list_objects(kube: KubeClient, namespace: str) -> list[dict[str, Any]]:
    """Everything of builders in a namespace that is not their own."""
    place = Location(name="", namespace=namespace, exclusive=False)
    marked = f"{labels.MANAGED_BY}={labels.MANAGER},{labels.BUILDER}"
    paths = (place.jobs_path, place.core_path("secrets"), place.core_path("configmaps"))
    return [item for path in paths for item in kube.list(path, labelSelector=marked)["items"]]
