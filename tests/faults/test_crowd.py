"""Jobs at once, a sample of `make soak`: some fail, one is cancelled, each comes to its own end and leaves nothing."""

from __future__ import annotations

from bench import crowd
from bench.crowd import Crowd
from bench.ground import Ground


def test_jobs_at_once_do_not_mix(ground: Ground) -> None:
    members = Crowd(ground=ground, name=crowd.name()).run(crowd.mixed(succeed=3, fail=2, cancel=1))
    assert [fault for member in members for fault in member.faults] == []
