"""Signals become one Interrupted in the main thread, and teardown is left alone."""

import os
import signal
import threading
import time
from contextlib import suppress

import pytest

from ci_buildx.errors import Interrupted, RegistryError
from ci_buildx.runtime.signals import SignalHandler, raise_on_signals


def send(number: int, *, after: float = 0.05) -> None:
    threading.Timer(after, os.kill, (os.getpid(), number)).start()


def test_work_returns_its_result() -> None:
    with SignalHandler() as interrupts:
        assert interrupts.run(lambda: 42, settle=1) == 42


def test_work_raises_its_error() -> None:
    with SignalHandler() as interrupts, pytest.raises(ZeroDivisionError):
        interrupts.run(lambda: 1 / 0, settle=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_the_wait_and_sets_stop(number: signal.Signals) -> None:
    with SignalHandler() as interrupts, pytest.raises(Interrupted) as caught:
        send(number)
        interrupts.run(lambda: time.sleep(30), settle=0)
    assert caught.value.exit_code == 128 + number
    assert interrupts.stop.is_set()


def test_work_that_heeds_stop_has_ended_when_the_interruption_is_raised() -> None:
    ended = threading.Event()
    with SignalHandler() as interrupts:

        def work() -> None:
            interrupts.stop.wait()
            ended.set()

        send(signal.SIGTERM)
        with pytest.raises(Interrupted):
            interrupts.run(work, settle=10)
    assert ended.is_set()


def test_another_thread_may_end_the_work_with_its_error() -> None:
    with SignalHandler() as interrupts:
        threading.Timer(0.05, interrupts.fail, (RegistryError("no right to push"),)).start()
        with pytest.raises(RegistryError, match="no right to push"):
            interrupts.run(lambda: time.sleep(30), settle=0)
        assert interrupts.stop.is_set()
        assert interrupts.run(lambda: 42, settle=0) == 42, "it strikes once"


def test_work_that_is_done_is_not_ended_by_an_error() -> None:
    with SignalHandler() as interrupts:
        assert interrupts.run(lambda: 42, settle=0) == 42
        interrupts.fail(RegistryError("late"))


def test_a_second_signal_does_not_strike_teardown() -> None:
    with SignalHandler() as interrupts:
        send(signal.SIGINT)
        with pytest.raises(Interrupted):
            interrupts.run(lambda: time.sleep(30), settle=0)
        os.kill(os.getpid(), signal.SIGTERM)
        torn_down = True
    assert torn_down


def test_a_signal_between_two_runs_stops_the_next() -> None:
    with SignalHandler() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            interrupts.run(lambda: 1, settle=0)


def test_the_previous_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with SignalHandler():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_before_and_after_the_work_a_signal_raises_until_the_end_is_told() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with raise_on_signals() as pass_over:
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(signal.SIGTERM)
        pass_over()
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_nohup_has_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalHandler() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupts.run(lambda: 42, settle=1) == 42
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_that_a_signal_has_turned_into_another_is_the_signals() -> None:
    """What interrupts the import of a C module comes out of it as an ImportError."""
    with pytest.raises(Interrupted) as caught, raise_on_signals():
        with suppress(Interrupted):
            signal.raise_signal(signal.SIGHUP)
        raise ImportError("PyCapsule_Import could not import module")
    assert caught.value.exit_code == 129


def test_an_error_without_a_signal_is_itself() -> None:
    with suppress(Interrupted), raise_on_signals():
        signal.raise_signal(signal.SIGHUP)
    with pytest.raises(ImportError), raise_on_signals():
        raise ImportError("no module")


def test_a_signal_whose_exception_was_lost_stops_the_work() -> None:
    """Python ignores what is raised in the callback of a weak reference."""
    done = []
    with raise_on_signals():
        with suppress(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        with SignalHandler() as interrupts, pytest.raises(Interrupted) as caught:
            interrupts.run(lambda: done.append(1), settle=0)
    assert caught.value.exit_code == 143
    assert not done
    with SignalHandler() as interrupts:
        assert interrupts.run(lambda: 42, settle=1) == 42
