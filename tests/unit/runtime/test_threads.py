"""Pieces of work that run at once."""

import threading

import pytest

from ci_buildx.runtime.signals import run_all


def test_results_come_in_order() -> None:
    barrier = threading.Barrier(3, timeout=10)

    def piece(number: int) -> int:
        barrier.wait()
        return number

    assert run_all([lambda n=n: piece(n) for n in range(3)], stop=threading.Event()) == [0, 1, 2]  # type: ignore[misc]


def test_the_first_failure_stops_the_others_and_is_the_one_raised() -> None:
    stop = threading.Event()

    def consequence() -> None:
        assert stop.wait(10)
        raise ConnectionError("cancelled")

    def cause() -> None:
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        run_all([consequence, cause], stop=stop)
