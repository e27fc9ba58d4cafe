import pytest

from ci_buildx.progress.step import add_node_prefix, format_amount, format_stamp, strip_control_characters
from ci_buildx.progress.summary import summarize_graph
from tests.unit.progress.recorded import BUILD, T0, played


def test_instructions_alone_count() -> None:
    summary = summarize_graph(played(), now=T0 + 3)
    assert [step.name[:5] for step in summary.completed] == ["[1/3]", "[2/3]", "[3/3]"]
    assert (summary.cached, summary.warnings) == (1, 1)
    assert summary.cached_share == pytest.approx(1 / 3)
    assert summary.format_counts() == "3 steps, 1 cached (33%)"


def test_nothing_was_built() -> None:
    summary = summarize_graph(played(BUILD[:3]), now=T0 + 3)
    assert summary.format_counts() == "0 steps, 0 cached (0%)"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1.00kB"),
        (2_100_000, "2.10MB"),
        (123_456_789_012, "123.46GB"),
        (10**30, "1000000000000.00EB"),
    ],
)
def test_amount(size: int, expected: str) -> None:
    assert format_amount(size) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-1, "0.000"), (0.1234, "0.123"), (12.345, "12.35"), (123.45, "123.5")]
)
def test_stamp(seconds: float, expected: str) -> None:
    assert format_stamp(seconds) == expected


@pytest.mark.parametrize("name", ["[linux/amd64 1/2] FROM x", "[linux/arm/v7 stage 1/2] RUN y", "[linux/amd64] x"])
def test_a_platform_says_which_node(name: str) -> None:
    assert add_node_prefix("node", name) == name


def test_escapes_do_not_reach_the_frame() -> None:
    assert strip_control_characters("\x1b[31mred\x1b[0m \x1b]0;title\x07\tend\x1b(B.") == "red  end."
