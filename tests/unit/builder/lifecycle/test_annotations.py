"""Invalid annotations count as missing."""

from __future__ import annotations

import pytest

from ci_buildx.builder.lifecycle.records import _read_count, _read_json, read_platforms
from ci_buildx.model.platform import Platform


@pytest.mark.parametrize(("text", "count"), [("3", 3), ("", 1), ("x", 1), ("-2", 1), ("\u00b2", 1), ("9" * 5000, 1)])
def test_counts(text: str, count: int) -> None:
    assert _read_count(text) == count


def test_platforms() -> None:
    assert read_platforms("linux/amd64,linux/arm64") == (Platform("linux", "amd64"), Platform("linux", "arm64"))
    assert read_platforms("a/b/c/d") == read_platforms("linux/") == ()


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a": 1e999}', "[]", "", None])
def test_driver_options(text: str | None) -> None:
    assert _read_json(text, dict) == {}
