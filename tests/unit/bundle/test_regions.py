"""What is written between two marks, and what is left alone."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bundle import describe, regions

REGIONS = {"one": lambda: "a\nb\n", "two": lambda: ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("left\n", "left\n"),
        ("x\n# bundle: one\nold\n# bundle: end\ny\n", "x\n# bundle: one\na\nb\n# bundle: end\ny\n"),
        ("  # bundle: two\nold\n  # bundle: end\n", "  # bundle: two\n  # bundle: end\n"),
        ("<!-- bundle: one -->\n<!-- bundle: end -->\n", "<!-- bundle: one -->\na\nb\n<!-- bundle: end -->\n"),
    ],
)
def test_a_region_is_replaced_and_the_rest_stays(text: str, expected: str) -> None:
    assert regions.fill(text, REGIONS) == expected
    assert regions.fill(expected, REGIONS) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# bundle: end\n", "a region ends that did not begin"),
        ("# bundle: one\n", "region 'one' does not end"),
        ("# bundle: other\n", "region 'other' is unknown"),
        ("# bundle: one\n# bundle: two\n", "region 'two' is inside one"),
    ],
)
def test_wrong_marks_are_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        regions.fill(text, REGIONS)


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\u2028\u2029\x85")))
def test_a_scalar_reads_back(text: str) -> None:
    assert yaml.safe_load(f"key: {describe.scalar(text)}") == {"key": text}
