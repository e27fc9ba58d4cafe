"""A sample of what `python -m bench.trees` does with 300 trees."""

from devcluster.parity import differential
from devcluster.parity.clients import Arena


def test_what_arrives_is_what_buildx_sends(arena: Arena) -> None:
    outcomes = [differential.compare(seed, arena) for seed in range(15)]
    assert [line for outcome in outcomes for line in outcome.differences] == []
    assert sum(outcome.entries for outcome in outcomes) > 100
