"""Reaping: selection of builders that are provably kube-builder's and provably expired, and their removal.

The selection consists of pure functions.
"""

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
from ci_buildx.kube.refusal import NO_API_SERVER, make_kube_error
from ci_buildx.kube.shape import find_fault
from ci_buildx.model.record import dataclass

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_DELETION_TIME = 60.0
"""Seconds after which the deletion of a namespace counts as stuck."""


def is_expired(manifest: Mapping[str, Any], now: float) -> bool:
    """Return whether an object has kube-builder's expiry, valid and before ``now`` (epoch seconds)."""
    text = (manifest["metadata"].get("annotations") or {}).get(labels.EXPIRES, "")
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (TypeError, ValueError):
        return False
    return moment.timestamp() < now


def is_builder_namespace(namespace: Mapping[str, Any]) -> bool:
    """Return whether a namespace is a builder's own: by prefix, by manager, and by its own name as builder label."""
    name = namespace["metadata"].get("name", "")
    return bool(name.startswith(PREFIX)) and labels.belongs_to(namespace, name)


def is_stuck(namespace: Mapping[str, Any], now: float) -> bool:
    """Return whether the namespace was deleted so long ago that its deletion is stuck."""
    deleted = namespace["metadata"].get("deletionTimestamp") or ""
    return bool(deleted) and compute_age(deleted, now) > _DELETION_TIME


def select_namespaces(namespaces: Iterable[Mapping[str, Any]], now: float) -> list[BuilderLocation]:
    """Return the locations of builders that are provably kube-builder's and provably expired."""
    return [
        BuilderLocation(name=found["metadata"]["name"], namespace=found["metadata"]["name"])
        for found in namespaces
        if is_builder_namespace(found) and is_expired(found, now)
    ]


