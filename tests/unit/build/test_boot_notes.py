"""What pods of a booting builder wait for is shown if it lasts."""

import threading
import time

from ci_buildx.build.boot_notes import BootNotes

CREATING = "pod buildkit-amd64-0: creating the container on node n1"
STARTING = "pod buildkit-amd64-0: buildkitd is starting"
OTHER = "pod buildkit-arm64-0: creating the container on node n2"


def wait_until(shown: list[str], expected: list[str]) -> None:
    deadline = time.monotonic() + 10
    while shown != expected:
        assert time.monotonic() < deadline, shown
        time.sleep(0.01)


def test_a_wait_that_lasts_is_shown_once() -> None:
    shown: list[str] = []
    notes = BootNotes(shown.append, lasting=0.0)
    notes.explain(CREATING)
    wait_until(shown, [CREATING])
    notes.explain(STARTING)
    wait_until(shown, [CREATING, STARTING])


def test_of_waits_that_change_only_the_last_is_left() -> None:
    shown: list[str] = []
    notes = BootNotes(shown.append, lasting=2.0)
    notes.explain(CREATING)
    notes.explain(OTHER)
    notes.explain(STARTING)
    wait_until(shown, [OTHER, STARTING])


def test_nothing_is_shown_of_a_pod_that_has_answered_or_after_the_end() -> None:
    shown: list[str] = []
    before = threading.active_count()
    notes = BootNotes(shown.append, lasting=60.0)
    notes.explain(CREATING)
    notes.explain(OTHER)
    notes.settle("pod buildkit-amd64-0")
    notes.close()
    notes.explain(STARTING)
    deadline = time.monotonic() + 10
    while threading.active_count() > before:  # no timer stays behind
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert shown == []
