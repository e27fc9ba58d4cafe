"""Which losses are retried: a table, and what each failure's own diagnosis says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ci_buildx.build import retries
from ci_buildx.builder.boot.diagnose import diagnose
from ci_buildx.errors import (
    BootError,
    BuildkitError,
    Forbidden,
    InputError,
    Interrupted,
    KubeBuilderError,
    PodLost,
    QueueTimeout,
    RegistryError,
    SolveError,
    Stopped,
    TransportError,
)
from ci_buildx.settings.values import BuildSettings, Settings
from tests.unit.builder.boot.cases import case, deleted, disrupted, event, running, terminated


@pytest.mark.parametrize(
    ("failure", "in_use", "at_boot"),
    [
        (PodLost("pod a", "Deleted", "", repeatable=True), True, True),
        (BootError("pod a", "Deleted", "", repeatable=True), True, True),
        (PodLost("pod a", "OOMKilled", ""), False, False),
        (BootError("pod a", "ErrImagePull", ""), False, False),
        (BuildkitError("lost", code="UNAVAILABLE"), True, False),
        (BuildkitError("lost", code="CANCELLED"), True, False),
        (BuildkitError("no such frontend", code="UNIMPLEMENTED"), False, False),
        (BuildkitError("the session failed"), False, False),
        (TransportError("no way to the pod"), True, False),
        (SolveError("exit code: 1"), False, False),
        (SolveError("exit code: 137"), False, False),
        (QueueTimeout("no slot"), False, False),
        (Forbidden("no", status=403), False, False),
        (InputError("wrong"), False, False),
        (Stopped(), False, False),
        (KubeBuilderError("aborted"), False, False),
        (ValueError("a bug"), False, False),
        (Interrupted(2), False, False),
    ],
    ids=lambda value: f"{type(value).__name__}-{value}" if isinstance(value, BaseException) else None,
)
def test_only_losses_of_infrastructure_are_retried(failure: BaseException, in_use: bool, at_boot: bool) -> None:
    assert (retries.is_pod_loss(failure), retries.is_boot_loss(failure)) == (in_use, at_boot)


LIMIT = "Pod ephemeral local storage usage exceeds the total limit of containers 100Mi. "
VOLUME = 'Usage of EmptyDir volume "state" exceeds the limit "1Gi". '
CONTAINER = 'Container buildkitd exceeded its local ephemeral storage limit "1Gi". '
LOW = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "


def ended_by_node(reason: str, message: str = "") -> dict[str, Any]:
    """A pod that its cluster node has ended."""
    found = running(ready=True)
    found["status"] |= {"phase": "Failed", "reason": reason, "message": message}
    return found


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (deleted(), True),
        (disrupted("PreemptionByScheduler"), True),
        (disrupted("DeletionByTaintManager"), True),
        (disrupted("EvictionByEvictionAPI"), True),
        (disrupted("DeletionByPodGC"), True),
        (disrupted("TerminationByKubelet"), True),
        (ended_by_node("Evicted", LOW), True),
        (ended_by_node("NodeLost"), True),
        (ended_by_node("Terminated", "Pod was terminated in response to imminent node shutdown."), True),
        (ended_by_node("OutOfcpu"), True),
        (ended_by_node("Evicted", LIMIT), False),
        (ended_by_node("Evicted", VOLUME), False),
        (ended_by_node("Evicted", CONTAINER), False),
        (ended_by_node("DeadlineExceeded"), False),
        (ended_by_node("UnexpectedAdmissionError"), False),
        (terminated(reason="OOMKilled", exitCode=137), False),
        (terminated(reason="Error", exitCode=137), True),
        (terminated(reason="Error", exitCode=139), True),
        (terminated(reason="Error", exitCode=2, message="panic: runtime error"), True),
        (terminated(reason="Completed", exitCode=0), True),
        (terminated(reason="StartError", exitCode=128), False),
    ],
)
def test_a_pod_in_use_is_replaced_unless_its_own_limit_ended_it(pod: dict[str, Any], expected: bool) -> None:
    error = diagnose(case(pod, served=True)).error
    assert isinstance(error, PodLost)
    assert error.repeatable is expected


def test_the_builders_own_end_and_evictions_for_its_own_use_are_not_repeated() -> None:
    late = case(deleted(), event("DeadlineExceeded"), served=True)
    full = case(terminated(reason="Error", exitCode=137), event("Evicted", LIMIT), served=True)
    low = case(terminated(reason="Error", exitCode=137), event("Evicted", LOW), served=True)
    errors = [diagnose(one).error for one in (late, full, low)]
    assert [isinstance(error, PodLost) and error.repeatable for error in errors] == [False, False, True]


@pytest.mark.parametrize(
    ("began", "grace", "expected"),
    [
        ("2026-05-01T11:59:00Z", 0, False),
        ("2026-05-01T11:59:04Z", 0, False),
        ("2026-05-01T11:59:06Z", 0, True),
        ("2026-05-01T11:59:00Z", 30, True),
        ("2026-05-01T11:58:30Z", 30, False),
        ("", 0, True),
    ],
)
def test_a_pod_that_is_deleted_at_the_deadline_is_not_replaced(began: str, grace: int, expected: bool) -> None:
    """The Job's condition comes after the deletion, whose time is 12:00:00 minus the grace period."""
    job = {"spec": {"activeDeadlineSeconds": 60}, "status": {"startTime": began} if began else {}}
    pod = deleted()
    pod["metadata"]["deletionGracePeriodSeconds"] = grace
    error = diagnose(case(pod, job=job, served=True)).error
    assert isinstance(error, PodLost)
    assert (error.repeatable, error.reason == "DeadlineExceeded") == (expected, not expected)


