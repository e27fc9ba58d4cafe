"""Names that somebody else has: what a run takes as its own, what it refuses, and what is never removed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import pytest

from ci_buildx.builder import identity, labels
from ci_buildx.builder.identity import JobIdentity, JobOrigin
from ci_buildx.builder.lifecycle import find, ownership
from ci_buildx.builder.lifecycle.provision import ProvisionRequest, provision
from ci_buildx.builder.lifecycle.teardown import TeardownReport, teardown
from ci_buildx.builder.manifests import certificates
from ci_buildx.builder.manifests.certificates import Certificates
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import Conflict, Forbidden, KubeError, NotFound, Refused
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import replace
from ci_buildx.settings.builder import BuilderSettings

ORIGIN = JobOrigin(system="gitlab", repository="group/app", job="4711")
MADE = identity.make_identity(ORIGIN, suffix="x7k2p9wq", nonce="mine")
NAMESPACE = f"/api/v1/namespaces/{MADE.name}"
SHARED_JOBS = "/apis/batch/v1/namespaces/team/jobs"


class Server:
    """An API server with what is there; ``lost`` are paths whose first answer never arrives.

    The client then asks again, and hears that the object exists.
    """

    def __init__(self, *lost: str) -> None:
        self.server_time = 1_777_636_810.0
        self.objects: dict[str, dict[str, Any]] = {}
        self.lost = set(lost)
        self.deleted: list[str] = []
        self.user = "system:serviceaccount:kube-builder:ci"

    def create(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        if path.endswith("/selfsubjectreviews"):
            return {"status": {"userInfo": {"username": self.user}}}
        place = f"{path}/{manifest['metadata']['name']}"
        if place in self.objects:
            raise Conflict("exists", status=409)
        made = {**manifest, "metadata": {**manifest["metadata"], "uid": f"uid-{len(self.objects)}"}}
        self.objects[place] = made
        if place in self.lost:
            raise Conflict("exists", status=409)
        return made

    def get(self, path: str) -> dict[str, Any]:
        try:
            return self.objects[path]
        except KeyError:
            raise NotFound("gone", status=404) from None

    def delete(self, path: str, *, options: dict[str, Any], **_: object) -> dict[str, Any]:
        if path in self.objects and "preconditions" in options:
            assert options["preconditions"]["uid"] == self.objects[path]["metadata"]["uid"]
        self.deleted.append(path)
        return self.objects.pop(path, {})


@cache
def keys() -> Certificates:
    return certificates.issue(certificates.NAMES, 600)


def node(name: str) -> NodePlan:
    return NodePlan(name=name, architecture=None, platforms=(), reason="")


def make(server: Server, *nodes: str, made: JobIdentity = MADE, namespace: str = "") -> object:
    settings = replace(BuilderSettings(lifetime=600), namespace=namespace)
    blueprint = ProvisionRequest(
        identity=made,
        plan=Plan(nodes=tuple(map(node, nodes or ("any",)))),
        settings=settings,
        certificates=keys(),
    )
    return provision(cast("KubeClient", server), blueprint, announce=lambda _: None)


def another(nonce: str = "theirs", **notes: str) -> dict[str, Any]:
    """A namespace of the builder's name, marked as the builder's, that another run has made."""
    return {
        "kind": "Namespace",
        "metadata": {
            "name": MADE.name,
            "uid": "uid-theirs",
            "creationTimestamp": "2026-05-01T12:00:00Z",
            "labels": dict(MADE.labels),
            "annotations": {labels.NONCE: nonce, **notes},
        },
    }


def remove(server: Server, *, nonce: str = "", own: bool = False) -> TeardownReport:
    location = replace(find.locate_job_builder(MADE, BuilderSettings()), nonce=nonce)
    return teardown(cast("KubeClient", server), location, deadline=time.monotonic() + 30, own=own)


def test_what_this_run_has_made_is_taken_when_the_answer_was_lost() -> None:
    server = Server(NAMESPACE, f"/apis/batch/v1/namespaces/{MADE.name}/jobs/buildkit-any")
    make(server)
    make(server)
    assert sorted(server.objects)[:2] == [NAMESPACE, f"{NAMESPACE}/secrets/buildkit-keys"]
    assert {labels.read_nonce(each) for each in server.objects.values()} == {"mine"}


def test_another_runs_namespace_is_refused_though_it_is_marked_as_this_builders() -> None:
    server = Server()
    notes = {labels.CREATOR: "system:serviceaccount:team-b:ci", labels.REPOSITORY: "group/app", labels.RUN_URL: "u"}
    server.objects[NAMESPACE] = another(**notes)
    with pytest.raises(Refused) as caught:
        make(server)
    assert str(caught.value) == (
        f"namespace {MADE.name} already exists, and this run did not create it (created 2026-05-01T12:00:00Z, by "
        "system:serviceaccount:team-b:ci, for group/app, in u); start a new job, which uses another name; if it is "
        f"unused: kubectl delete namespace {MADE.name}"
    )
    assert (list(server.objects), server.deleted) == ([NAMESPACE], [])


@pytest.mark.parametrize(
    "existing",
    [
        {"kind": "Namespace", "metadata": {"name": MADE.name}},
        another(nonce=""),
        another(nonce="mine-too"),
    ],
)
def test_marks_without_the_nonce_prove_nothing(existing: dict[str, Any]) -> None:
    server = Server()
    server.objects[NAMESPACE] = existing
    with pytest.raises(Refused, match="this run did not create it"):
        make(server)


def test_an_identity_without_a_nonce_takes_nothing() -> None:
    bare = replace(MADE, annotations={})
    server = Server()
    server.objects[NAMESPACE] = {"kind": "Namespace", "metadata": {"name": MADE.name, "labels": dict(MADE.labels)}}
    with pytest.raises(Refused, match="this run did not create it"):
        make(server, made=bare)


def test_annotations_of_others_are_quoted_in_one_line_and_not_without_end() -> None:
    said = ownership.describe_creator(another(**{labels.CREATOR: "a\n::error::b\x1b[2J", labels.RUN_URL: "x" * 5000}))
    assert said.isprintable()
    assert r"by a\n::error::b\x1b[2J, in xxx" in said
    assert len(said) < 400


def test_what_is_being_deleted_says_so() -> None:
    server = Server()
    server.objects[NAMESPACE] = another()
    server.objects[NAMESPACE]["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
    with pytest.raises(Refused, match=f"^namespace {MADE.name} is still being deleted; try again when it is gone$"):
        make(server)


def test_in_a_shared_namespace_only_the_jobs_of_this_run_are_taken_back() -> None:
    server = Server()
    theirs = f"{SHARED_JOBS}/{MADE.name}-amd64"
    server.objects[theirs] = {**another(), "kind": "Job"}
    server.objects[theirs]["metadata"] |= {"name": f"{MADE.name}-amd64", "namespace": "team"}
    with pytest.raises(Refused, match=f"^Job {MADE.name}-amd64 in namespace team already exists, .*delete -n team job"):
        make(server, "arm64", "amd64", namespace="team")
    assert (list(server.objects), server.deleted) == ([theirs], [f"{SHARED_JOBS}/{MADE.name}-arm64"])


def test_two_runs_of_one_name_have_different_nonces() -> None:
    first, second = (identity.make_identity(ORIGIN, suffix="x") for _ in range(2))
    assert first.name == second.name
    assert len(first.annotations[labels.NONCE]) == 32
    assert first.annotations[labels.NONCE] != second.annotations[labels.NONCE]


@pytest.mark.parametrize(
    ("nonce", "own", "why"),
    [
        ("mine", False, "this run did not create it (created 2026-05-01T12:00:00Z, by team-b)"),
        ("", True, "this account (system:serviceaccount:kube-builder:ci) did not create it (created "),
    ],
)
def test_what_is_not_shown_to_be_ones_own_is_not_removed(nonce: str, own: bool, why: str) -> None:
    server = Server()
    server.objects[NAMESPACE] = another(**{labels.CREATOR: "team-b"})
    report = remove(server, nonce=nonce, own=own)
    assert (report.left, server.deleted) == ((f"namespace {MADE.name}",), [])
    assert why in report.notes[0]


def unnamed(server: Server) -> None:
    def create(_path: str, _manifest: dict[str, Any]) -> dict[str, Any]:
        raise Forbidden("no reviews", status=403)

    server.create = cast("Callable[..., dict[str, Any]]", create)  # type: ignore[method-assign]


def test_what_cannot_be_found_out_removes_nothing() -> None:
    server = Server()
    server.objects[NAMESPACE] = another(**{labels.CREATOR: "team-b"})
    unnamed(server)
    report = remove(server, own=True)
    assert (server.deleted, report.notes[0]) == ([], "cannot determine whether this account created it: no reviews")


@pytest.mark.parametrize(
    ("nonce", "own", "notes"),
    [
        ("theirs", False, {}),
        ("", True, {}),
        ("", True, {labels.CREATOR: "system:serviceaccount:kube-builder:ci"}),
        ("", False, {labels.CREATOR: "team-b"}),
    ],
)
def test_what_is_ones_own_or_a_reapers_is_removed(nonce: str, own: bool, notes: dict[str, str]) -> None:
    server = Server()
    server.objects[NAMESPACE] = another(**notes)
    assert remove(server, nonce=nonce, own=own).left == ()
    assert NAMESPACE in server.deleted


@pytest.mark.parametrize("failure", [Conflict("changed", status=409), NotFound("gone", status=404)])
def test_a_job_that_cannot_be_taken_back_any_more_does_not_hide_the_cause(failure: KubeError) -> None:
    server = Server()
    server.objects[f"{SHARED_JOBS}/{MADE.name}-amd64"] = another()

    def delete(path: str, **_: object) -> dict[str, Any]:
        raise failure

    server.delete = cast("Callable[..., dict[str, Any]]", delete)  # type: ignore[method-assign]
    with pytest.raises(Refused, match="this run did not create it"):
        make(server, "arm64", "amd64", namespace="team")
