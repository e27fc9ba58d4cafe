"""Calls to an API server that fails on cue: what is tried again, and what people are told."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.errors import (
    Conflict,
    Forbidden,
    InputError,
    KubeError,
    LateInputError,
    NotFound,
    Throttled,
    Unauthorized,
    Unreachable,
)
from ci_buildx.kube import exchange
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.kube.connection import explain_connection_failure
from ci_buildx.kube.credentials import Anonymous, ClientCertificate, Credentials, TokenFile
from ci_buildx.kube.exchange import RetryPolicy
from ci_buildx.kube.proxy import Proxy
from ci_buildx.kube.tls import TlsSettings
from ci_buildx.kube.watch import ChangeKind, WatchEvent
from tests.unit.kube.authority import Authority
from tests.unit.kube.scripted import DROP, Scripted, answer, events, refused, scripted

NAMED = {"metadata": {"name": "x"}}


@contextmanager
def client(scripted_server: Scripted, /, pauses: list[float] | None = None, **more: object) -> Iterator[KubeClient]:
    arguments: dict[str, object] = {
        "server": f"http://127.0.0.1:{scripted_server.port}/prefix",
        "credentials": Anonymous(),
    }
    noted = pauses if pauses is not None else []
    kube = KubeClient(ClusterAccess(**{**arguments, **more}), retry=RetryPolicy(sleep=noted.append, random=lambda: 0.5))  # type: ignore[arg-type]
    try:
        yield kube
    finally:
        kube.close()


@pytest.mark.parametrize(
    ("path", "query", "late"),
    [
        ("/api/v1/namespaces", {}, True),
        ("/api/v1/namespaces", {"dryRun": "All"}, False),
        ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {}, False),
        ("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, False),
        ("", {}, False),
    ],
)
def test_bad_input_ends_with_two_only_where_nothing_was_created(path: str, query: dict[str, str], late: bool) -> None:
    """Whatever raises it: what leaves the client's block after an object was made is late."""
    wrong = InputError("is wrong", source="--x", fix="write it so")
    wrong.add_note("a note")
    with scripted(answer(200, {})) as server:
        cluster = ClusterAccess(server=f"http://127.0.0.1:{server.port}", credentials=Anonymous())
        with pytest.raises((InputError, LateInputError)) as caught, KubeClient(cluster) as kube:
            kube.get("/version")
            if path:
                kube.create(path, NAMED, **query)
            raise wrong
    assert (type(caught.value), caught.value.exit_code) == ((LateInputError, 1) if late else (InputError, 2))
    assert (str(caught.value), caught.value.__notes__) == ("--x: is wrong; write it so", ["a note"])


def test_what_is_refused_was_not_created() -> None:
    with scripted(refused(403, "Forbidden")) as server:
        cluster = ClusterAccess(server=f"http://127.0.0.1:{server.port}", credentials=Anonymous())
        with pytest.raises(InputError), KubeClient(cluster) as kube:
            with pytest.raises(Forbidden):
                kube.create("/api/v1/namespaces", NAMED)
            raise InputError("is wrong")


def test_reads_with_query_and_prefix_over_one_connection() -> None:
    with scripted(answer(200, {"a": 1}, Date="Mon, 23 Nov 2026 02:00:00 GMT")) as server, client(server) as kube:
        assert kube.server_time is None
        assert kube.get("/api/v1/pods", labelSelector="a=b,c", watch=True, empty="") == {"a": 1}
        assert kube.server_time == 1795399200.0
    assert server.asked == ["GET /prefix/api/v1/pods?labelSelector=a%3Db%2Cc&watch=true"]


def test_waits_as_long_as_retry_after_says() -> None:
    pauses: list[float] = []
    script = (refused(429, "TooManyRequests", Retry_After="7"), refused(503, "ServiceUnavailable"), answer(200))
    with scripted(*script) as server, client(server, pauses) as kube:
        kube.get("/x")
    assert pauses == [7.0, 0.2]


def test_gives_up_after_six_tries_and_says_so() -> None:
    with scripted(refused(500, "InternalError", "etcd is sad")) as server, client(server) as kube:
        with pytest.raises(Throttled, match=r"the API server failed \(500\): etcd is sad"):
            kube.get("/x")
        assert len(server.requests) == 6


def test_a_server_that_has_answered_before_is_waited_for_while_it_restarts() -> None:
    """An API server that restarts, or a network that is cut for a minute, refuses many more than six tries."""
    date = "Mon, 23 Nov 2026 02:00:00 GMT"
    script = (answer(200, Date=date), *[DROP] * 20, answer(200, {"a": 1}))
    with scripted(*script) as server, client(server) as kube:
        kube.get("/x")
        assert kube.get("/x") == {"a": 1}


