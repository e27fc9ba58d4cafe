"""A sample of what the soak run does with 300 trees."""

from tests.parity import differential
from tests.parity.clients import Arena


def test_what_arrives_is_what_buildx_sends(arena: Arena) -> None:
    assert list(differential.differences(range(15), arena)) == []