@pytest.mark.parametrize(
    ("exit_code", "expected"), [(1, False), (2, False), (139, False), (137, True), (143, True), (0, False)]
)
def test_a_daemon_that_never_answered_is_repeated_only_if_it_was_killed(exit_code: int, expected: bool) -> None:
    error = diagnose(case(terminated(reason="Error", exitCode=exit_code))).error
    assert isinstance(error, BootError)
    assert error.repeatable is expected


PUT = "unexpected status from PUT request to https://r/v2/a"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f"failed to push r/a: {PUT}: 503 Service Unavailable", True),
        (f"failed to push r/a: {PUT}: 500 Internal Server Error", True),
        ('failed to push r/a: failed to do request: Head "http://r": dial tcp: connect: connection refused', True),
        ("failed to push r/a: failed to copy: read tcp 1->2: read: connection reset by peer", True),
        ("failed to push r/a: failed to copy: unexpected EOF", True),
        ("failed to push r/a: net/http: TLS handshake timeout", True),
        ("failed to push r/a: 401 Unauthorized", False),
        (f"failed to push r/a: {PUT}: 403 Forbidden", False),
        ("failed to push r/a: denied: quota exceeded", False),
        ("failed to push r/a: the tag is immutable", False),
        ('process "/bin/sh -c curl" did not complete: connection refused', False),
        ("503 Service Unavailable, before anything: failed to resolve source", False),
    ],
)
def test_only_pushes_that_a_registry_failed_are_repeated(message: str, expected: bool) -> None:
    assert retries.is_passing_push_failure(SolveError(message)) is expected


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"builder_name": "kube"}, "all steps are in the cache of builder kube: the same command only pushes again"),
        ({"keep": True}, "which is kept: name it with --builder to push again"),
        ({}, "on a lasting one (--builder), the next build only pushes"),
    ],
)
def test_how_to_push_again_depends_on_what_becomes_of_the_cache(chosen: dict[str, Any], said: str) -> None:
    settings = Settings(build=BuildSettings(context=Path(), dockerfile=None), **chosen)
    advised = retries.advise_push(SolveError("failed to push r/a", fix="try again later"), settings)
    assert str(advised).startswith("failed to push r/a; try again later; ")
    assert str(advised).endswith(said)
    assert retries.advise_push(RegistryError("503"), settings).fix.endswith(said)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("exit code: 137", True),
        ("cannot allocate memory", True),
        ("exit code: 1", False),
        ("exit code: 1370", False),
        ("exit code: 143", False),
    ],
)
def test_a_step_that_may_have_run_out_of_memory_says_what_to_raise(end: str, expected: bool) -> None:
    message = f'failed to solve: process "/bin/sh -c x" did not complete successfully: {end}'
    failure = retries.advise_memory(SolveError(message))
    assert ("raise driver-opt limits.memory" in failure.fix) is expected
    assert failure.message == message


def test_what_a_command_contains_is_not_its_end() -> None:
    command = "echo 'did not complete successfully: exit code: 137'; exit 1"
    failure = SolveError(f'failed to solve: process "{command}" did not complete successfully: exit code: 1')
    assert retries.advise_memory(failure).fix == ""
    assert retries.advise_memory(SolveError("x: exit code: 137", fix="known")).fix == "known"


def test_a_pod_that_is_not_ready_again_in_time_counts_as_unreachable() -> None:
    late = retries.judge_reconnection(BootError("node amd64", "Timeout", "buildkitd is starting"))
    assert retries.is_pod_loss(late)
    lost = PodLost("pod a", "OOMKilled", "")
    assert retries.judge_reconnection(lost) is lost
    assert not retries.is_pod_loss(retries.judge_reconnection(BootError("pod a", "ErrImagePull", "")))


def test_a_retry_is_told_with_its_cause_and_what_is_left() -> None:
    lost = PodLost("pod b-0", "Deleted", "it was deleted while in use", fix="check what deletes pods")
    told = "pod b-0 was lost: Deleted: it was deleted while in use; the build goes on in another pod"
    assert retries.describe_retry(lost, 0) == f"{told} (no retry is left)"
    assert retries.describe_retry(lost, 1) == f"{told} (1 more retry is left)"
    assert retries.describe_retry(lost, 2) == f"{told} (2 more retries are left)"
