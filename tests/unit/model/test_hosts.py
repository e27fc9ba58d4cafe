"""One spelling for each place that a credential may be sent to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.model.hosts import Origin, normalize_host, parse_origin


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://R.io/token", Origin("https", "r.io", 443)),
        ("HTTPS://r.io:443", Origin("https", "r.io", 443)),
        ("hTTp://r.io./x", Origin("http", "r.io", 80)),
        ("https://r.io:5000?x#y", Origin("https", "r.io", 5000)),
        ("https://[::1]:5000/", Origin("https", "::1", 5000)),
    ],
)
def test_origins(url: str, origin: Origin) -> None:
    assert parse_origin(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        *("", "r.io", "//r.io", "ftp://r.io", "https://", "https:///x", "https://r.io:0/", "https://r.io:x/"),
        *("https://user@r.io/", "https://r.io@evil.io/", "https://r.io\\@evil.io/", "https://r.io:99999/"),
        *(
            " https://r.io",
            "https://r.io/\n",
            "https://r\t.io/",
            "https://r\u3002io/",
            "https://[::1",
            "https://r.io\x00",
        ),
    ],
)
def test_what_readers_understand_differently_is_no_origin(url: str) -> None:
    assert parse_origin(url) is None


@given(st.text(max_size=40))
def test_any_text_is_read(text: str) -> None:
    parse_origin(text)
    parse_origin(f"https://{text}")


@pytest.mark.parametrize(
    ("host", "normal"),
    [
        ("R.IO", "r.io"),
        ("r.io.", "r.io"),
        ("r.io.:5000", "r.io:5000"),
        ("[::1]:5000", "[::1]:5000"),
        ("[::1]", "[::1]"),
    ],
)
def test_hosts(host: str, normal: str) -> None:
    assert normalize_host(host) == normal


@pytest.mark.parametrize(
    ("url", "other", "covered"),
    [
        ("https://r.io/a", "HTTPS://R.io.:443/b", True),
        ("http://r.io/a", "https://r.io/a", True),
        ("https://r.io/a", "http://r.io/a", False),
        ("http://r.io:5000/a", "https://r.io/a", False),
        ("http://r.io/a", "https://r.io:5000/a", False),
        ("https://r.io/a", "https://cdn.r.io/a", False),
        ("https://r.io/a", "https://r.io@evil.io/a", False),
    ],
)
def test_which_answers_are_an_origins_own(url: str, other: str, covered: bool) -> None:
    asked = parse_origin(url)
    assert asked is not None
    assert asked.covers(parse_origin(other)) is covered
