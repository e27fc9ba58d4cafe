"""What a job removes beside its own builder, and what a sweep does about jobs that are silent."""

import time
from typing import Any, cast

import pytest

from ci_buildx.builder import labels
from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.lifecycle import lease, reap
from ci_buildx.errors import Forbidden, NotFound, Unreachable
from ci_buildx.kube.client import KubeClient
from tests.unit.builder.boot.cases import NOW

PAST, FUTURE = "2026-05-01T11:00:00Z", "2026-05-01T13:00:00Z"


def namespace(name: str, expires: str = PAST, **more: Any) -> dict[str, Any]:
    marks = {labels.MANAGED_BY: labels.MANAGER, labels.BUILDER: name}
    return {
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "labels": marks,
            "annotations": {labels.EXPIRES: expires},
            **more,
        },
    }


class Cluster:
    """Namespaces, Leases, and what was deleted."""

    server_time = NOW

    def __init__(self, *namespaces: dict[str, Any], signs: tuple[str, ...] = ()) -> None:
        self.namespaces = {each["metadata"]["name"]: each for each in namespaces}
        self.signs = list(signs)
        self.calls: list[str] = []
        self.deleted: list[tuple[str, str]] = []
        self.refuses_leases = False
        self.floods_leases = False
        self.user = ""

    def create(self, path: str, _: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(path)
        return {"status": {"userInfo": {"username": self.user}}}

    def get(self, path: str, **_: Any) -> dict[str, Any]:
        self.calls.append(path)
        name = path.rpartition("/")[2]
        return {"items": list(self.namespaces.values())} if name == "namespaces" else self.namespaces[name]

    def list(self, path: str, **query: Any) -> dict[str, Any]:
        self.calls.append(path)
        if self.refuses_leases:
            raise Forbidden("no leases", status=403)
        if self.floods_leases and "/namespaces/" not in path:
            raise Unreachable("the answer has more than 67108864 bytes")
        if self.floods_leases and query["fieldSelector"] != "metadata.name=buildkit-heartbeat":
            return {"items": []}
        place = BuilderLocation(name="kube-builder-a", namespace="kube-builder-a")
        made = lease.make_lease(place, self.signs.pop(0), marks=self.namespaces[place.name]["metadata"]["labels"])
        made["metadata"]["namespace"] = place.namespace
        return {"items": [made]}

    def delete(self, path: str, *, options: dict[str, Any], **_: Any) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        if name in ("jobs", "pods"):
            return {}
        if name.endswith("vanished"):
            raise NotFound("gone", status=404)
        if name.endswith("foreign"):
            raise Forbidden("another's", status=403)
        self.deleted.append((name, options["preconditions"]["uid"]))
        return {}


def test_a_job_deletes_a_few_namespaces_of_expired_builders_as_they_were_seen() -> None:
    expired = [namespace(f"kube-builder-{number}") for number in range(9)]
    others = [
        namespace("kube-builder-young", FUTURE),
        namespace("kube-builder-going", deletionTimestamp=PAST),
        namespace("team"),
    ]
    cluster = Cluster(*others, *expired)
    removed = reap.reap_few(cast("KubeClient", cluster))
    assert len(removed) == 3
    assert set(removed) <= {each["metadata"]["name"] for each in expired}
    assert sorted(cluster.deleted) == sorted((name, f"uid-{name}") for name in removed)
    assert len(cluster.calls) == 1


def test_where_nothing_has_expired_it_costs_one_call() -> None:
    cluster = Cluster(namespace("kube-builder-young", FUTURE))
    assert reap.reap_few(cast("KubeClient", cluster)) == ()
    assert (len(cluster.calls), cluster.deleted) == (1, [])


def test_what_another_job_removes_at_the_same_time_or_has_made_is_left_to_it() -> None:
    cluster = Cluster(*(namespace(f"kube-builder-{what}") for what in ("vanished", "foreign", "ours")))
    assert reap.reap_few(cast("KubeClient", cluster)) == ("kube-builder-ours",)


def signed(name: str, creator: str) -> dict[str, Any]:
    made = namespace(name)
    made["metadata"]["annotations"][labels.CREATOR] = creator
    return made


def test_a_job_finds_its_own_accounts_leftovers_among_however_many_of_others() -> None:
    others = [signed(f"kube-builder-theirs-{number}", "mallory") for number in range(50)]
    cluster = Cluster(*others, signed("kube-builder-ours", "team-a"), namespace("kube-builder-plain"))
    cluster.user = "team-a"
    assert sorted(reap.reap_few(cast("KubeClient", cluster))) == ["kube-builder-ours", "kube-builder-plain"]
    assert len(cluster.calls) == 2


OLD, OLDER = "2026-05-01T11:50:00.000000Z", "2026-05-01T11:40:00.000000Z"


@pytest.mark.parametrize(
    ("signs", "removed"),
    [
        ((OLD, OLD), ("kube-builder-a",)),
        ((OLDER, OLD), ()),
        ((OLD, "2026-05-01T12:00:09.000000Z"), ()),
    ],
)
def test_a_silent_job_is_looked_at_twice(
    signs: tuple[str, str], removed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(namespace("kube-builder-a", FUTURE), signs=signs)
    monkeypatch.setattr(reap, "_list_namespaces", lambda _: (list(cluster.namespaces.values()), NOW))
    waited: list[float] = []
    swept = reap.reap_builders(cast("KubeClient", cluster), wait=waited.append)
    assert swept.removed == removed
    assert waited == [lease.INTERVAL + 10]


def test_nobody_waits_for_a_second_look_without_a_suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    recent = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(NOW))
    cluster = Cluster(namespace("kube-builder-a", FUTURE), signs=(recent,))
    monkeypatch.setattr(reap, "_list_namespaces", lambda _: (list(cluster.namespaces.values()), NOW))
    waited: list[float] = []
    assert reap.reap_builders(cast("KubeClient", cluster), wait=waited.append).expired == ()
    assert waited == []


def test_leases_of_strangers_do_not_hide_a_silent_job(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(namespace("kube-builder-a", FUTURE), namespace("kube-builder-over"), signs=(OLD, OLD))
    cluster.floods_leases = True
    monkeypatch.setattr(reap, "_list_namespaces", lambda _: (list(cluster.namespaces.values()), NOW))
    swept = reap.reap_builders(cast("KubeClient", cluster), wait=lambda _: None)
    assert set(swept.removed) == {"kube-builder-a", "kube-builder-over"}
    assert swept.notes == ("Leases are read one by one: the answer has more than 67108864 bytes",)


def test_where_leases_may_not_be_read_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(namespace("kube-builder-a", FUTURE))
    cluster.refuses_leases = True
    monkeypatch.setattr(reap, "_list_namespaces", lambda _: (list(cluster.namespaces.values()), NOW))
    swept = reap.reap_builders(cast("KubeClient", cluster))
    assert swept.notes == ("killed jobs are detected by their lifetime only: no leases",)
