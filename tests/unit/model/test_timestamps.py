"""Moments, held against the standard library."""

from calendar import timegm
from time import gmtime, strftime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.model import timestamps

EPOCH = st.integers(-62_135_596_800, 253_402_300_799)
"""The years 1 to 9999."""


@given(EPOCH)
def test_what_the_standard_library_writes_is_read(seconds: int) -> None:
    year = f"{gmtime(seconds).tm_year:04}"
    assert timestamps.parse_timestamp(strftime(f"{year}-%m-%dT%H:%M:%SZ", gmtime(seconds))) == seconds
    assert timestamps.parse_http_date(strftime(f"%a, %d %b {year} %H:%M:%S GMT", gmtime(seconds))) == seconds


def test_examples() -> None:
    assert timestamps.parse_timestamp("1970-01-01T00:00:00Z") == 0
    assert timestamps.parse_timestamp("2024-02-29T12:00:00.123456Z") == timegm((2024, 2, 29, 12, 0, 0))
    assert timestamps.parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT") == 784_111_777  # RFC 9110


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01 00:00:00", "2026-01-01T24:00:00Z"]
)
def test_no_timestamp(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a timestamp|no such moment|invalid literal"):
        timestamps.parse_timestamp(text)


@pytest.mark.parametrize("text", ["", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Abc 1994 08:49:37 GMT"])
def test_no_http_date(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an HTTP date|not in tuple"):
        timestamps.parse_http_date(text)
