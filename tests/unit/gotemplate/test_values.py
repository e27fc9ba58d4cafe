"""JSON in and out, as Go's encoding/json reads and writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.gotemplate.encoding import encode, encode_number
from ci_buildx.gotemplate.kinds import (
    ANY,
    BOOLEAN,
    INTEGER,
    OCTETS,
    TEXT,
    TIME,
    GoKind,
    GoValue,
    ListKind,
    MalformedValue,
    MapKind,
    PointerKind,
    decode,
    normalize_time,
)
from ci_buildx.gotemplate.printing import format_float
from tests.unit.gotemplate.samples import ENTRY, SAMPLE


@pytest.mark.parametrize(
    ("number", "text", "printed"),
    [
        (0.0, "0", "0"),
        (-0.0, "-0", "-0"),
        (1.0, "1", "1"),
        (2.5, "2.5", "2.5"),
        (123456.0, "123456", "123456"),
        (1234567.0, "1234567", "1.234567e+06"),
        (1e20, "100000000000000000000", "1e+20"),
        (1e21, "1e+21", "1e+21"),
        (1.5e300, "1.5e+300", "1.5e+300"),
        (1e-6, "0.000001", "1e-06"),
        (1.5e-7, "1.5e-7", "1.5e-07"),
        (1.2345678901234568e-5, "0.000012345678901234568", "1.2345678901234568e-05"),
        (0.0001, "0.0001", "0.0001"),
        (-12345678.9, "-12345678.9", "-1.23456789e+07"),
    ],
)
def test_numbers(number: float, text: str, printed: str) -> None:
    """Expected is what Go 1.26 writes: ``json.Marshal`` and ``fmt.Sprint``."""
    assert (encode_number(number), format_float(number)) == (text, printed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.120000000+00:00", "2026-01-02T03:04:05.12Z"),
        ("2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.123456789123+02:00", "2026-01-02T03:04:05.123456789+02:00"),
    ],
)
def test_times(text: str, expected: str) -> None:
    assert normalize_time(text) == expected


@pytest.mark.parametrize(
    "text", ["", "2026-01-02", "2026-13-02T03:04:05Z", "2026-01-02 03:04:05Z", "2026-01-02T24:04:05Z"]
)
def test_refuses_other_times(text: str) -> None:
    with pytest.raises(MalformedValue):
        normalize_time(text)


def test_a_struct_keeps_its_fields_in_order_and_drops_others() -> None:
    data = decode(ENTRY, {"size": 5, "DIGEST": "sha256:a", "other": 1, "platform": {"os": "linux"}})
    assert data == {"Size": 5, "Digest": "sha256:a", "Platform": {"OS": "linux"}}
    assert encode(GoValue(ENTRY, data)) == (
        '{"digest":"sha256:a","size":5,"platform":{"architecture":"","os":"linux"}}'
    )


def test_embedded_structs_are_flat_in_json() -> None:
    data = decode(SAMPLE, {"os": "linux", "author": "me"})
    assert data == {"Platform": {"OS": "linux"}, "Author": "me"}
    encoded = json.loads(encode(GoValue(SAMPLE, data)))
    assert (encoded["os"], encoded["architecture"]) == ("linux", "")
    assert (encoded["entries"], encoded["labels"], encoded["none"]) == (None, None, None)


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (TEXT, 1),
        (INTEGER, 1.5),
        (INTEGER, True),
        (BOOLEAN, "true"),
        (TIME, "yesterday"),
        (OCTETS, "%"),
        (ListKind(TEXT), {}),
        (MapKind(TEXT), []),
        (ENTRY, []),
        (PointerKind(ENTRY), "x"),
    ],
)
def test_refuses_json_of_another_kind(kind: GoKind, document: Any) -> None:
    with pytest.raises(MalformedValue):
        decode(kind, document)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_JSON, st.sampled_from(["", "  "]), st.booleans())
def test_any_value_survives(document: Any, indent: str, html: bool) -> None:
    encoded = encode(GoValue(ANY, document), indent=indent, html=html)
    assert json.loads(encoded) == document
    assert not html or not any(mark in encoded for mark in "<>&\u2028\u2029")


def test_indentation() -> None:
    value = GoValue(ANY, {"b": [], "a": {}, "c": [1, {"d": "<"}]})
    assert encode(value, indent="  ") == (
        '{\n  "a": {},\n  "b": [],\n  "c": [\n    1,\n    {\n      "d": "\\u003c"\n    }\n  ]\n}'
    )
