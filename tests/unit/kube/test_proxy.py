"""Proxy variables; the table follows the tests of golang.org/x/net/http/httpproxy in what it covers."""

from __future__ import annotations

import pytest

from ci_buildx.errors import InputError
from ci_buildx.kube.proxy import choose_proxy, parse_proxy


@pytest.mark.parametrize(
    ("no_proxy", "host", "proxied"),
    [
        ("", "api.example.com", True),
        ("", "localhost", False),
        ("", "127.3.2.1", False),
        ("", "::1", False),
        ("*", "api.example.com", False),
        ("example.com", "example.com", False),
        ("example.com", "API.example.com", False),
        ("example.com", "myexample.com", True),
        (".example.com", "example.com", True),
        (".example.com", "api.example.com", False),
        ("*.example.com", "example.com", True),
        ("*.example.com", "api.example.com", False),
        (" other.com , example.com", "example.com", False),
        ("example.com:6443", "example.com", False),
        ("example.com:443", "example.com", True),
        ("10.0.0.0/8", "10.9.8.7", False),
        ("10.0.0.0/8", "11.0.0.1", True),
        ("10.0.0.0/8", "ten.example.com", True),
        ("10.1.2.3", "10.1.2.3", False),
        ("10.1.2.3:80", "10.1.2.3", True),
        ("10.1.2.3:6443", "10.1.2.3", False),
        ("fd00::/8", "fd12::1", False),
        ("[fd12::1]:6443", "fd12::1", False),
        ("fd12::1", "fd12:0::1", False),
        ("bad/cidr", "bad", True),
        (":6443", "example.com", True),
    ],
)
def test_no_proxy(no_proxy: str, host: str, proxied: bool) -> None:
    env = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": no_proxy}
    assert (choose_proxy("https", host, 6443, env) is not None) is proxied


@pytest.mark.parametrize(
    ("env", "scheme", "expected"),
    [
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"}, "https", "a"),
        ({"https_proxy": "b:2"}, "https", "b"),
        ({"HTTP_PROXY": "http://a:1"}, "https", None),
        ({"HTTP_PROXY": "http://a:1"}, "http", "a"),
        ({"HTTPS_PROXY": "http://a:1", "no_proxy": "api"}, "https", None),
    ],
)
def test_which_variable_counts(env: dict[str, str], scheme: str, expected: str | None) -> None:
    chosen = choose_proxy(scheme, "api", 6443, env)
    assert (chosen.host if chosen else None) == expected


def test_credentials_become_a_header_that_is_never_shown() -> None:
    proxy = parse_proxy("https://me:p%40ss@proxy.example.com", source="proxy-url")
    assert (proxy.host, proxy.port, proxy.secure) == ("proxy.example.com", 443, True)
    assert proxy.authorization is not None
    assert proxy.authorization.reveal() == b"Basic bWU6cEBzcw=="
    assert "bWU6" not in repr(proxy)


@pytest.mark.parametrize("text", ["socks5://proxy:1080", "http://:3128", "http://proxy:port"])
def test_refuses_other_proxies_by_the_name_of_their_source(text: str) -> None:
    with pytest.raises(InputError, match="HTTPS_PROXY"):
        parse_proxy(text, source="HTTPS_PROXY")


@pytest.mark.parametrize(
    ("url", "secure", "address"),
    [
        ("HTTP://Me:p%40ss@PROXY.Example.com:3128", False, ("proxy.example.com", 3128)),
        ("HTTPS://Me:p%40ss@PROXY.example.com", True, ("proxy.example.com", 443)),
        ("hTTps://Me:p%40ss@[::1]:8443", True, ("::1", 8443)),
        ("Me:p%40ss@proxy.example.com:3128", False, ("proxy.example.com", 3128)),
    ],
)
def test_the_scheme_is_compared_after_normalising(url: str, secure: bool, address: tuple[str, int]) -> None:
    """Otherwise the login of ``HTTPS://`` would be sent in clear."""
    proxy = choose_proxy("https", "api.example.com", 6443, {"HTTPS_PROXY": url})
    assert proxy is not None
    assert (proxy.secure, (proxy.host, proxy.port)) == (secure, address)
    assert proxy.authorization is not None
    assert proxy.authorization.reveal() == b"Basic TWU6cEBzcw=="


def test_no_proxy_is_compared_after_normalising() -> None:
    env = {"HTTPS_PROXY": "HTTP://me:p@proxy:3128", "NO_PROXY": "API.Example.COM"}
    assert choose_proxy("https", "api.example.com", 6443, env) is None