FIRST = answer(200, Date="Mon, 23 Nov 2026 02:00:00 GMT", Connection="close")
NO_ROLES = refused(403, "Forbidden", 'User "bob" cannot get path "/x"')


@contextmanager
def restarted(*script: bytes) -> Iterator[tuple[KubeClient, Scripted]]:
    """A client whose server has answered, was not there at one call, and is there again with ``script``."""
    with scripted(FIRST) as server:
        access = ClusterAccess(server=f"http://127.0.0.1:{server.port}", credentials=Anonymous())
        kube = KubeClient(access, retry=RetryPolicy(attempts=1, patience=0.0, sleep=lambda _: time.sleep(0.01)))
        kube.get("/x")
    try:
        with pytest.raises(Unreachable):
            kube.get("/x")
        with scripted(*script, port=server.port) as again:
            yield kube, again
    finally:
        kube.close()


def test_a_server_that_starts_may_not_know_the_roles_yet() -> None:
    with restarted(*[NO_ROLES] * 9, answer(200, {"a": 1})) as (kube, server):
        assert kube.get("/x") == {"a": 1}
        assert len(server.requests) == 10
    with restarted(*[NO_ROLES] * 9, answer(200, {"a": 1})) as (kube, _):
        assert b"".join(kube.open_stream("/x"))
    with restarted(*[NO_ROLES] * 9, b"HTTP/1.1 101 Fine\r\nSec-WebSocket-Accept: wrong\r\n\r\n") as (kube, server):
        with pytest.raises(KubeError, match="does not support WebSocket"):
            kube.open_websocket("/x", [], ["v4.channel.k8s.io"])
        assert len(server.requests) == 10


def test_a_missing_right_is_said_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "SETTLING", 0.3)
    with restarted(NO_ROLES) as (kube, server):
        with pytest.raises(Forbidden):
            kube.get("/x")
        with pytest.raises(Forbidden):
            kube.open_websocket("/x", [], ["v4.channel.k8s.io"])
        assert len(server.requests) > 2


def test_a_server_that_never_answered_is_given_up_after_six_tries() -> None:
    with scripted(DROP) as server, client(server) as kube:
        with pytest.raises(Unreachable):
            kube.get("/x")
        assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("status", "kind"), [(400, KubeError), (403, Forbidden), (404, NotFound), (409, Conflict), (501, Throttled)]
)
def test_a_definite_refusal_is_not_tried_again(status: int, kind: type[KubeError]) -> None:
    with scripted(refused(status, "Reason")) as server, client(server) as kube:
        with pytest.raises(kind):
            kube.get("/x")
        assert len(server.requests) == 1


def test_a_dropped_connection_is_tried_again() -> None:
    with scripted(DROP, answer(200, {"a": 1})) as server, client(server) as kube:
        assert kube.get("/x") == {"a": 1}


def test_already_exists_at_the_second_try_means_made_by_the_first() -> None:
    made = {"metadata": {"name": "x", "uid": "1"}}
    with scripted(DROP, refused(409, "AlreadyExists"), answer(200, made)) as server, client(server) as kube:
        assert kube.create("/pods", NAMED) == made
    assert server.asked == ["POST /prefix/pods", "POST /prefix/pods", "GET /prefix/pods/x"]


MARKED = {"metadata": {"name": "x", "labels": {"a": "1"}, "annotations": {"nonce": "n1"}}}


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (MARKED, {"metadata": {"name": "x"}}),
        (MARKED, {"metadata": {"name": "x", "labels": {"a": "1"}, "annotations": {"nonce": "n2"}}}),
        (MARKED, {"metadata": {"name": "x", "labels": {"a": "2"}, "annotations": {"nonce": "n1"}}}),
        ({**NAMED, "data": {"key": "b3Vycw=="}}, {**NAMED, "data": {"key": "dGhlaXJz"}}),
        ({"metadata": {"name": "x", "ownerReferences": [{"uid": "1"}]}}, NAMED),
    ],
)
@pytest.mark.parametrize("before", [DROP, refused(500, "InternalError")], ids=["cut", "500"])
def test_an_object_of_another_is_not_taken_for_ours(before: bytes, sent: dict[str, Any], found: object) -> None:
    """After a cut or a 5xx nobody knows whether the first try made it: what was sent tells."""
    with (
        scripted(before, refused(409, "AlreadyExists"), answer(200, found)) as server,
        client(server) as kube,
        pytest.raises(Conflict),
    ):
        kube.create("/pods", sent)


