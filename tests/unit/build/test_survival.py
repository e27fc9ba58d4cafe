"""Builds that lose their pods: which go on, where, and what is shown and left of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import pytest

from ci_buildx.build import solve
from ci_buildx.build.context.origin import TRUST_SCOPE
from ci_buildx.builder import labels
from ci_buildx.builder.boot import watch
from ci_buildx.buildkit.messages import SolveRequest
from ci_buildx.errors import BootError, PodLost, SolveError
from tests.unit.build.whole_build import NODES, WholeBuild
from tests.unit.builder.pool.samples import list_leases
from tests.unit.lasting import create_builder
from tests.unit.scripted_buildkitd import DIGEST, SolveFault

EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Push again, and look for a Job's end, without a pause."""
    monkeypatch.setattr(solve, "_PUSH_PAUSE", 0.0)
    monkeypatch.setattr(watch, "_JOB_GAP", 0.05)


def find_place(build: WholeBuild, plural: str, name: str) -> str:
    (place,) = (one for one in build.cluster.objects if one.endswith(f"/{plural}/{name}"))
    return place


def delete_pod(build: WholeBuild, name: str, *, workload: str = "") -> None:
    """Delete a pod; with ``workload`` (``kind/name``), its controller makes another one."""
    build.cluster.remove(find_place(build, "pods", name))
    if workload:
        place = find_place(build, *workload.split("/"))
        build.cluster.put(place, build.cluster.objects[place])


def answer_in_turn(*answers: Callable[[], Any]) -> Callable[[SolveRequest], Any]:
    """Answer each Solve by the next function; once there is only one left, all by that one."""
    left = list(answers)
    lock = threading.Lock()

    def answer(_: SolveRequest) -> Any:
        with lock:
            chosen = left.pop(0) if len(left) > 1 else left[0]
        return chosen()

    return answer


def succeed() -> dict[str, str]:
    return {"containerimage.digest": DIGEST}


def lose(strike: Callable[[], object]) -> Callable[[], NoReturn]:
    """Let a build lose its connection by what ``strike`` does to its pod."""

    def answer() -> NoReturn:
        strike()
        raise SolveFault("UNAVAILABLE", "connection reset")

    return answer


def lose_job_pod(build: WholeBuild, node: str = "amd64") -> Callable[[], NoReturn]:
    return lose(lambda: delete_pod(build, f"buildkit-{node}-0", workload=f"jobs/buildkit-{node}"))


def test_a_jobs_builder_goes_on_in_the_next_pod_of_its_job(build: WholeBuild) -> None:
    limits: list[Any] = []

    def strike() -> None:
        spec = build.cluster.find("jobs")["spec"]
        limits.append((spec["backoffLimit"], spec["podReplacementPolicy"]))
        delete_pod(build, "buildkit-amd64-0", workload="jobs/buildkit-amd64")

    build.cluster.script.answer = answer_in_turn(lose(strike), succeed)
    result = build.run(retries=2)
    assert limits == [(2, "TerminatingOrFailed")]
    assert result.digest == DIGEST
    assert "retry" in result.phases
    lost = "pod buildkit-amd64-0 was lost: Deleted: it was deleted while in use; the build goes on in another pod"
    assert f"WARNING: {lost} (1 more retry is left)" in build.output
    assert "[internal] booting builder again" in build.output
    assert "WARNING: the build begins again in pod buildkit-amd64-0, by direct" in build.output
    assert build.cluster.list_names("pods") == []
    (report,) = build.reports
    assert [step.name for step in report.summary.steps].count("[1/1] FROM base") == 1
    assert not report.failure


def test_without_retries_a_lost_pod_is_the_error_and_no_pod_is_replaced(build: WholeBuild) -> None:
    limits: list[Any] = []

    def strike() -> None:
        spec = build.cluster.find("jobs")["spec"]
        limits.append((spec["backoffLimit"], spec["podReplacementPolicy"]))
        delete_pod(build, "buildkit-amd64-0", workload="jobs/buildkit-amd64")

    build.cluster.script.answer = answer_in_turn(lose(strike), succeed)
    with pytest.raises(PodLost, match="was lost: Deleted: it was deleted while in use; check what deletes pods"):
        build.run(retries=0)
    assert limits == [(0, "Failed")]
    assert len(build.cluster.script.solved) == 1
    assert "goes on" not in build.output


def test_when_no_retry_is_left_the_last_loss_is_the_error(build: WholeBuild) -> None:
    build.cluster.script.answer = answer_in_turn(*[lose_job_pod(build)] * 3, succeed)
    with pytest.raises(PodLost, match="was lost: Deleted"):
        build.run(retries=2)
    assert len(build.cluster.script.solved) == 3
    assert build.output.count("the build goes on in another pod") == 2
    assert "(no retry is left)" in build.output


