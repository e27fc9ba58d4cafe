"""Removing what expired builders left. What that is, is decided without I/O in :mod:`ci_buildx.builder.expired`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ci_buildx.builder import heartbeat, labels
from ci_buildx.builder.builder import Location
from ci_buildx.builder.expired import is_stuck, select_namespaces, select_objects, select_silent
from ci_buildx.builder.teardown import explain_stuck, teardown
from ci_buildx.errors import Conflict, Forbidden, KubeError, NotFound, Unreachable
from ci_buildx.kube.client import MOST_PAGES, KubeClient
from ci_buildx.kube.refusal import refusal
from ci_buildx.model.record import dataclass

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_TEARDOWN_TIME = 60.0
_PAGE = 500
_SECOND_LOOK = heartbeat.INTERVAL + 10.0
"""Seconds in which a job that is alive gives a sign."""
_A_FEW = 3
"""How many expired builders a job removes beside its own: more jobs come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a sweep found: ``expired`` builders, of them the ``removed`` ones, and ``problems`` by builder.

    ``notes`` say where it could not look.
    """

    expired: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    problems: Mapping[str, str]
    notes: tuple[str, ...] = ()


def sweep(
    kube: KubeClient,
    *,
    namespaces: Sequence[str] = (),
    dry_run: bool = False,
    wait: Callable[[float], object] = time.sleep,
) -> Sweep:
    """Remove expired builders: those with a namespace of their own, and those inside ``namespaces``.

    A builder whose job gives no sign of life has expired, too, if it gives none either at a second look, for which the
    sweep waits. Age is judged by the API server's clock. Where namespaces are named, being forbidden to list them all
    is a note in the result. Raises KubeError where listing fails; a builder that cannot be removed is a problem in the
    result, and the others are removed all the same.
    """
    view = _survey(kube, namespaces)
    expired = select_namespaces(view.namespaces, view.now)
    for namespace, manifests in view.inside.items():
        expired += select_objects(manifests, namespace, view.now)
    expired += [place for place in _silent(kube, view, wait) if place not in expired]
    removed, problems = [], {}
    for location in [] if dry_run else expired:
        if problem := view.stuck(location) or _remove(kube, location):
            problems[location.name] = problem
        else:
            removed.append(location.name)
    names = tuple(each.name for each in expired)
    return Sweep(expired=names, removed=tuple(removed), problems=problems, notes=tuple(view.notes))


def tidy(kube: KubeClient) -> tuple[str, ...]:
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
class _View:
    """What a sweep sees at first: ``namespaces`` of builders' own, builders' objects ``inside`` others, at ``now``."""

    namespaces: list[dict[str, Any]]
    inside: Mapping[str, list[dict[str, Any]]]
    now: float
    notes: list[str]

    def stuck(self, location: Location) -> str:
        """Why a namespace that was deleted long ago is still there, "" if it was not."""
        for found in self.namespaces:
            if location.exclusive and found["metadata"]["name"] == location.name and is_stuck(found, self.now):
                return f"its deletion does not end: {explain_stuck(found) or 'no cause is given'}"
        return ""


def _survey(kube: KubeClient, namespaces: Sequence[str]) -> _View:
    inside = {namespace: _list_objects(kube, namespace) for namespace in namespaces}
    try:
        listed, now = _list_namespaces(kube)
    except Forbidden as failure:
        if not namespaces or kube.server_time is None:
            raise
        note = f"only the named namespaces were searched: {failure.message}"
        return _View(namespaces=[], inside=inside, now=kube.server_time, notes=[note])
    return _View(namespaces=listed, inside=inside, now=now, notes=[])


def _silent(kube: KubeClient, view: _View, wait: Callable[[float], object]) -> list[Location]:
    """The builders whose jobs give no sign of life, neither now nor at a second look.

    One look is not enough: after a failure of the API server all Leases are old, and renewed a moment later.
    """
    first = _signs(kube, view)
    suspects = select_silent(view.namespaces, view.inside, first)
    if not suspects:
        return []
    wait(_SECOND_LOOK)
    second = _signs(kube, view)
    return [place for place in suspects if second.get(place) == first[place]]


def _signs(kube: KubeClient, view: _View) -> dict[Location, str]:
    """The last signs of life of silent jobs, wherever Leases may be read."""
    places = [*([""] if view.namespaces else []), *(f"/namespaces/{name}" for name in view.inside)]
    found: list[dict[str, Any]] = []
    for place in places:
        try:
            marked = f"{labels.MANAGED_BY}={labels.MANAGER},{labels.BUILDER}"
            found += kube.list(f"{heartbeat.GROUP}{place}/leases", labelSelector=marked)["items"]
        except Forbidden as failure:
            note = f"killed jobs are known by their lifetime only: {failure.message}"
            if note not in view.notes:
                view.notes.append(note)
    return heartbeat.silent(found, kube.server_time or view.now)


def _remove(kube: KubeClient, location: Location) -> str:
    """Tear a builder down; what stays, and why, "" if nothing does."""
    report = teardown(kube, location, deadline=time.monotonic() + _TEARDOWN_TIME)
    return "; ".join(report.notes) or ", ".join(report.left) if report.left else ""


def _list_namespaces(kube: KubeClient) -> tuple[list[dict[str, Any]], float]:
    """Our namespaces, by the official package, and the server's clock as it answered."""
    from kubernetes.client import CoreV1Api

    api = kube.official()
    core = CoreV1Api(api)
    found: list[dict[str, Any]] = []
    token = None
    for _ in range(MOST_PAGES):
        page, date = _page(api, core, token)
        found += page["items"]
        token = page["metadata"].get("continue")
        if not token:
            return found, date
    raise KubeError(f"GET /api/v1/namespaces: the list has more than {MOST_PAGES} pages of {_PAGE} objects")


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