@pytest.mark.parametrize("before", [DROP, refused(500, "InternalError")], ids=["cut", "500"])
def test_our_own_object_is_recognized_by_what_was_sent(before: bytes) -> None:
    stored = {"metadata": {**MARKED["metadata"], "uid": "7", "labels": {"a": "1", "admission": "added"}}}
    with scripted(before, refused(409, "AlreadyExists"), answer(200, stored)) as server, client(server) as kube:
        assert kube.create("/pods", MARKED) == stored


@pytest.mark.parametrize("answered", [refused(403, "Forbidden"), refused(404, "NotFound")], ids=["forbidden", "gone"])
def test_an_object_that_cannot_be_read_is_a_conflict(answered: bytes) -> None:
    """As a RoleBinding of a job, which may create one and not read it."""
    with (
        scripted(DROP, refused(409, "AlreadyExists"), answered) as server,
        client(server) as kube,
        pytest.raises(Conflict),
    ):
        kube.create("/rolebindings", NAMED)


def test_already_exists_at_the_first_try_is_a_conflict() -> None:
    with (
        scripted(refused(409, "AlreadyExists")) as server,
        client(server) as kube,
        pytest.raises(Conflict),
    ):
        kube.create("/pods", NAMED)


def test_already_exists_after_429_is_a_conflict_because_nothing_was_processed() -> None:
    with (
        scripted(refused(429, "TooManyRequests"), refused(409, "AlreadyExists")) as server,
        client(server) as kube,
        pytest.raises(Conflict),
    ):
        kube.create("/pods", NAMED)


def test_what_would_be_made_twice_is_not_tried_again() -> None:
    with scripted(DROP, answer(200)) as server, client(server) as kube:
        with pytest.raises(Unreachable):
            kube.create("/pods", {"metadata": {"generateName": "x-"}})
        assert len(server.requests) == 1


def test_gone_at_the_second_try_means_deleted_by_the_first() -> None:
    with scripted(DROP, refused(404, "NotFound")) as server, client(server) as kube:
        assert kube.delete("/pods/x", options={"gracePeriodSeconds": 0})["status"] == "Success"
    assert server.bodies[1] == b'{"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}'


