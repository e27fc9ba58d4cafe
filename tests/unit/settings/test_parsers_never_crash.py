"""Whatever the text, a parser gives a value or refuses it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.errors import InputError
from ci_buildx.settings.attributes import parse_attestations, parse_cache_to, parse_outputs
from ci_buildx.settings.contexts import is_remote, parse_named_contexts
from ci_buildx.settings.driver_opts.parse import parse_driver_opts
from ci_buildx.settings.pairs import parse_annotations, parse_tags
from ci_buildx.settings.platforms import parse_platforms, read_platform
from ci_buildx.settings.sandbox import parse_hosts, parse_resources, parse_size, parse_ulimits
from ci_buildx.settings.syntax import parse_duration, parse_quantity, split_fields, split_lines

NOWHERE = Path("/nonexistent")
TEXTS = st.text(max_size=40) | st.text(alphabet='"=,:;/[]-. \n019eEmMiGKkxtype=local', max_size=40)

PARSERS: list[Callable[[str], object]] = [
    lambda text: parse_quantity(text, source="x", whole=True),
    lambda text: parse_platforms([text], source="x"),
    lambda text: parse_tags([text], source="x"),
    lambda text: parse_duration(text, source="x"),
    lambda text: parse_driver_opts([text], source="x"),
    lambda text: parse_driver_opts([f"nodeselector={text}"], source="x"),
    lambda text: parse_driver_opts([f"requests.cpu={text},replicas={text}"], source="x"),
    lambda text: parse_annotations([text], source="x"),
    lambda text: parse_outputs([text.replace("\0", "")], source="x", cwd=NOWHERE, env={}),
    lambda text: parse_cache_to([text], source="x", cwd=NOWHERE, env={}),
    lambda text: parse_attestations([text], source="x"),
    lambda text: parse_named_contexts([text.replace("\0", "")], source="x", cwd=NOWHERE, env={}),
    lambda text: parse_size(text, source="x"),
    lambda text: parse_hosts([text], source="x"),
    lambda text: parse_ulimits([f"nofile={text}"], source="x"),
    lambda text: parse_resources([f"memory={text}", f"cpu-quota={text}"], source="x"),
    is_remote,
    split_lines,
]


@pytest.mark.parametrize("parse", PARSERS)
def test_value_or_refusal(parse: Callable[[str], object]) -> None:
    @given(TEXTS)
    def check(text: str) -> None:
        with suppress(InputError):
            parse(text)

    check()


@given(TEXTS)
def test_csv_is_read_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert split_fields(text) or not text


@given(st.lists(st.text(alphabet='ab",= ', min_size=1), min_size=1, max_size=5))
def test_csv_that_python_writes_is_read_back(fields: list[str]) -> None:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    assert split_fields(line.getvalue()) == fields


@given(st.sampled_from(["linux/amd64", "linux/arm", "arm64/v8", "windows/amd64", "linux/arm/6", "AMD64"]))
def test_platforms_are_stable(text: str) -> None:
    platform = read_platform(text.replace("arm64/v8", "linux/arm64/v8"), source="x")
    assert read_platform(str(platform), source="x") == platform