def select_objects(manifests: Iterable[Mapping[str, Any]], namespace: str, now: float) -> list[BuilderLocation]:
    """Return the builders in a shared ``namespace`` whose ``manifests`` have all expired."""
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
    """Return those builders with silent jobs that exist and are kube-builder's.

    ``signs`` are the silent jobs, see :func:`~ci_buildx.builder.lifecycle.lease.select_silent_builders`. ``inside``
    holds the objects of builders in shared namespaces, by namespace.
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
"""Seconds within which a live job renews its Lease."""
_A_FEW = 3
"""Number of expired builders that a job removes beside its own; later jobs remove the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReapResult:
    """Result of a sweep: ``expired`` builders, those of them that were ``removed``, and ``problems`` by builder.

    ``notes`` report what could not be searched.
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
    """Remove expired builders: those with their own namespace, and those inside ``namespaces``.

    A builder whose job does not renew its Lease has expired, too, if it is not renewed at a second look either; until
    then the sweep calls ``wait`` with the number of seconds. Age is judged by the API server's clock. With ``dry_run``,
    nothing is removed.

    If ``namespaces`` are named, being forbidden to list all namespaces is a note in the result. A builder that cannot
    be removed is a problem in the result, and the others are still removed. Raises KubeError if listing fails.
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
    """Delete a few namespaces of expired builders and return their names; each job does this beside its own work.

    It costs one call if nothing has expired. The choice is random, so that concurrent jobs do not all take the same.
    Raises KubeError.
    """
    marked = f"{labels.MANAGED_BY}={labels.MANAGER}"
    # From the API server's cache; the precondition on the uid makes sure that it is the same namespace.
    listed = kube.get("/api/v1/namespaces", labelSelector=marked, resourceVersion="0").get("items") or ()
    staying = {each["metadata"]["name"]: each for each in listed if not each["metadata"].get("deletionTimestamp")}
    expired = [place.name for place in select_namespaces(staying.values(), kube.server_time or 0.0)]
    creators = {name: labels.read_creator(staying[name]) for name in expired}
    if any(creators.values()):
        from ci_buildx.builder.rbac import admission_policies

        # Another account's builders are not this account's to delete, however many there are.
        own = ("", admission_policies.ask_user_name(kube))
        expired = [name for name in expired if creators[name] in own]
    removed = []
    for name in random.sample(expired, min(len(expired), _A_FEW)):
        seen = {"uid": staying[name]["metadata"].get("uid", "")}
        with suppress(NotFound, Conflict, Forbidden):
            kube.delete(f"/api/v1/namespaces/{name}", options={"preconditions": seen})
            removed.append(name)
    return tuple(removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReapView:
    """First view of a sweep: builders' own ``namespaces``, objects ``inside`` shared ones, and the time ``now``."""

    namespaces: list[dict[str, Any]]
    inside: Mapping[str, list[dict[str, Any]]]
    now: float
    notes: list[str]

    def add_note(self, note: str) -> None:
        """Add a note once."""
        if note not in self.notes:
            self.notes.append(note)

    def explain_stuck_namespace(self, location: BuilderLocation) -> str:
        """Return why a namespace that was deleted long ago still exists; "" if it was not deleted."""
        for found in self.namespaces:
            if location.exclusive and found["metadata"]["name"] == location.name and is_stuck(found, self.now):
                return f"its deletion is stuck: {explain_stuck(found) or 'no cause reported'}"
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
    """Return the builders whose jobs do not renew their Leases, neither now nor at a second look.

    One look is not enough: after an outage of the API server all Leases are old, and renewed a moment later.
    """
    first = _list_silent_leases(kube, view)
    suspects = select_silent(view.namespaces, view.inside, first)
    if not suspects:
        return []
    wait(_SECOND_LOOK)
    second = _list_silent_leases(kube, view)
    return [place for place in suspects if second.get(place) == first[place]]


def _list_silent_leases(kube: KubeClient, view: _ReapView) -> dict[BuilderLocation, str]:
    """Return the last renewals of silent jobs, from wherever Leases can be read."""
    places = [*([""] if view.namespaces else []), *(f"/namespaces/{name}" for name in view.inside)]
    found: list[dict[str, Any]] = []
    for place in places:
        try:
            found += _list_leases(kube, place)
        except Forbidden as failure:
            view.add_note(f"killed jobs are detected by their lifetime only: {failure.message}")
        except KubeError as failure:
            # Anyone who may create Leases somewhere can make the list of all too large to read.
            view.add_note(f"Leases are read one by one: {failure.message}")
            found += _list_leases_singly(kube, view) if not place else []
    return lease.select_silent_builders(found, kube.server_time or view.now)


def _list_leases(kube: KubeClient, place: str, **query: str) -> list[dict[str, Any]]:
    marked = f"{labels.MANAGED_BY}={labels.MANAGER},{labels.BUILDER}"
    items: list[dict[str, Any]] = kube.list(f"{lease.GROUP}{place}/leases", labelSelector=marked, **query)["items"]
    return items


def _list_leases_singly(kube: KubeClient, view: _ReapView) -> list[dict[str, Any]]:
    """Return the Leases of builders that have their own namespace, without any other."""
    found = []
    for namespace in view.namespaces:
        name = namespace["metadata"]["name"]
        if not is_builder_namespace(namespace) or is_expired(namespace, view.now):
            continue
        chosen = f"metadata.name={lease.make_lease_name(BuilderLocation(name=name, namespace=name))}"
        with suppress(KubeError):
            found += _list_leases(kube, f"/namespaces/{name}", fieldSelector=chosen)
    return found


def _remove(kube: KubeClient, location: BuilderLocation) -> str:
    """Tear down a builder; return what is left and why, "" if nothing is."""
    report = teardown(kube, location, deadline=time.monotonic() + _TEARDOWN_TIME)
    return "; ".join(report.notes) or ", ".join(report.left) if report.left else ""


def _list_namespaces(kube: KubeClient) -> tuple[list[dict[str, Any]], float]:
    """Return the builders' namespaces, listed by the official package, and the server's clock at its answer."""
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
        page, date = api.sanitize_for_serialization(listed), parsedate_to_datetime(headers["Date"]).timestamp()
        if find_fault(page):
            raise ValueError
    except ApiException as failure:
        body = failure.body or b""
        body = body.encode() if isinstance(body, str) else body
        raise make_kube_error(failure.status or 0, body, "GET /api/v1/namespaces") from failure
    except HTTPError as failure:
        raise Unreachable(f"cannot list namespaces: {failure}") from failure
    except (AttributeError, LookupError, TypeError, ValueError) as failure:  # The package checks no types.
        raise KubeError(
            "GET /api/v1/namespaces: the response is not a Kubernetes object", fix=NO_API_SERVER
        ) from failure
    return page, date


def _list_objects(kube: KubeClient, namespace: str) -> list[dict[str, Any]]:
    """Return all objects of builders in a shared namespace."""
    place = BuilderLocation(name="", namespace=namespace, exclusive=False)
    marked = f"{labels.MANAGED_BY}={labels.MANAGER},{labels.BUILDER}"
    paths = (place.jobs_path, place.make_core_path("secrets"), place.make_core_path("configmaps"))
    return [item for path in paths for item in kube.list(path, labelSelector=marked)["items"]]
