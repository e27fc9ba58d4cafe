"""How a build's progress is read, and what HAProxy's log says."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from bench import burst
from bench.proxy import Proxy

UID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


def make_progress(*, cached: bool, uid: str = UID) -> str:
    data = base64.b64encode(f"pods/{uid}\n".encode()).decode()
    step = {"name": "[2/5] COPY dependencies /dependencies", "started": "2026-11-30T08:00:09Z", "cached": cached}
    lines = [
        {"vertexes": [{"name": "[internal] booting builder", "started": "2026-11-30T08:00:00.1Z"}]},
        {"vertexes": [{"name": "[internal] load build definition", "started": "2026-11-30T08:00:02.5Z"}]},
        {"vertexes": [{**step, "completed": "2026-11-30T08:00:09Z"}]},
        {"logs": [{"data": data}]},
    ]
    return "\n".join(["pod a is chosen", *map(json.dumps, lines)])


@pytest.mark.parametrize("cached", [True, False])
def test_the_wait_ends_with_buildkitds_first_step(cached: bool) -> None:
    began = burst.parse_time("2026-11-30T08:00:00Z")
    ended = burst.read_progress(make_progress(cached=cached), "team/app", began, 12.0)
    assert (ended.pod, ended.wait, ended.seconds, ended.hit, ended.error) == (UID, 2.5, 12.0, cached, "")


def test_a_build_without_a_pod_is_an_error() -> None:
    assert burst.read_progress(make_progress(cached=True, uid="none"), "k", 0.0, 1.0).error.startswith("no progress")


@pytest.mark.parametrize(
    ("text", "fraction"),
    [
        ("1970-01-01T00:00:01Z", 0.0),
        ("1970-01-01T00:00:01.25Z", 0.25),
        ("1970-01-01T01:00:01.123456789+01:00", 0.123456789),
    ],
)
def test_a_time_may_have_nanoseconds_and_a_zone(text: str, fraction: float) -> None:
    assert burst.parse_time(text) == pytest.approx(1 + fraction, abs=1e-6)


def test_a_repository_has_the_same_dependencies_in_all_its_checkouts(tmp_path: Path) -> None:
    burst.write_context(tmp_path / "a", "app", "first")
    burst.write_context(tmp_path / "b", "app", "second")
    read = [(tmp_path / place / name / "data").read_bytes() for name in ("dependencies", "sources") for place in "ab"]
    assert read[0] == read[1]
    assert read[2] != read[3]


def test_only_lines_of_connections_are_connections(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Proxy pool started.\npod0 0 1200 --\n<NOSRV> -1 20001 sQ\n[NOTICE] (1) : New worker\n")
    assert Proxy(address="", log=log).list_connections() == [("pod0", 0, 1200, "--"), ("<NOSRV>", -1, 20001, "sQ")]