def test_only_the_node_that_lost_its_pod_builds_again(build: WholeBuild) -> None:
    build.options["platforms"] = NODES
    lock = threading.Lock()
    struck: list[str] = []

    def answer(request: SolveRequest) -> dict[str, str]:
        with lock:
            first = not struck and request.frontend_attrs["platform"] == "linux/arm64"
            struck.extend(["arm64"] * first)
        if first:
            lose_job_pod(build, "arm64")()
        return {}

    build.cluster.script.answer = answer
    build.run()
    platforms = sorted(request.frontend_attrs["platform"] for request in build.cluster.script.solved)
    assert platforms == ["linux/amd64", "linux/arm64", "linux/arm64"]
    assert "the build on node arm64 begins again in pod buildkit-arm64-0" in build.output


@pytest.mark.parametrize("exit_code", [1, 137])
def test_a_failing_step_is_never_repeated(build: WholeBuild, exit_code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve, "_LAST_WORDS", 0.1)

    def fail() -> NoReturn:
        raise SolveFault("UNKNOWN", f'process "/bin/sh -c x" did not complete successfully: exit code: {exit_code}')

    build.cluster.script.answer = answer_in_turn(fail)
    with pytest.raises(SolveError, match=f"exit code: {exit_code}") as failure:
        build.run(retries=5)
    assert ("raise driver-opt limits.memory" in failure.value.fix) is (exit_code == 137)
    assert len(build.cluster.script.solved) == 1


def test_a_step_that_was_killed_with_its_pod_is_the_pods_loss(build: WholeBuild) -> None:
    """The daemon may report the end of the step before the cluster reports that of the pod."""

    def fail() -> NoReturn:
        gone = threading.Timer(0.3, delete_pod, (build, "buildkit-amd64-0"), {"workload": "jobs/buildkit-amd64"})
        gone.start()
        raise SolveFault("UNKNOWN", "process did not complete successfully: exit code: 137")

    build.cluster.script.answer = answer_in_turn(fail, succeed)
    assert build.run().digest == DIGEST
    assert len(build.cluster.script.solved) == 2


