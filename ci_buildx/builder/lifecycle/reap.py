"""Which builders are over: pure, and nothing is chosen that is not provably ours and provably over."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.identity import PREFIX
from ci_buildx.builder.lifecycle import lease
from ci_buildx.builder.lifecycle.teardown import explain_stuck, teardown
from ci_buildx.builder.pods import compute_age
from ci_buildx.errors import Conflict, Forbidden, KubeError, NotFound, Unreachable
from ci_buildx.kube.client import MOST_PAGES, KubeClient
from ci_buildx.kube.refusal import make_kube_error
from ci_buildx.model.record import dataclass

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_DELETION_TIME = 60.0
"""Seconds after which a namespace that was deleted will not go by itself any more."""


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
    return bool(deleted) and compute_age(deleted, now) > _DELETION_TIME


def select_namespaces(namespaces: Iterable[Mapping[str, Any]], now: float) -> list[BuilderLocation]:
    """The places of builders that have expired; nothing that is not provably ours and provably over."""
    return [
        BuilderLocation(name=found["metadata"]["name"], namespace=found["metadata"]["name"])
        for found in namespaces
        if is_builder_namespace(found) and is_expired(found, now)
    ]


def select_objects(manifests: Iterable[Mapping[str, Any]], namespace: str, now: float) -> list[BuilderLocation]:
    """Builders that live in somebody's ``namespace``, all of whose ``manifests`` have expired."""
    expired: dict[str, bool] = {}
    for manifest in manifests:
        name = (manifest["metadata"].get("labels") or {}).get(labels.BUILDER, "")
        if name.startswith(PREFIX) and labels.belongs_to(manifest, name):
            expired[name] = expired.get(name, True) and is_expired(manifest, now)
    return [BuilderLocation(name=name, namespace=namespace, exclusive=False) for name, over in expired.items() if over]


def select_silent(
    namespaces: Iterable[Mapping[str, Any]],
    inside: Mapping[str, Iterable[Mapping[str, Any]]],
    signs: Mapping[BuilderLocation, str],
) -> list[BuilderLocation]:
    """Of the builders whose jobs are silent (``signs``, see
    :func:`~ci_buildx.builder.lifecycle.lease.select_silent_builders`) those that are there and ours.

    ``inside`` holds the objects of builders in namespaces that are not their own.
    """
    own = {found["metadata"]["name"] for found in namespaces if is_builder_namespace(found)}
    return [
        place
        for place in signs
        if (place.exclusive and place.namespace in own)
        or any(
            not place.exclusive and labels.belongs_to(found, place.name) for found in inside.get(place.namespace, ())
        )
    ]


