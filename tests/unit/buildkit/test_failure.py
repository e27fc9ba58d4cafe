import base64
import json
import time
from typing import Any

import pytest

from ci_buildx.buildkit import diagnostics
from ci_buildx.buildkit.diagnostics import MOST_LINES, MOST_RANGES, format_excerpt
from ci_buildx.buildkit.messages import RPC_STATUS, RpcStatus, StatusDetail

DOCKERFILE = "FROM alpine\nARG A\n# why\nRUN false\nRUN true\nCMD sh\n"
SOURCE = "github.com/moby/buildkit/errdefs.Source+json"
VERTEX = "github.com/moby/buildkit/errdefs.Vertex+json"


def details(*found: tuple[str, Any]) -> bytes:
    encoded = (
        StatusDetail(url, value if isinstance(value, bytes) else json.dumps(value).encode()) for url, value in found
    )
    return RPC_STATUS.encode(RpcStatus(2, "it broke", tuple(encoded)))


def source(text: str, first: int, last: int) -> dict[str, Any]:
    return {
        "info": {"filename": "Dockerfile", "data": base64.b64encode(text.encode()).decode(), "language": "Dockerfile"},
        "ranges": [{"start": {"line": first}, "end": {"line": last}}],
    }


def test_excerpt_and_vertex() -> None:
    error = diagnostics.read_failure(
        "exit code: 1", details((SOURCE, source(DOCKERFILE, 4, 4)), (VERTEX, {"digest": "sha256:ab"}))
    )
    assert str(error) == "failed to solve: exit code: 1"
    assert error.vertex == "sha256:ab"
    assert error.excerpt.splitlines() == [
        "Dockerfile:4",
        "--------------------",
        "   2 |     ARG A",
        "   3 |     # why",
        "   4 | >>> RUN false",
        "   5 |     RUN true",
        "   6 |     CMD sh",
        "--------------------",
    ]


@pytest.mark.parametrize(
    ("ranges", "numbers"),
    [
        ([(1, 1)], [1, 2, 3]),
        ([(2, 2)], [1, 2, 3, 4]),
        ([(9, 9)], [7, 8, 9]),
        ([(5, 6)], [4, 5, 6, 7]),
        ([(8, 0)], [6, 7, 8, 9]),
        ([(2, 3), (5, 5)], [1, 2, 3, 4, 5, 6]),
        ([(8, 99)], [7, 8, 9]),
    ],
)
def test_which_lines_are_shown(ranges: list[tuple[int, int]], numbers: list[int]) -> None:
    shown = diagnostics.format_excerpt("f", "\n".join("abcdefghi"), ranges).splitlines()[2:-1]
    assert [int(line.partition("|")[0]) for line in shown] == numbers
    marked = [int(line.partition("|")[0]) for line in shown if ">>>" in line]
    wanted = {number for first, last in ranges for number in range(first, max(first, last) + 1)}
    assert marked == [number for number in numbers if number in wanted]


@pytest.mark.parametrize("ranges", [[], [(0, 0)], [(7, 7)]])
def test_ranges_outside_the_text_show_nothing(ranges: list[tuple[int, int]]) -> None:
    assert diagnostics.format_excerpt("f", "a\nb", ranges) == ""


@pytest.mark.parametrize(
    "broken",
    [
        b"\xff\xff",
        details((SOURCE, b"{")),
        details((SOURCE, [])),
        details((SOURCE, {"info": None, "ranges": [1]})),
        details((SOURCE, {"info": {"data": "?"}, "ranges": None})),
        details(("something/else", {"digest": "x"})),
        b"",
    ],
)
def test_details_that_cannot_be_read_leave_the_message(broken: bytes) -> None:
    error = diagnostics.read_failure("why", broken)
    assert (str(error), error.vertex, error.excerpt) == ("failed to solve: why", "", "")


def test_an_excerpt_has_a_bound() -> None:
    text = "RUN x\n" * 100_000
    begun = time.process_time()
    shown = format_excerpt("Dockerfile", text, [(1, 1 << 60)] * 100_000)
    assert time.process_time() - begun < 5
    assert shown.count("RUN x") <= MOST_LINES + 5
    several = format_excerpt("Dockerfile", text, [(1 + index, 1 + index) for index in range(MOST_RANGES + 50)])
    assert several.count(">>>") == MOST_RANGES