def test_a_pod_that_ran_out_of_memory_is_not_replaced_and_the_cure_is_named(build: WholeBuild) -> None:
    ended = {"name": "buildkitd", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
    dead = {"phase": "Failed", "containerStatuses": [ended]}
    strike = lose(lambda: build.cluster.set_status("pods", "buildkit-amd64-0", dead))
    build.cluster.script.answer = answer_in_turn(strike, succeed)
    with pytest.raises(PodLost, match=r"OOMKilled: .*; raise driver-opt limits.memory"):
        build.run(retries=5)
    assert len(build.cluster.script.solved) == 1


def test_a_pod_that_is_evicted_while_it_boots_is_replaced(build: WholeBuild) -> None:
    booted: list[str] = []

    def boot(pod: Any) -> Any:
        booted.append(pod["metadata"]["uid"])
        if len(booted) > 1:
            return None
        replaced = (build, "buildkit-amd64-0"), {"workload": "jobs/buildkit-amd64"}
        threading.Timer(0.3, delete_pod, *replaced).start()
        return EVICTED

    build.cluster.boot = boot
    assert build.run().digest == DIGEST
    lost = "pod buildkit-amd64-0 cannot start: Evicted: The node was low on resource: memory"
    assert f"WARNING: {lost}; the build goes on in another pod (no retry is left)" in build.output


def test_but_not_one_that_cannot_start(build: WholeBuild) -> None:
    ended = {"name": "buildkitd", "state": {"terminated": {"reason": "Error", "exitCode": 1}}}
    build.cluster.boot = lambda _: {"phase": "Failed", "containerStatuses": [ended]}
    with pytest.raises(BootError, match="exit code 1"):
        build.run(retries=5)
    assert "goes on" not in build.output


@pytest.mark.parametrize("how", ["failed", "deleted"])
def test_a_job_that_starts_no_other_pod_ends_the_build_at_once(build: WholeBuild, how: str) -> None:
    def strike() -> None:
        delete_pod(build, "buildkit-amd64-0")
        place = find_place(build, "jobs", "buildkit-amd64")
        if how == "deleted":
            build.cluster.remove(place)
            return
        failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too many failed"}
        job = build.cluster.objects[place]
        build.cluster.objects[place] = job | {"status": {"conditions": [failed]}}

    began = time.monotonic()
    build.cluster.script.answer = answer_in_turn(lose(strike), succeed)
    with pytest.raises(PodLost, match="was lost: Deleted") as raised:
        build.run()
    reason = "Deleted: the Job was deleted" if how == "deleted" else "BackoffLimitExceeded: too many failed"
    assert raised.value.__notes__[0].startswith(
        "the build cannot go on in another pod: job buildkit-amd64 cannot start"
    )
    assert reason in raised.value.__notes__[0]
    assert time.monotonic() - began < 60


def list_slots(build: WholeBuild) -> list[str]:
    """The pods in which builds hold slots."""
    return [one["metadata"]["ownerReferences"][0]["name"] for one in list_leases(build.cluster)]


def test_a_lasting_builders_next_pod_takes_over_and_the_slot_moves(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=3, max_builds=1)
    held: list[list[str]] = []

    def strike() -> None:
        held.append(list_slots(build))
        delete_pod(build, held[0][0])

    def finish() -> dict[str, str]:
        held.append(list_slots(build))
        return succeed()

    build.cluster.script.answer = answer_in_turn(lose(strike), finish)
    assert build.run(builder_name="kube").digest == DIGEST
    (first,), (second,) = held
    assert first != second
    lines = [line for line in build.output.splitlines() if " is chosen by the sticky key " in line]
    assert [name in line for name, line in zip((first, second), lines, strict=True)] == [True, True]
    assert list_leases(build.cluster) == []


def restart_daemon(build: WholeBuild, name: str, reason: str) -> None:
    """Let the kubelet restart buildkitd in a pod, after an end for this reason."""
    pod = build.cluster.objects[find_place(build, "pods", name)]
    (daemon,) = pod["status"]["containerStatuses"]
    ended = {"terminated": {"reason": reason, "exitCode": 137}}
    daemon = daemon | {"restartCount": 1, "lastState": ended}
    build.cluster.set_status("pods", name, pod["status"] | {"containerStatuses": [daemon]})


def test_a_lasting_builders_pod_whose_daemon_was_restarted_is_used_again(build: WholeBuild) -> None:
    create_builder(build.cluster)
    restart = partial(restart_daemon, build, "kube0-0", "Error")
    build.cluster.script.answer = answer_in_turn(lose(restart), succeed)
    assert build.run(builder_name="kube").digest == DIGEST
    assert "pod kube0-0 was lost: Error: buildkitd was killed by signal 9; the build goes on" in build.output
    assert "the pod still runs" not in build.output


def test_a_daemon_that_ran_out_of_memory_is_not_used_again_though_it_was_restarted(build: WholeBuild) -> None:
    create_builder(build.cluster)
    restart = partial(restart_daemon, build, "kube0-0", "OOMKilled")
    build.cluster.script.answer = answer_in_turn(lose(restart), succeed)
    with pytest.raises(PodLost, match=r"OOMKilled: .*; raise driver-opt limits.memory"):
        build.run(builder_name="kube", retries=3)
    assert len(build.cluster.script.solved) == 1


def test_a_retry_checks_the_trust_scope_again(build: WholeBuild) -> None:
    """The builder may have been made anew for others since, under its name."""
    scope = "fork:stranger/app"
    create_builder(build.cluster, replicas=2, env={TRUST_SCOPE: scope})
    build.env[TRUST_SCOPE] = scope

    def strike() -> None:
        delete_pod(build, list_slots(build)[0])
        place = find_place(build, "secrets", "kube-keys")
        secret = build.cluster.objects[place]
        notes = secret["metadata"]["annotations"] | {labels.TRUST: "protected"}
        build.cluster.put(place, secret | {"metadata": secret["metadata"] | {"annotations": notes}})

    build.cluster.script.answer = answer_in_turn(lose(strike), succeed)
    with pytest.raises(PodLost) as raised:
        build.run(builder_name="kube", retries=3)
    (note,) = raised.value.__notes__
    assert f"builder 'kube' is not allowed for runs of trust scope '{scope}'" in note
    assert len(build.cluster.script.solved) == 1
    assert list_leases(build.cluster) == []


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_builder_that_is_gone_or_another_one_is_not_used(build: WholeBuild, how: str) -> None:
    create_builder(build.cluster, replicas=2)

    def strike() -> None:
        delete_pod(build, list_slots(build)[0])
        place = find_place(build, "secrets", "kube-keys")
        secret = build.cluster.objects[place]
        if how == "replaced":
            build.cluster.put(place, secret | {"metadata": secret["metadata"] | {"uid": "another"}})
            return
        for kind in ("deployments", "secrets"):
            for name in build.cluster.list_names(kind, namespace="ci"):
                build.cluster.remove(find_place(build, kind, name))

    build.cluster.script.answer = answer_in_turn(lose(strike), succeed)
    with pytest.raises(PodLost) as raised:
        build.run(builder_name="kube", retries=3)
    said = "builder 'kube' not found" if how == "removed" else "builder 'kube' has been replaced by another one"
    assert said in raised.value.__notes__[0]
    assert raised.value.exit_code == 1


def test_a_push_that_a_registry_failed_is_repeated_and_then_said_how_to_push_again(build: WholeBuild) -> None:
    create_builder(build.cluster)

    def fail() -> NoReturn:
        raise SolveFault("UNKNOWN", "failed to push r.example/a: unexpected status from PUT request to r: 503 Sorry")

    build.options |= {"push": True, "tags": ("r.example/a",)}
    build.cluster.script.answer = answer_in_turn(fail, succeed)
    assert build.run(builder_name="kube").digest == DIGEST
    assert "the build pushes again: " in build.output
    build.cluster.script.answer = answer_in_turn(fail)
    with pytest.raises(SolveError, match="all steps are in the cache of builder kube: the same command only pushes"):
        build.run(builder_name="kube")
    assert len(build.cluster.script.solved) == 4
