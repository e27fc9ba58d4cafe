"""The creation of a job's builder: what is created again, what is accepted, and what counts as nothing created."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ci_buildx.builder import cluster_facts, isolation, labels, plan
from ci_buildx.builder.builder import Builder, BuilderLocation
from ci_buildx.builder.identity import JobOrigin, make_identity
from ci_buildx.builder.lifecycle.provision import ProvisionRequest, provision
from ci_buildx.builder.manifests import certificates
from ci_buildx.builder.rbac.rights import INSIDE
from ci_buildx.errors import Conflict, Forbidden, Refused
from ci_buildx.kube.client import KubeClient, make_kube_client
from ci_buildx.model import platform
from ci_buildx.settings.builder import BuilderSettings
from tests.unit.memory_cluster import USER, MemoryCluster

IDENTITY = make_identity(JobOrigin(system="local", repository="team/app"), suffix="abcdefgh")
NAME = IDENTITY.name
NODES = (platform.parse_platform("linux/amd64"), platform.parse_platform("linux/arm64"))
NO_JOBS = 'jobs.batch is forbidden: User "x" cannot create resource "jobs" in API group "batch" in the namespace "ci"'
"""RBAC's refusal, in the API server's words."""
CERTIFICATES = certificates.issue(certificates.NAMES, 3600)


@pytest.fixture
def memory_kube(memory_cluster: MemoryCluster) -> Iterator[KubeClient]:
    """A client of the cluster in memory."""
    with make_kube_client(memory_cluster.settings, env={}) as kube:
        yield kube


def create(kube: KubeClient, namespace: str = "", announced: list[BuilderLocation] | None = None) -> Builder:
    """Create a builder with a node for each architecture, in its own namespace or in ``namespace``."""
    settings = BuilderSettings(namespace=namespace)
    known = cluster_facts.read_cluster_facts(kube)
    planned = isolation.plan_isolation(plan.make_plan(NODES, known, settings), known, settings)
    request = ProvisionRequest(identity=IDENTITY, plan=planned, settings=settings, certificates=CERTIFICATES)
    return provision(kube, request, announce=(announced if announced is not None else []).append)


def test_a_second_call_accepts_what_the_first_has_created(
    memory_cluster: MemoryCluster, memory_kube: KubeClient
) -> None:
    """The answer to a request may be lost; the objects then have this run's nonce."""
    announced: list[BuilderLocation] = []
    first, before = create(memory_kube, announced=announced), set(memory_cluster.objects)
    assert create(memory_kube, announced=announced).location == first.location
    assert set(memory_cluster.objects) == before
    assert [place.namespace for place in announced] == [NAME, NAME]


def test_a_namespace_of_another_run_is_not_used(memory_cluster: MemoryCluster, memory_kube: KubeClient) -> None:
    marks = {labels.MANAGED_BY: labels.MANAGER, labels.BUILDER: NAME}
    memory_cluster.put(f"/api/v1/namespaces/{NAME}", {"kind": "Namespace", "metadata": {"name": NAME, "labels": marks}})
    with pytest.raises(Refused, match=f"namespace {NAME} already exists, and this run did not create it"):
        create(memory_kube)
    assert memory_cluster.list_names("jobs") == []


def test_in_a_shared_namespace_jobs_of_another_run_are_not_used_and_own_ones_are_taken_back(
    memory_cluster: MemoryCluster, memory_kube: KubeClient
) -> None:
    job = {"metadata": {"name": f"{NAME}-arm64", "namespace": "ci", "labels": {}}, "spec": {"parallelism": 0}}
    memory_cluster.put(f"/apis/batch/v1/namespaces/ci/jobs/{NAME}-arm64", job)
    with pytest.raises(Refused, match="this run did not create it"):
        create(memory_kube, "ci")
    assert memory_cluster.list_names("jobs") == [f"{NAME}-arm64"]
    assert memory_cluster.list_names("secrets") == []


def test_in_an_own_namespace_a_taken_name_is_a_conflict_to_clean_up_after(
    memory_cluster: MemoryCluster, memory_kube: KubeClient
) -> None:
    def take_name(place: str) -> None:
        if place == f"/api/v1/namespaces/{NAME}":
            metadata = {"name": "buildkit-keys", "namespace": NAME}
            memory_cluster.put(f"{place}/secrets/buildkit-keys", {"metadata": metadata, "data": {}})

    memory_cluster.meanwhile = take_name
    with pytest.raises(Conflict) as caught:
        create(memory_kube)
    assert not isinstance(caught.value, Refused), "the namespace was created, and its caller removes it"


def test_a_missing_shared_namespace_creates_nothing(memory_kube: KubeClient) -> None:
    with pytest.raises(Refused, match='namespaces "none" not found; create it or omit --namespace'):
        create(memory_kube, "none")


def test_without_the_right_to_create_jobs_nothing_was_created(
    memory_cluster: MemoryCluster, memory_kube: KubeClient
) -> None:
    memory_cluster.refuse("POST", "/jobs$", message=NO_JOBS)
    with pytest.raises(Refused):
        create(memory_kube, "ci")


def test_an_account_that_is_confined_signs_its_namespace_and_binds_its_role_there(
    memory_cluster: MemoryCluster, memory_kube: KubeClient
) -> None:
    """The admission policy of docs/rbac requires the name of the creator, and RBAC learns of the binding late."""
    memory_cluster.refuse("POST", "/namespaces$", message=f"denied: annotation {labels.CREATOR} is required", times=1)
    memory_cluster.refuse("POST", "/jobs$", message=NO_JOBS, times=2)
    create(memory_kube)
    namespace = memory_cluster.objects[f"/api/v1/namespaces/{NAME}"]
    assert namespace["metadata"]["annotations"][labels.CREATOR] == USER
    (subject,) = memory_cluster.find("rolebindings", INSIDE)["subjects"]
    assert (subject["kind"], subject["name"]) == ("User", USER)
    assert memory_cluster.list_names("jobs") == ["buildkit-amd64", "buildkit-arm64"]


def test_a_signature_that_is_refused_too_creates_nothing(
    memory_cluster: MemoryCluster, memory_kube: KubeClient
) -> None:
    memory_cluster.refuse("POST", "/namespaces$", message=f"denied: annotation {labels.CREATOR} is required")
    with pytest.raises(Refused, match="is required"):
        create(memory_kube)


def test_where_a_policy_requires_user_namespaces_pods_get_them(
    memory_cluster: MemoryCluster, memory_kube: KubeClient
) -> None:
    memory_cluster.refuse(
        "POST",
        "/jobs$",
        message=f"denied by policy: {isolation.NEEDED}",
        applies=lambda job: job["spec"]["template"]["spec"].get("hostUsers") is not False,
    )
    built = create(memory_kube)
    assert all(node.user_namespace for node in built.plan.nodes)
    for name in ("buildkit-amd64", "buildkit-arm64"):
        assert memory_cluster.find("jobs", name)["spec"]["template"]["spec"]["hostUsers"] is False


def test_any_other_refusal_of_pods_is_the_users_to_mend(memory_cluster: MemoryCluster, memory_kube: KubeClient) -> None:
    memory_cluster.refuse("POST", "/jobs$", message="denied by policy: no privileged pods")
    with pytest.raises(Forbidden, match="no privileged pods"):
        create(memory_kube)
