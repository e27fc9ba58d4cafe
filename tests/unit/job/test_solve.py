"""Which failures of a push are tried again."""

import pytest

from ci_buildx.job.solve import pushes_collided


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        # docker-registry 2.8.2, two nodes pushing a layer that both share
        (
            "failed to push r:5000/app: errors:\nunknown: blob unknown to registry - sha256:dd51dd3dd450589b",
            True,
        ),
        ("failed to solve: failed to push r:5000/app: 401 Unauthorized", False),
        ('failed to solve: process "/bin/sh -c echo blob unknown to registry" did not complete', False),
    ],
)
def test_only_collisions_of_pushes(message: str, expected: bool) -> None:
    assert pushes_collided(message) is expected
