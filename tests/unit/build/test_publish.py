"""What is said of the names when the push of one of several fails."""

import pytest

from ci_buildx.build.publish import add_pushed_tags
from ci_buildx.buildkit.exporters import Push
from ci_buildx.errors import SolveError

NAMES = ("a.io/x:1", "b.io/y", "c:3")


@pytest.mark.parametrize(
    ("names", "failed", "said"),
    [
        (NAMES, "a.io/x:1", " (no tags were pushed)"),
        (NAMES, "b.io/y", " (pushed already: a.io/x:1)"),
        (NAMES, "c:3", " (pushed already: a.io/x:1, b.io/y:latest)"),
        (NAMES[:1], "a.io/x:1", ""),
        (NAMES, "other.io/x:1", ""),
    ],
)
def test_what_one_node_had_pushed(names: tuple[str, ...], failed: str, said: str) -> None:
    failure = SolveError(f"failed to solve: failed to push {failed}: denied", vertex="v", fix="do")
    told = add_pushed_tags(failure, Push(names=names), several=False)
    assert str(told) == f"failed to solve: failed to push {failed}: denied{said}; do"
    assert told.vertex == "v"


@pytest.mark.parametrize("failed", ["a.io/x", "b.io/y", "docker.io/library/c"])
def test_of_several_nodes_none_has_pushed_a_tag(failed: str) -> None:
    told = add_pushed_tags(SolveError(f"failed to push {failed}: denied"), Push(names=NAMES), several=True)
    assert str(told) == f"failed to push {failed}: denied (no tags were pushed)"


def test_without_a_push_nothing_is_said_of_names() -> None:
    failure = SolveError("failed to push a.io/x: denied")
    assert add_pushed_tags(failure, None, several=True) is failure
