"""What people read when the API server says no; the bodies are those of a real one."""

from __future__ import annotations

import json

import pytest

from ci_buildx.errors import Conflict, Forbidden, Invalid, KubeError, NotFound, Throttled, Unauthorized
from ci_buildx.kube.refusal import make_kube_error, read_status_error


def status(message: str, reason: str = "", **more: object) -> bytes:
    return json.dumps({"kind": "Status", "message": message, "reason": reason, **more}).encode()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            (
                'namespaces is forbidden: User "system:serviceaccount:ci:bob" cannot create resource "namespaces" '
                'in API group "" at the cluster scope'
            ),
            (
                'user "system:serviceaccount:ci:bob" may not create namespaces in the whole cluster; '
                'bind a ClusterRole with the verb "create" on namespaces to that user; '
                "kube-builder doctor shows all that is missing"
            ),
        ),
        (
            (
                'jobs.batch "x" is forbidden: User "bob" cannot delete resource "jobs" in API group "batch" '
                'in the namespace "n": RBAC: role.rbac.authorization.k8s.io "r" not found'
            ),
            (
                'user "bob" may not delete jobs.batch in namespace "n" (RBAC: role.rbac.authorization.k8s.io "r" not '
                'found); bind a Role with the verb "delete" on jobs.batch to that user; '
                "kube-builder doctor shows all that is missing"
            ),
        ),
        (
            (
                'pods "p" is forbidden: User "bob" cannot get resource "pods/portforward" in API group "" '
                'in the namespace "n"'
            ),
            (
                'user "bob" may not get pods/portforward in namespace "n"; bind a Role with the verbs "get" '
                'and "create" on pods/portforward to that user (servers up to 1.34 ask for get, from 1.35 for create); '
                "kube-builder doctor shows all that is missing"
            ),
        ),
        (
            'forbidden: User "system:anonymous" cannot get path "/version"',
            'user "system:anonymous" may not get /version',
        ),
        (
            'pods "p" is forbidden: exceeded quota: q, requested: cpu=9, used: cpu=0, limited: cpu=1',
            'pods "p" is forbidden: exceeded quota: q, requested: cpu=9, used: cpu=0, limited: cpu=1',
        ),
    ],
)
def test_a_403_says_who_lacks_which_verb_on_what(message: str, expected: str) -> None:
    error = make_kube_error(403, status(message, "Forbidden"), "POST /x")
    assert isinstance(error, Forbidden)
    assert str(error) == expected


@pytest.mark.parametrize(
    ("code", "kind"),
    [(401, Unauthorized), (404, NotFound), (409, Conflict), (429, Throttled), (503, Throttled), (400, KubeError)],
)
def test_each_status_has_its_class(code: int, kind: type[KubeError]) -> None:
    error = make_kube_error(code, status("some words", "SomeReason"), "GET /x")
    assert type(error) is kind
    assert (error.status, error.reason) == (code, "SomeReason")
    assert "some words" in str(error)


def test_a_422_names_the_fields() -> None:
    causes = [{"field": "spec.replicas", "message": "must be 0 or more"}, {"field": "metadata.name", "message": "bad"}]
    details = {"kind": "Job", "name": "x", "causes": causes}
    error = make_kube_error(422, status("long", "Invalid", details=details), "POST /x")
    assert isinstance(error, Invalid)
    assert str(error) == 'Job "x" is invalid: spec.replicas: must be 0 or more; metadata.name: bad'


@pytest.mark.parametrize("body", [b"<html>Bad\nGateway", b"[1]", b"", b"\xff"])
def test_a_body_that_is_no_status_is_told_with_the_call(body: bytes) -> None:
    assert "GET /x: status 502" in str(make_kube_error(502, body, "GET /x"))


@pytest.mark.parametrize(
    ("code", "body", "fix"),
    [
        (404, b"404 page not found\n", "is this a Kubernetes API server? check server in the kubeconfig"),
        (302, b"", "is this a Kubernetes API server? check server in the kubeconfig"),
        (400, b"Client sent an HTTP request to an HTTPS server.\n", "use https:// as server in the kubeconfig"),
        (404, status('pods "x" not found', "NotFound"), ""),
        (503, b"no backend", ""),
    ],
)
def test_what_is_no_api_server_is_told_as_that(code: int, body: bytes, fix: str) -> None:
    assert make_kube_error(code, body, "GET /api/v1/nodes").fix == fix


def test_long_messages_are_cut_to_a_line() -> None:
    text = str(make_kube_error(400, status("a\n" * 5000), "GET /x"))
    assert "\n" not in text
    assert len(text) < 700


def test_a_status_inside_a_watch() -> None:
    assert read_status_error({"code": 410, "reason": "Expired", "message": "too old"}).status == 410
