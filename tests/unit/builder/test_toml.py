"""What is written is what tomllib reads back."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.builder import toml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    TEXTS
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.datetimes().map(lambda moment: moment.replace(microsecond=0))
    | st.dates()
    | st.times().map(lambda moment: moment.replace(microsecond=0))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_round_trip(document: dict[str, Any]) -> None:
    assert tomllib.loads(toml.write(document)) == document


def test_a_buildkitd_toml_keeps_its_shape() -> None:
    text = """\
debug = true

[worker.oci]
gc = true
[[worker.oci.gcpolicy]]
filters = ["type==source.local"]
keepDuration = 172800
[registry."docker.io"]
mirrors = ["a", "b"]
"""
    read = tomllib.loads(text)
    assert tomllib.loads(toml.write(read)) == read
    assert '[registry."docker.io"]\nmirrors = ["a", "b"]\n' in toml.write(read)