def test_a_401_reads_the_rotated_token_and_tries_once_more(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")

    class Rotated(TokenFile):
        def refresh(self) -> bool:
            token.write_text("new\n")
            return True

    with scripted(refused(401, "Unauthorized"), answer(200)) as server:
        with client(server, credentials=Rotated(token)) as kube:
            kube.get("/x")
        assert ["Bearer old" in server.requests[0], "Bearer new" in server.requests[1]] == [True, True]


def test_a_second_401_is_final() -> None:
    class Refreshing(Anonymous):
        def refresh(self) -> bool:
            return True

    with scripted(refused(401, "Unauthorized")) as server, client(server, credentials=Refreshing()) as kube:
        with pytest.raises(Unauthorized, match="log in again"):
            kube.get("/x")
        assert len(server.requests) == 2


ONE, TWO, THREE = ({"metadata": {"name": name}} for name in ("one", "two", "three"))


def test_lists_page_by_page() -> None:
    pages = ({"items": [ONE, TWO], "metadata": {"continue": "t"}}, {"items": [THREE], "metadata": {}})
    with scripted(*(answer(200, page) for page in pages)) as server, client(server) as kube:
        assert kube.list("/pods")["items"] == [ONE, TWO, THREE]
    assert server.asked[1] == "GET /prefix/pods?limit=500&continue=t"


def test_a_page_that_expired_starts_over() -> None:
    script = (
        answer(200, {"items": [ONE], "metadata": {"continue": "t"}}),
        refused(410, "Expired"),
        answer(200, {"items": [TWO]}),
    )
    with scripted(*script) as server, client(server) as kube:
        assert kube.list("/pods")["items"] == [TWO]


@pytest.mark.parametrize(("minor", "expected"), [("34", (1, 34)), ("29+", (1, 29)), ("", (1, 0))])
def test_server_version(minor: str, expected: tuple[int, int]) -> None:
    with scripted(answer(200, {"major": "1", "minor": minor})) as server, client(server) as kube:
        assert kube.read_server_version() == kube.read_server_version() == expected
        assert len(server.requests) == 1


class TestWatch:
    """Watches over connections that break, expire and lie."""

    @staticmethod
    def pod(name: str, version: int) -> dict[str, object]:
        return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}}

    @staticmethod
    def seen(stream: Iterator[WatchEvent], count: int) -> list[tuple[str, str]]:
        return [(event.type.value, event.object["metadata"]["name"]) for event in islice(stream, count)]

    def listed(self, version: int, *pods: dict[str, object]) -> bytes:
        return answer(200, {"metadata": {"resourceVersion": str(version)}, "items": list(pods)})

    @pytest.mark.parametrize(
        "gone", [refused(410, "Expired"), events({"type": "ERROR", "object": {"code": 410, "reason": "Expired"}})]
    )
    def test_a_410_lists_anew_and_tells_the_difference(self, gone: bytes) -> None:
        script = (
            self.listed(5, self.pod("a", 1), self.pod("b", 2), self.pod("c", 3)),
            gone,
            self.listed(9, self.pod("a", 1), self.pod("b", 8), self.pod("d", 9)),
            events(),
        )
        with scripted(*script) as server, client(server) as kube:
            got = self.seen(kube.watch("/pods", deadline=time.monotonic() + 20), 6)
        added = [("ADDED", name) for name in "abc"]
        assert got == [*added, ("DELETED", "c"), ("MODIFIED", "b"), ("ADDED", "d")]

    def test_a_closed_or_broken_connection_goes_on_after_the_last_version(self) -> None:
        bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "7"}}}
        script = (
            events({"type": "ADDED", "object": self.pod("a", 6)}, bookmark),
            DROP,
            refused(503, "ServiceUnavailable"),
            events({"type": "DELETED", "object": self.pod("a", 8)}),
        )
        with scripted(*script) as server, client(server) as kube:
            got = self.seen(kube.watch("/pods", resource_version="5", deadline=time.monotonic() + 20), 2)
        assert got == [("ADDED", "a"), ("DELETED", "a")]
        versions = [asked.split("resourceVersion=")[1].split("&")[0] for asked in server.asked]
        assert versions == ["5", "7", "7", "7"]

    def test_a_refusal_ends_it(self) -> None:
        with (
            scripted(refused(403, "Forbidden")) as server,
            client(server) as kube,
            pytest.raises(Forbidden),
        ):
            list(kube.watch("/pods", deadline=time.monotonic() + 20))

    def test_the_deadline_tells_what_failed_to_the_end(self) -> None:
        with scripted(DROP) as server, client(server) as kube, pytest.raises(Unreachable):
            list(kube.watch("/pods", resource_version="1", deadline=time.monotonic() + 1))

    @pytest.mark.parametrize("ending", ["stop", "close"])
    def test_stop_and_close_end_a_silent_watch(self, ending: str) -> None:
        silent = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
        with scripted(silent) as server, client(server) as kube:
            stop = threading.Event()
            act: Callable[[], None] = stop.set if ending == "stop" else kube.close
            threading.Timer(0.2, act).start()
            assert list(kube.watch("/p", resource_version="1", deadline=time.monotonic() + 60, stop=stop)) == []

    def test_changes_are_a_closed_set(self) -> None:
        assert {change.value for change in ChangeKind} == {"ADDED", "MODIFIED", "DELETED"}


