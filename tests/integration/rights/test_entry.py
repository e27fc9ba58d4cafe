"""How a job gets into its own namespace, and out of it again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ci_buildx.builder import entry, lifecycle, manifests
from ci_buildx.builder.builder import Location
from ci_buildx.builder.draft import Draft
from ci_buildx.builder.provision import provision
from ci_buildx.builder.rights import INSIDE
from ci_buildx.builder.teardown import teardown as tear_down
from ci_buildx.errors import Forbidden
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.exchange import Call, Exchange
from tests.accounts import RBAC, Account
from tests.integration.rights.conftest import blueprint

LATER = "2030-01-01T00:00:00Z"


@contextmanager
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of the API server meanwhile."""
    made: list[str] = []
    real = Exchange.call

    def call(self: Exchange, call: Call) -> dict[str, object]:
        made.append(call.asked)
        return real(self, call)

    with monkeypatch.context() as patched:
        patched.setattr(Exchange, "call", call)
        yield made


def teardown(kube: KubeClient, location: Location) -> None:
    tear_down(kube, location, deadline=time.monotonic() + 20).check()


def test_a_job_signs_its_namespace_and_lets_itself_in_and_nobody_else(
    job_kube: KubeClient, kube: KubeClient, job_account: Account
) -> None:
    builder = provision(job_kube, blueprint(), announce=lambda _: None)
    try:
        notes = kube.get(builder.location.namespace_path)["metadata"]["annotations"]
        (binding,) = kube.list(f"{RBAC}/namespaces/{builder.namespace}/rolebindings")["items"]
    finally:
        teardown(job_kube, builder.location)
    assert notes["kube-builder.dev/creator"] == job_account.user
    assert binding["roleRef"]["name"] == INSIDE
    assert [each["name"] for each in binding["subjects"]] == [job_account.user]
    assert "deletionTimestamp" in kube.get(builder.location.namespace_path)["metadata"]


def test_it_costs_a_few_calls_and_an_administrator_none(
    job_kube: KubeClient, kube: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    for client in (kube, job_kube):
        with calls(monkeypatch) as made:
            builder = provision(client, blueprint(), announce=lambda _: None)
            teardown(client, builder.location)
        counted.append([each for each in made if each != "GET /version"])
    outright, confined = counted
    assert "rolebindings" not in " ".join(outright)
    # Jobs are created anew until the role has arrived.
    waits = sum(each.endswith("/jobs") and each.startswith("POST") for each in confined) - 1
    assert len(confined) - waits == len(outright) + 3


def test_what_was_killed_before_it_let_itself_in_is_removed_by_its_own_account(
    job_kube: KubeClient, other_kube: KubeClient, kube: KubeClient
) -> None:
    made = blueprint()
    location = lifecycle.locate(made.identity, made.settings)
    draft = Draft(identity=made.identity, location=location, settings=made.settings, expires="2030-01-01T00:00:00Z")
    job_kube.create("/api/v1/namespaces", entry.sign(job_kube, manifests.namespace(draft)))
    assert kube.list(f"{RBAC}/namespaces/{location.namespace}/rolebindings")["items"] == []
    report = tear_down(other_kube, location, deadline=time.monotonic() + 20)
    assert f"namespace {location.namespace}" in report.left
    assert "deletionTimestamp" not in kube.get(location.namespace_path)["metadata"]
    teardown(job_kube, location)
    assert "deletionTimestamp" in kube.get(location.namespace_path)["metadata"]


def test_what_admission_refuses_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        tried.append(True)
        raise Forbidden("exceeded quota", status=403)

    tried: list[bool] = []
    with pytest.raises(Forbidden):
        entry.insist(refused)
    assert len(tried) == 1
