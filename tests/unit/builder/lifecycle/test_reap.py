"""What a reaper chooses. It must never take what is not ours, or is not over."""

import time
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from ci_buildx.builder import labels
from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.lifecycle import lease, reap

NOW = 1_777_636_810.0

names = st.sampled_from(["kube-system", "default", "kube-builder-app-1-x", "kube-builder-app-2-y", "team"])
expiries = st.one_of(
    st.integers(min_value=0, max_value=int(NOW) * 2).map(
        lambda moment: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    ),
    st.sampled_from(["", "soon", "2026-13-01T00:00:00Z", "2020-01-01", "0001-01-01T00:00:00+00:00"]),
)
marks = st.fixed_dictionaries(
    {},
    optional={
        labels.MANAGED_BY: st.sampled_from([labels.MANAGER, "helm", ""]),
        labels.BUILDER: names,
        "team": st.just("ours"),
    },
)


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": draw(names)}
    if draw(st.booleans()):
        metadata["labels"] = draw(marks)
    if draw(st.booleans()):
        metadata["annotations"] = {labels.EXPIRES: draw(expiries)}
    return {"metadata": metadata}


def provably_ours(manifest: dict[str, Any], builder: str) -> bool:
    found = manifest["metadata"].get("labels", {})
    return (
        builder.startswith("kube-builder-")
        and found.get(labels.MANAGED_BY) == labels.MANAGER
        and found.get(labels.BUILDER) == builder
    )


def provably_over(manifest: dict[str, Any]) -> bool:
    text = manifest["metadata"].get("annotations", {}).get(labels.EXPIRES, "")
    try:
        return time.strptime(text, "%Y-%m-%dT%H:%M:%SZ") < time.gmtime(NOW)
    except ValueError:
        return False


@given(st.lists(manifests(), max_size=8))
def test_a_namespace_is_chosen_if_and_only_if_it_is_ours_and_over(found: list[dict[str, Any]]) -> None:
    chosen = [location.name for location in reap.select_namespaces(found, NOW)]
    expected = [
        item["metadata"]["name"]
        for item in found
        if provably_ours(item, item["metadata"]["name"]) and provably_over(item)
    ]
    assert chosen == expected


@given(st.lists(manifests(), max_size=8))
def test_a_builder_in_anothers_namespace_goes_only_when_all_of_it_is_over(found: list[dict[str, Any]]) -> None:
    for location in reap.select_objects(found, "team", NOW):
        assert not location.exclusive
        own = [item for item in found if provably_ours(item, location.name)]
        assert own
        assert all(provably_over(item) for item in own)


@given(manifests(), st.floats(min_value=0, max_value=NOW))
def test_what_has_not_expired_now_has_not_earlier(manifest: dict[str, Any], earlier: float) -> None:
    assume(not reap.is_expired(manifest, NOW))
    assert not reap.is_expired(manifest, earlier)


def test_a_deletion_is_stuck_after_a_minute() -> None:
    namespace = {"metadata": {"name": "x", "deletionTimestamp": "2026-05-01T12:00:00+00:00"}}
    assert not reap.is_stuck(namespace, NOW)
    assert reap.is_stuck(namespace, NOW + 60)


@st.composite
def leases(draw: st.DrawFn) -> dict[str, Any]:
    """Leases of ours, of others, and such as nobody should make."""
    metadata: dict[str, Any] = {
        "name": draw(st.sampled_from(["buildkit-heartbeat", "kube-builder-app-1-x-heartbeat", "leader"])),
        "namespace": draw(names),
    }
    if draw(st.booleans()):
        metadata["labels"] = draw(marks)
    signs = st.integers(min_value=0, max_value=int(NOW) * 2).map(
        lambda moment: time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(moment))
    )
    spec = {
        "renewTime": draw(signs | st.sampled_from([None, "", "soon", 7, "2020-01-01T00:00:00+01:00"])),
        "leaseDurationSeconds": draw(st.sampled_from([None, 0, -5, 1, 300, "300"])),
    }
    return {"metadata": metadata, "spec": draw(st.sampled_from([spec, None]))}


@given(st.lists(leases(), max_size=8), st.lists(manifests(), max_size=8), st.lists(manifests(), max_size=8))
def test_a_silent_job_is_reaped_only_where_lease_and_builder_are_provably_ours(
    found: list[dict[str, Any]], namespaces: list[dict[str, Any]], guests: list[dict[str, Any]]
) -> None:
    signs = lease.select_silent_builders(found, NOW)
    for place in reap.select_silent(namespaces, {"team": guests}, signs):
        own = [
            each
            for each in found
            if provably_ours(each, place.name)
            and each["metadata"]["namespace"] == place.namespace
            and each["metadata"]["name"] == lease.make_lease_name(place)
            and provably_silent(each["spec"])
        ]
        assert own
        if place.exclusive:
            assert place.name == place.namespace
            assert any(
                each["metadata"]["name"] == place.name and provably_ours(each, place.name) for each in namespaces
            )
        else:
            assert place.namespace == "team"
            assert any(provably_ours(each, place.name) for each in guests)


def provably_silent(spec: dict[str, Any]) -> bool:
    renewed = time.strptime(spec["renewTime"], "%Y-%m-%dT%H:%M:%S.000000Z")
    return renewed < time.gmtime(NOW - spec["leaseDurationSeconds"])


def test_a_job_is_silent_when_its_lease_was_not_renewed_in_time() -> None:
    place = BuilderLocation(name="kube-builder-app-1-x", namespace="kube-builder-app-1-x")
    ours = {labels.MANAGED_BY: labels.MANAGER, labels.BUILDER: place.name}
    made = lease.make_lease(place, "2026-05-01T11:55:00.500000Z", marks=ours)
    made["metadata"]["namespace"] = place.namespace
    assert lease.select_silent_builders([made], NOW - 10) == {}
    assert lease.select_silent_builders([made], NOW + 1) == {place: "2026-05-01T11:55:00.500000Z"}
