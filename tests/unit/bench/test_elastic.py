"""The bench of elastic pools: what a build's log says of it, and which courses of a pool are wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.elastic import (
    Entry,
    Sample,
    list_cuts,
    list_faults,
    measure_growth,
    measure_shrinking,
    read_entry,
    summarize,
)

LOG = """#1 pod kube0-a, one of 4 ready, is chosen by the sticky key 'team/app1' (choice 2, 0 other builds)
#1 got a slot after 7 s in the queue
#2 pod kube0-a on node n1 answered over direct after 0.1 s
#7 [2/4] RUN echo dependencies of app1; head -c 2000000 /dev/urandom > /dependencies; sleep 4
#7 CACHED
#8 [3/4] COPY blob /blob
"""
COURSE = [Sample(1, 2, 2, 1, 0), Sample(2, 8, 2, 4, 9), Sample(5, 8, 8, 16, 0), Sample(9, 4, 4, 1, 0)]
END = Sample(30, 2, 2, 1, 0)


def test_a_log_tells_the_pod_the_choice_the_wait_and_the_cache() -> None:
    found = read_entry(LOG, "during", 1, [("kube0-a", 1)])
    assert found == Entry(phase="during", repository=1, pod="kube0-a", rank=1, hit=True, warm=True, waited=7)


@pytest.mark.parametrize(("known", "faults"), [([], 0), ([("kube0-b", 1), ("kube0-a", 2)], 0), ([("kube0-a", 1)], 1)])
def test_a_step_that_runs_again_in_a_pod_that_had_it_is_wrong(known: list[tuple[str, int]], faults: int) -> None:
    found = read_entry(LOG.replace("#7 CACHED", "#7 DONE 4.3s"), "during", 1, known)
    assert not found.hit
    assert len(found.faults) == faults


def test_a_step_of_another_vertex_is_no_hit() -> None:
    assert not read_entry(LOG.replace("#7 CACHED", "#17 CACHED"), "during", 1, []).hit


def test_a_build_that_was_cut_shows_it() -> None:
    assert list_cuts(LOG) == []
    assert list_cuts(LOG + "WARNING: lost; the pod still runs: reconnecting\n") == ["it was cut: reconnect"]


def test_a_pool_must_grow_and_shrink() -> None:
    entries = [Entry(phase="during", repository=1)]
    assert list_faults(entries, [*COURSE, END], []) == []
    assert list_faults(entries, COURSE, ["l1"]) == ["the pool has 4 pods at the end", "Lease l1 is held at the end"]
    small = [replace(END, replicas=1)]
    assert list_faults(entries, [*COURSE[:1], *small], []) == [
        "the pool has grown to 2 pods",
        "at most 2 pods were ready",
        "the pool has shrunk to 1 pods",
        "the pool has 1 pods at the end",
    ]
    assert list_faults([replace(entries[0], faults=("x",))], [*COURSE, END], []) == ["during, app1: x"]


def test_growth_and_shrinking_are_measured_from_the_first_change() -> None:
    assert (measure_growth([*COURSE, END]), measure_shrinking([*COURSE, END])) == (3, 21)
    assert (measure_growth(COURSE[:2]), measure_shrinking(COURSE)) == (-1.0, -1.0)


def test_each_phase_is_counted_alone() -> None:
    one = Entry(phase="before", repository=1, pod="a", hit=True, warm=True, began=1.0, ended=4.0)
    found = summarize([one, replace(one, hit=False, warm=False, rank=1, waited=3), replace(one, phase="after")])
    assert list(found) == ["before", "after"]
    assert (found["before"]["hit_rate"], found["before"]["first_choices"]) == (0.5, 0.5)
    assert (found["before"]["in_warm_pods"], found["before"]["longest_wait"], found["after"]["hits"]) == (1, 3, 1)
