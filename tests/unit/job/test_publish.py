"""What is said of the tags when the push of one of several fails."""

import pytest

from ci_buildx.errors import SolveError
from ci_buildx.job.publish import name_pushed

TAGS = ("a.io/x:1", "b.io/y", "c.io/z:3")


@pytest.mark.parametrize(
    ("tags", "failed", "said"),
    [
        (TAGS, "a.io/x:1", " (no tag was pushed)"),
        (TAGS, "b.io/y:latest", " (pushed already: a.io/x:1)"),
        (TAGS, "c.io/z:3", " (pushed already: a.io/x:1, b.io/y:latest)"),
        (TAGS, "b.io/y", " (no tag was pushed)"),
        (TAGS[:1], "a.io/x:1", ""),
        (TAGS, "other.io/x:1", ""),
    ],
)
def test_what_was_pushed(tags: tuple[str, ...], failed: str, said: str) -> None:
    failure = SolveError(f"failed to solve: failed to push {failed}: denied", vertex="v", fix="do")
    told = name_pushed(failure, tags)
    assert str(told) == f"failed to solve: failed to push {failed}: denied{said}; do"
    assert told.vertex == "v"