class TestUnreachable:
    """Connections that fail on the way, and what is said of it."""

    @staticmethod
    def failure(server: Scripted, tls: TlsSettings, credentials: Credentials | None = None) -> str:
        url = f"https://127.0.0.1:{server.port}"
        with (
            client(server, server=url, tls=tls, credentials=credentials or Anonymous()) as kube,
            pytest.raises(KubeError) as caught,
        ):
            kube.get("/x")
        return str(caught.value)

    def test_tls_with_the_right_authority(self) -> None:
        authority = Authority()
        with scripted(answer(200), tls=authority.server(clients=True)) as server:
            url, tls = f"https://127.0.0.1:{server.port}", TlsSettings(authority=authority.pem)
            credentials = ClientCertificate(authority.issue("me"), Anonymous())
            with client(server, server=url, tls=tls, credentials=credentials) as kube:
                assert kube.get("/x") == {}

    def test_tls_server_name(self) -> None:
        authority = Authority()
        with scripted(answer(200), tls=authority.server("api.example.com")) as server:
            tls = TlsSettings(authority=authority.pem, server_name="api.example.com")
            with client(server, server=f"https://127.0.0.1:{server.port}", tls=tls) as kube:
                assert kube.get("/x") == {}

    def test_unknown_authority(self) -> None:
        with scripted(answer(200), tls=Authority("other").server()) as server:
            said = self.failure(server, TlsSettings(authority=Authority().pem))
        assert "is not trusted" in said
        assert "certificate-authority" in said

    def test_wrong_name(self) -> None:
        authority = Authority()
        with scripted(answer(200), tls=authority.server("api.example.com")) as server:
            assert "tls-server-name" in self.failure(server, TlsSettings(authority=authority.pem))

    def test_expired_server_certificate(self) -> None:
        authority = Authority()
        with scripted(answer(200), tls=authority.server(days=-1)) as server:
            assert "has expired" in self.failure(server, TlsSettings(authority=authority.pem))

    def test_a_server_certificate_of_tomorrow(self) -> None:
        """As a machine sees it whose clock is hours behind."""
        cause = ssl.SSLCertVerificationError("certificate is not yet valid")
        cause.verify_code, cause.verify_message = 9, "certificate is not yet valid"
        cluster = ClusterAccess(server="https://api.example:6443", credentials=Anonymous())
        assert str(explain_connection_failure(cause, cluster)) == (
            "the certificate of the API server api.example:6443 is not valid yet; "
            "set the clock of this machine, or renew the certificate"
        )

    def test_expired_client_certificate_in_the_handshake(self) -> None:
        authority = Authority()
        credentials = ClientCertificate(authority.issue("me", days=-1), Anonymous())
        with scripted(answer(200), tls=authority.server(clients=True)) as server:
            said = self.failure(server, TlsSettings(authority=authority.pem), credentials)
        assert "the client certificate expired on" in said

    def test_expired_client_certificate_as_a_401(self) -> None:
        authority = Authority()
        credentials = ClientCertificate(authority.issue("me", days=-1), Anonymous())
        with scripted(refused(401, "Unauthorized"), tls=authority.server()) as server:
            said = self.failure(server, TlsSettings(authority=authority.pem), credentials)
        assert "the client certificate expired on" in said

    def test_plain_http_on_a_tls_port(self) -> None:
        with scripted(answer(400)) as server:
            assert "does not speak TLS" in self.failure(server, TlsSettings(verify=False))

    def test_refused(self) -> None:
        with scripted(answer(200)) as server:
            port = server.port
        with client(server) as kube, pytest.raises(Unreachable, match=f"127.0.0.1:{port} refuses connections"):
            kube.get("/x")

    @pytest.mark.parametrize("host", ["api.invalid", "a" * 70 + ".example"])
    def test_unknown_name(self, host: str) -> None:
        with (
            scripted(answer(200)) as server,
            client(server, server=f"http://{host}:6443") as kube,
            pytest.raises(Unreachable),
        ):
            kube.get("/x")

    def test_a_proxy_that_refuses_is_named_without_its_password(self) -> None:
        with scripted(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as server:
            proxy = Proxy(host="127.0.0.1", port=server.port, source="HTTPS_PROXY")
            with (
                client(server, server="https://api.example:6443", proxy=proxy) as kube,
                pytest.raises(Unreachable, match=r"HTTPS_PROXY\) refused a connection to api.example:6443: 407"),
            ):
                kube.get("/x")
            assert server.asked == ["CONNECT api.example:6443"]


class TestWebSocket:
    """Handshakes that fail."""

    def test_an_answer_that_is_no_websocket(self) -> None:
        with (
            scripted(b"HTTP/1.1 101 Fine\r\nSec-WebSocket-Accept: wrong\r\n\r\n") as server,
            client(server) as kube,
            pytest.raises(KubeError, match="does not support WebSocket"),
        ):
            kube.open_websocket("/x", [], ["v4.channel.k8s.io"])

    def test_an_idle_connection_is_used_and_one_that_is_closed_is_replaced(self) -> None:
        with (
            scripted(answer(200), DROP, b"HTTP/1.1 101 Fine\r\nSec-WebSocket-Accept: wrong\r\n\r\n") as server,
            client(server) as kube,
        ):
            kube.get("/x")
            with pytest.raises(KubeError, match="does not support WebSocket"):
                kube.open_websocket("/y", [], ["v4.channel.k8s.io"])
            assert server.asked == ["GET /prefix/x", "GET /prefix/y", "GET /prefix/y"]

    def test_a_refusal_names_the_verb(self) -> None:
        message = 'User "bob" cannot create resource "pods/portforward" in API group "" in the namespace "n"'
        with (
            scripted(refused(403, "Forbidden", message)) as server,
            client(server) as kube,
            pytest.raises(Forbidden, match=r'may not create pods/portforward.*"get" and "create"'),
        ):
            kube.open_websocket("/x", [("ports", "1")], ["v4.channel.k8s.io"])
