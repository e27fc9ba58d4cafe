"""Targets of a bake that lose their pod together: they use one retry, and go on in the same pod."""

from __future__ import annotations

import threading

from ci_buildx.buildkit.messages import SolveRequest
from tests.unit.bake.test_command import TWO, Bake, bake, list_arguments
from tests.unit.memory_cluster import MemoryCluster
from tests.unit.scripted_buildkitd import DIGEST, SolveFault

__all__ = ["bake"]


def lose_once(cluster: MemoryCluster, builds: int) -> None:
    """Let the pod go once ``builds`` builds have begun in it, all of which fail with it."""
    all_here, lock, struck = threading.Barrier(builds, timeout=30), threading.Lock(), threading.Event()
    lost: list[str] = []

    def answer(request: SolveRequest) -> dict[str, str]:
        with lock:
            first_round = len(lost) < builds
            lost.extend([request.ref] * first_round)
        if not first_round:
            return {"containerimage.digest": DIGEST}
        if all_here.wait() == 0:
            (place,) = (one for one in cluster.objects if one.endswith("/pods/buildkit-amd64-0"))
            (job,) = (one for one in cluster.objects if one.endswith("/jobs/buildkit-amd64"))
            cluster.remove(place)
            cluster.put(job, cluster.objects[job])
            struck.set()
        struck.wait(30)
        raise SolveFault("UNAVAILABLE", "connection reset")

    cluster.script.answer = answer


def test_targets_that_lose_their_pod_together_use_one_retry(bake: Bake, memory_cluster: MemoryCluster) -> None:
    lose_once(memory_cluster, 2)
    run = bake(TWO, "--retries", "1")
    assert run.code == 0, run.stderr
    assert list_arguments(memory_cluster) == ["one", "one", "two", "two"]
    assert run.stderr.count("the build goes on in another pod (no retry is left)") == 1
    for target in ("one", "two"):
        assert f"target {target} begins again in pod buildkit-amd64-0, by direct" in run.stderr


def test_without_retries_the_loss_is_the_error(bake: Bake, memory_cluster: MemoryCluster) -> None:
    lose_once(memory_cluster, 2)
    run = bake(TWO, "--retries", "0")
    assert run.code == 1
    assert "was lost: Deleted" in run.stderr
    assert list_arguments(memory_cluster) == ["one", "two"]


def test_a_number_of_retries_that_is_none_is_refused_before_anything_is_made(
    bake: Bake, memory_cluster: MemoryCluster
) -> None:
    for given in ("-1", "11", "many", "1" * 40):
        run = bake(TWO, "--retries", given)
        assert run.code == 2
        assert "--retries: " in run.stderr
        assert "is not a whole number from 0 to 10; set, for example, 2" in run.stderr
    assert not [line for line in memory_cluster.asked if line.startswith("POST")]
