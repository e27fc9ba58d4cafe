"""The job's token: fetched anew before it ends and after a 401, by the runner's own protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ci_buildx.errors import InputError, Unauthorized
from ci_buildx.kube import credential_plugins
from ci_buildx.kube.config import load_cluster
from ci_buildx.kube.credential_plugins import OidcToken
from ci_buildx.model.secret import Secret
from ci_buildx.settings.values import ClusterSettings
from devcluster import jwt, pki

KEY = pki.new_key()


def token(number: int, seconds: int) -> Secret:
    return Secret(jwt.sign(KEY, {}, {"jti": str(number), "iat": 1000, "exp": 1000 + seconds}))


def test_a_new_one_is_fetched_in_the_last_quarter_of_its_life() -> None:
    now = [50.0]
    issued: list[Secret] = []

    def fetch() -> Secret:
        issued.append(token(len(issued), 300))
        return issued[-1]

    credentials = OidcToken(fetch, clock=lambda: now[0])
    for moment, fetched in ((50.0, 1), (274.9, 1), (275.0, 2), (499.9, 2), (500.0, 3)):
        now[0] = moment
        assert credentials.make_headers() == {"Authorization": f"Bearer {issued[-1].reveal_text()}"}
        assert len(issued) == fetched, moment


def test_a_new_one_is_fetched_after_a_401() -> None:
    issued: list[Secret] = []

    def fetch() -> Secret:
        issued.append(token(len(issued), 300))
        return issued[-1]

    credentials = OidcToken(fetch)
    credentials.make_headers()
    assert credentials.refresh()
    credentials.make_headers()
    assert len(issued) == 2


@pytest.mark.parametrize("text", ["", "opaque", "a.b", "a.%%.c", "a.bnVsbA.c", "a.e30.c"])
def test_what_is_no_jwt_is_kept_until_it_is_refused(text: str) -> None:
    assert credential_plugins.compute_usable_time(Secret(text)) == float("inf")


def test_a_variable_of_gitlab() -> None:
    assert credential_plugins.find_token_source("env:CLUSTER", {"CLUSTER": "abc"})().reveal_text() == "abc"


@pytest.mark.parametrize(
    ("text", "env", "told"),
    [
        ("env:CLUSTER", {}, "oidc: variable 'CLUSTER' is not set; add id_tokens: CLUSTER: … to the job"),
        ("sts", {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://x"}, "oidc: ACTIONS_ID_TOKEN_REQUEST_URL is not set"),
        ("sts", {}, "id-token: write"),
    ],
)
def test_a_job_without_a_token(text: str, env: dict[str, str], told: str) -> None:
    with pytest.raises(InputError) as caught:
        credential_plugins.find_token_source(text, env)
    assert told in str(caught.value)


def test_it_takes_the_place_of_the_kubeconfigs_user(tmp_path: Path) -> None:
    file = tmp_path / "config"
    entries = {"clusters": [{"name": "x", "cluster": {"server": "https://api"}}]}
    context = {"contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}], "current-context": "x"}
    file.write_text(json.dumps({**entries, **context, "users": [{"name": "x", "user": {"token": "old", "as": "y"}}]}))
    cluster = load_cluster(ClusterSettings(kubeconfig=(file,), oidc="env:T"), env={"T": "new"})
    assert cluster.credentials.make_headers() == {"Authorization": "Bearer new"}
    assert cluster.identity_headers == {}


Answer = tuple[int, bytes]


@contextmanager
def runner(answers: list[Answer], asked: list[tuple[str, str]]) -> Iterator[str]:
    """Answers one after the other, as GitHub's runner does."""

    class Connection(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization", "")))
            status, body = answers[min(len(asked), len(answers)) - 1]
            self.send_response(status)
            if status == 302:
                self.send_header("Location", body.decode())
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    server = HTTPServer(("127.0.0.1", 0), Connection)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/token?job=1"
    server.shutdown()
    server.server_close()


Ask = Callable[[list[Answer]], tuple[str, list[tuple[str, str]]]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Requests a token from a runner that answers as told; returns it and the requests."""
    monkeypatch.setattr(credential_plugins, "_PAUSE", 0.0)

    def run(answers: list[Answer]) -> tuple[str, list[tuple[str, str]]]:
        asked: list[tuple[str, str]] = []
        with runner(answers, asked) as url:
            return credential_plugins.request_token(url, Secret("pass"), "sts a").reveal_text(), asked

    return run


def test_github_is_asked_for_an_audience(ask: Ask) -> None:
    given, asked = ask([(200, b'{"count": 1, "value": "abc"}')])
    assert given == "abc"
    assert asked == [("/token?job=1&audience=sts+a", "Bearer pass")]


def test_github_is_asked_again_where_it_fails(ask: Ask) -> None:
    given, asked = ask([(503, b""), (429, b""), (200, b'{"value": "abc"}')])
    assert (given, len(asked)) == ("abc", 3)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((403, b"pass"), "the runner returned no OIDC token for 'sts a': HTTP 403"),
        ((500, b""), "the runner returned no OIDC token for 'sts a': HTTP 500"),
        ((200, b"[]"), "the runner returned no OIDC token: its response contains none"),
        ((200, b'{"value": 1}'), "the runner returned no OIDC token: its response contains none"),
    ],
)
def test_a_runner_that_gives_none(ask: Ask, answer: Answer, told: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        ask([answer])
    assert str(caught.value) == told


def test_a_netrc_does_not_replace_the_password(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    _, asked = ask([(200, b'{"value": "abc"}')])
    assert [password for _, password in asked] == ["Bearer pass"]


def test_a_redirect_takes_no_password_elsewhere(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    elsewhere: list[tuple[str, str]] = []
    with runner([(200, b'{"value": "abc"}')], elsewhere) as url:
        ask([(302, url.encode())])
    assert [password for _, password in elsewhere] == [""]


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_plugins, "_PAUSE", 0.0)
    with pytest.raises(Unauthorized, match=r"no answer \(ConnectionError\)"):
        credential_plugins.request_token("http://127.0.0.1:9/", Secret("pass"), "sts")
