"""How a job gets into its own namespace, and out of it again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ci_buildx.builder import identity, labels
from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.identity import JobIdentity, JobOrigin
from ci_buildx.builder.lifecycle import find
from ci_buildx.builder.lifecycle.provision import ProvisionRequest, provision
from ci_buildx.builder.lifecycle.teardown import teardown as tear_down
from ci_buildx.builder.manifests import objects
from ci_buildx.builder.manifests.draft import BuilderSpec
from ci_buildx.builder.rbac import admission_policies
from ci_buildx.builder.rbac.rights import INSIDE
from ci_buildx.errors import Forbidden, Refused
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.exchange import ApiCall, ApiExchange
from ci_buildx.model.record import replace
from devcluster.accounts import RBAC, Account
from tests.integration.rights.conftest import blueprint


@contextmanager
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of the API server meanwhile."""
    made: list[str] = []
    real = ApiExchange.call

    def call(self: ApiExchange, call: ApiCall) -> dict[str, object]:
        made.append(call.asked)
        return real(self, call)

    with monkeypatch.context() as patched:
        patched.setattr(ApiExchange, "call", call)
        yield made


def teardown(kube: KubeClient, location: BuilderLocation) -> None:
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
    location = find.locate_job_builder(made.identity, made.settings)
    draft = BuilderSpec(
        identity=made.identity,
        location=location,
        settings=made.settings,
        expires=identity.make_expiry(time.time(), 600),
    )
    job_kube.create("/api/v1/namespaces", admission_policies.add_creator(job_kube, objects.make_namespace(draft)))
    assert kube.list(f"{RBAC}/namespaces/{location.namespace}/rolebindings")["items"] == []
    report = tear_down(other_kube, location, deadline=time.monotonic() + 20)
    assert f"namespace {location.namespace}" in report.left
    assert "deletionTimestamp" not in kube.get(location.namespace_path)["metadata"]
    teardown(job_kube, location)
    assert "deletionTimestamp" in kube.get(location.namespace_path)["metadata"]


def test_what_somebody_made_before_is_refused_and_left(
    job_kube: KubeClient, other_kube: KubeClient, kube: KubeClient
) -> None:
    theirs = blueprint()
    builder = provision(other_kube, theirs, announce=lambda _: None)
    squatter = admission_policies.ask_user_name(other_kube)
    try:
        own = replace(theirs, identity=again(theirs))
        assert own.identity.name == builder.name
        for client in (job_kube, kube):
            said = (
                f"^namespace {builder.name} already exists, and this run did not create it .*by {squatter}, for tests/"
            )
            with pytest.raises(Refused, match=said):
                provision(client, own, announce=lambda _: None)
            by_name = BuilderLocation(name=builder.name, namespace=builder.name)
            for location, cleaning in ((find.locate_job_builder(own.identity, own.settings), False), (by_name, True)):
                report = tear_down(client, location, deadline=time.monotonic() + 20, own=cleaning)
                assert report.left == (f"namespace {builder.name}",)
                assert "did not create it" in report.notes[0]
        assert "deletionTimestamp" not in kube.get(builder.location.namespace_path)["metadata"]
        secrets = kube.list(builder.location.make_core_path("secrets"))["items"]
        assert [each["metadata"]["name"] for each in secrets] == ["buildkit-keys"]
    finally:
        teardown(other_kube, builder.location)


def test_a_run_finds_again_what_it_has_made(job_kube: KubeClient) -> None:
    made = blueprint()
    first = provision(job_kube, made, announce=lambda _: None)
    try:
        second = provision(job_kube, made, announce=lambda _: None)
    finally:
        teardown(job_kube, first.location)
    assert second.keys == first.keys


def test_in_a_namespace_that_is_shared_the_builder_of_another_run_stays(
    tenant_kube: KubeClient, namespace: str, kube: KubeClient
) -> None:
    theirs = blueprint(namespace=namespace)
    builder = provision(tenant_kube, theirs, announce=lambda _: None)
    try:
        with pytest.raises(Refused, match=f"^Job {builder.name}-any in namespace {namespace} already exists"):
            provision(tenant_kube, replace(theirs, identity=again(theirs)), announce=lambda _: None)
        (job,) = kube.list(builder.location.jobs_path, labelSelector=builder.location.selector)["items"]
        assert "deletionTimestamp" not in job["metadata"]
    finally:
        teardown(tenant_kube, builder.location)


def again(made: ProvisionRequest) -> JobIdentity:
    """The same name and labels, for another run."""
    fresh = identity.make_identity(JobOrigin(system="local", repository="tests/rights"), suffix="x")
    nonce = {labels.NONCE: fresh.annotations[labels.NONCE]}
    return replace(made.identity, annotations={**made.identity.annotations, **nonce})


def test_what_admission_refuses_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        tried.append(True)
        raise Forbidden("exceeded quota", status=403)

    tried: list[bool] = []
    with pytest.raises(Forbidden):
        admission_policies.retry_while_forbidden(refused)
    assert len(tried) == 1
