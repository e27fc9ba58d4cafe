"""A service of the CI system that sends without end."""

from __future__ import annotations

import time
from inspect import signature

import pytest
import requests
from requests.exceptions import InvalidProxyURL

from ci_buildx.ci.github import report
from ci_buildx.ci.github.events import WorkflowEvent, fetch_repository
from ci_buildx.model import http_calls
from ci_buildx.model.http_calls import DEADLINE, LARGEST_ANSWER, LARGEST_REDIRECT, MOST_REDIRECTS, find_proxies
from tests.unit.registry.hostile import hostile
from tests.unit.registry.scripted import Registry, Reply, scripted


def get(service: Registry, path: str = "/x", **more: float) -> http_calls.Answer:
    return http_calls.send_request("GET", f"http://{service.address}{path}", timeout=5, **more)  # type: ignore[arg-type]


def test_an_answer_is_read_up_to_its_bound() -> None:
    with scripted() as service:
        service.on("GET /x", Reply(body=b"x" * LARGEST_ANSWER))
        assert len(get(service).content) == LARGEST_ANSWER
        service.on("GET /x", Reply(body=b"x" * (LARGEST_ANSWER + 1)))
        with pytest.raises(requests.RequestException, match=f"more than {LARGEST_ANSWER} bytes"):
            get(service)


def test_redirects_have_a_bound_and_what_comes_with_them() -> None:
    with scripted() as service:
        service.on("GET /x", Reply(302, b"x" * LARGEST_REDIRECT, {"Location": "/y"}))
        service.on("GET /y", Reply(body=b"{}"))
        assert get(service).json() == {}
        service.on("GET /x", Reply(302, b"x" * (LARGEST_REDIRECT + 1), {"Location": "/y"}))
        with pytest.raises(requests.RequestException, match=f"more than {LARGEST_REDIRECT} bytes"):
            get(service)
        service.on("GET /x", Reply(302, b"", {"Location": "/x"}))
        service.asked.clear()
        with pytest.raises(requests.TooManyRedirects):
            get(service)
        assert len(service.asked) == MOST_REDIRECTS + 1


@pytest.mark.parametrize("flood", [b"HTTP/1.1 100 Continue\r\n\r\n", b""], ids=["interim responses", "trailers"])
def test_a_flood_without_content_is_left_at_the_deadline(flood: bytes) -> None:
    with hostile() as server:
        server.head = b"" if flood else b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        server.piece, server.repeats = (flood or b"a: b\r\n") * 1000, 1 << 30
        with pytest.raises(requests.Timeout, match="no complete response within 0 s"):
            http_calls.send_request("GET", f"http://{server.address}/", timeout=5, deadline=0.4)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nA: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_an_answer_that_drips_is_left_at_the_deadline(head: bytes) -> None:
    with hostile() as server:
        server.head, server.piece, server.repeats, server.pause = head, b"H", 2000, 0.02
        since = time.monotonic()
        assert signature(http_calls.send_request).parameters["deadline"].default == DEADLINE
        with pytest.raises(requests.Timeout, match="no complete response within 0 s"):
            http_calls.send_request("GET", f"http://{server.address}/", timeout=5, deadline=0.4)
        assert time.monotonic() - since < 20


def test_a_service_that_takes_by_drops_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    assert report._UPLOAD > DEADLINE
    with hostile() as server:
        server.takes, server.head, server.repeats, server.pause = 1, b"", 1000, 0.02
        monkeypatch.setattr(report, "_UPLOAD", 0.4)
        service = report.ArtifactService(url="http://127.0.0.1:1", token="t", run="r", job="j")
        since = time.monotonic()
        with pytest.raises(report.UploadFailed, match="upload: Timeout"):
            service._put(f"http://{server.address}/", bytes(1 << 26))
        assert time.monotonic() - since < 20


def test_json_that_is_nested_without_end_says_nothing() -> None:
    with scripted() as service:
        service.on("GET /repos/a/b", Reply(body=b"[" * 200_000))
        event = WorkflowEvent(env={"GITHUB_API_URL": f"http://{service.address}", "GITHUB_REPOSITORY": "a/b"})
        assert fetch_repository(event, "t") == {}


@pytest.mark.parametrize("proxy", ["http://ann:seeded@", "http://ann:seeded@[::1", "http://", "://ann:seeded@p"])
def test_a_proxy_without_a_host_is_named_and_not_quoted(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(InvalidProxyURL, match="check HTTP_PROXY and HTTPS_PROXY") as caught:
        find_proxies("https://r.example/")
    assert "seeded" not in str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "url"),
    [
        ("ann:p@proxy.example:3128", "http://ann:p@proxy.example:3128"),
        ("HTTP://ann:p@PROXY.example:3128", "HTTP://ann:p@PROXY.example:3128"),
    ],
)
def test_a_bare_proxy_is_one_of_http(proxy: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the API server (kube/proxy.py), and for curl."""
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert find_proxies("https://r.example/")["https"] == url