_TEARDOWN_TIME = 60.0
_PAGE = 500
_SECOND_LOOK = lease.INTERVAL + 10.0
"""Seconds in which a job that is alive gives a sign."""
_A_FEW = 3
"""How many expired builders a job removes beside its own: more jobs come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReapResult:
    """What a sweep found: ``expired`` builders, of them the ``removed`` ones, and ``problems`` by builder.

    ``notes`` say where it could not look.
    """

    expired: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    problems: Mapping[str, str]
    notes: tuple[str, ...] = ()


def reap_builders(
    kube: KubeClient,
    *,
    namespaces: Sequence[str] = (),
    dry_run: bool = False,
    wait: Callable[[float], object] = time.sleep,
) -> ReapResult:
    """Remove expired builders: those with a namespace of their own, and those inside ``namespaces``.

    A builder whose job gives no sign of life has expired, too, if it gives none either at a second look, for which the
    sweep waits. Age is judged by the API server's clock. Where namespaces are named, being forbidden to list them all
    is a note in the result. Raises KubeError where listing fails; a builder that cannot be removed is a problem in the
    result, and the others are removed all the same.
    """
    view = _list_candidates(kube, namespaces)
    expired = select_namespaces(view.namespaces, view.now)
    for namespace, manifests in view.inside.items():
        expired += select_objects(manifests, namespace, view.now)
    expired += [place for place in _find_silent(kube, view, wait) if place not in expired]
    removed, problems = [], {}
    for location in [] if dry_run else expired:
        if problem := view.explain_stuck_namespace(location) or _remove(kube, location):
            problems[location.name] = problem
        else:
            removed.append(location.name)
    names = tuple(each.name for each in expired)
    return ReapResult(expired=names, removed=tuple(removed), problems=problems, notes=tuple(view.notes))


def reap_few(kube: KubeClient) -> tuple[str, ...]:
    """What each job does beside its own work: delete a few namespaces of expired builders; their names.

    One call where there is nothing to do. Which ones is left to chance, so that jobs that run at once do not all take
    the same. Raises KubeError.
    """
    marked = f"{labels.MANAGED_BY}={labels.MANAGER}"
    # From the API server's memory: that a namespace is the one that was seen is made sure of by its uid.
    listed = kube.get("/api/v1/namespaces", labelSelector=marked, resourceVersion="0").get("items") or ()
    staying = {each["metadata"]["name"]: each for each in listed if not each["metadata"].get("deletionTimestamp")}
    expired = [place.name for place in select_namespaces(staying.values(), kube.server_time or 0.0)]
    removed = []
    for name in random.sample(expired, min(len(expired), _A_FEW)):
        seen = {"uid": staying[name]["metadata"]["uid"]}
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": seen}
        # One that another account has made is not this one's to delete.
        with suppress(NotFound, Conflict, Forbidden):
            kube.delete(f"/api/v1/namespaces/{name}", body=body)
            removed.append(name)
    return tuple(removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReapView:
    """What a sweep sees at first: ``namespaces`` of builders' own, builders' objects ``inside`` others, at ``now``."""

    namespaces: list[dict[str, Any]]
    inside: Mapping[str, list[dict[str, Any]]]
    now: float
    notes: list[str]

    def explain_stuck_namespace(self, location: BuilderLocation) -> str:
        """Why a namespace that was deleted long ago is still there, "" if it was not."""
        for found in self.namespaces:
            if location.exclusive and found["metadata"]["name"] == location.name and is_stuck(found, self.now):
                return f"its deletion does not end: {explain_stuck(found) or 'no cause is given'}"
        return ""


def _list_candidates(kube: KubeClient, namespaces: Sequence[str]) -> _ReapView:
    inside = {namespace: _list_objects(kube, namespace) for namespace in namespaces}
    try:
        listed, now = _list_namespaces(kube)
    except Forbidden as failure:
        if not namespaces or kube.server_time is None:
            raise
        note = f"only the named namespaces were searched: {failure.message}"
        return _ReapView(namespaces=[], inside=inside, now=kube.server_time, notes=[note])
    return _ReapView(namespaces=listed, inside=inside, now=now, notes=[])


def _find_silent(kube: KubeClient, view: _ReapView, wait: Callable[[float], object]) -> list[BuilderLocation]:
    """The builders whose jobs give no sign of life, neither now nor at a second look.

    One look is not enough: after a failure of the API server all Leases are old, and renewed a moment later.
    """
    first = _list_silent_leases(kube, view)
    suspects = select_silent(view.namespaces, view.inside, first)
    if not suspects:
        return []
    wait(_SECOND_LOOK)
    second = _list_silent_leases(kube, view)
    return [place for place in suspects if second.get(place) == first[place]]


def _list_silent_leases(kube: KubeClient, view: _ReapView) -> dict[BuilderLocation, str]:
    """The last signs of life of silent jobs, wherever Leases may be read."""
    places = [*([""] if view.namespaces else []), *(f"/namespaces/{name}" for name in view.inside)]
    found: list[dict[str, Any]] = []
    for place in places:
        try:
            marked = f"{labels.MANAGED_BY}={labels.MANAGER},{labels.BUILDER}"
            found += kube.list(f"{lease.GROUP}{place}/leases", labelSelector=marked)["items"]
        except Forbidden as failure:
            note = f"killed jobs are known by their lifetime only: {failure.message}"
            if note not in view.notes:
                view.notes.append(note)
    return lease.select_silent_builders(found, kube.server_time or view.now)


def _remove(kube: KubeClient, location: BuilderLocation) -> str:
    """Tear a builder down; what stays, and why, "" if nothing does."""
    report = teardown(kube, location, deadline=time.monotonic() + _TEARDOWN_TIME)
    return "; ".join(report.notes) or ", ".join(report.left) if report.left else ""


def _list_namespaces(kube: KubeClient) -> tuple[list[dict[str, Any]], float]:
    """Our namespaces, by the official package, and the server's clock as it answered."""
    from kubernetes.client import CoreV1Api

    api = kube.make_official_client()
    core = CoreV1Api(api)
    found: list[dict[str, Any]] = []
    token = None
    for _ in range(MOST_PAGES):
        page, date = _list_page(api, core, token)
        found += page["items"]
        token = page["metadata"].get("continue")
        if not token:
            return found, date
    raise KubeError(f"GET /api/v1/namespaces: the list has more than {MOST_PAGES} pages of {_PAGE} objects")


def _list_page(api: ApiClient, core: Any, token: str | None) -> tuple[dict[str, Any], float]:
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
        raise make_kube_error(failure.status or 0, body, "GET /api/v1/namespaces") from failure
    except HTTPError as failure:
        raise Unreachable(f"cannot list namespaces: {failure}") from failure
    return api.sanitize_for_serialization(listed), parsedate_to_datetime(headers["Date"]).timestamp()


def _list_objects(kube: KubeClient, namespace: str) -> list[dict[str, Any]]:
    """Everything of builders in a namespace that is not their own."""
    place = BuilderLocation(name="", namespace=namespace, exclusive=False)
    marked = f"{labels.MANAGED_BY}={labels.MANAGER},{labels.BUILDER}"
    paths = (place.jobs_path, place.make_core_path("secrets"), place.make_core_path("configmaps"))
    return [item for path in paths for item in kube.list(path, labelSelector=marked)["items"]]
