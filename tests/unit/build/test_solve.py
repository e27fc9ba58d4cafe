"""Which failures are tried again: of pushes, and of connections."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ci_buildx.build import solve
from ci_buildx.build.solve import is_push_collision
from ci_buildx.buildkit.exporters import Exports
from ci_buildx.errors import BuildkitError, PodLost, SolveError, TransportError
from ci_buildx.session.file_targets import FileTarget
from tests.unit.conftest import DebugLog


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        # docker-registry 2.8.2, two nodes pushing a layer that both share
        (
            "failed to push r:5000/app: errors:\nunknown: blob unknown to registry - sha256:dd51dd3dd450589b",
            True,
        ),
        ("failed to solve: failed to push r:5000/app: 401 Unauthorized", False),
        ('failed to solve: process "/bin/sh -c echo blob unknown to registry" did not complete', False),
    ],
)
def test_only_collisions_of_pushes(message: str, expected: bool) -> None:
    assert is_push_collision(message) is expected


LOST = BuildkitError("lost the connection to buildkitd during the build", code="UNAVAILABLE")


class Work(solve._NodeSolve):
    """A build whose attempts fail with ``failures``, one after the other."""

    failures: list[Exception]
    said: list[str]

    def attempt(self) -> Any:
        if self.failures:
            raise self.failures.pop(0)
        return self.connection


def work(
    *failures: Exception,
    target: Path | None = Path("out.tar"),
    stopped: bool = False,
    retries: int = 0,
    linked: bool = False,
) -> Work:
    said: list[str] = []

    def connection(number: int) -> Any:
        return SimpleNamespace(
            renew=lambda: connection(number + 1),
            winner=SimpleNamespace(name="exec"),
            node=SimpleNamespace(name="amd64"),
            number=number,
            find_newer=lambda _: None,
            change_pod=lambda _, failure: change_pod(number, failure),
            pod=f"pod-{number}",
        )

    def change_pod(number: int, failure: Exception) -> Any:
        """As the connector does: without a retry left, the failure is raised."""
        if not changes:
            raise failure
        changes.pop()
        return connection(number + 100)

    changes = list(range(retries))

    site: Any = SimpleNamespace(
        label="",
        stop=SimpleNamespace(is_set=lambda: stopped, wait=lambda _: stopped),
        display=SimpleNamespace(
            warn=said.append, forgive=lambda _, target: None, restart=lambda _, target: said.append("restarted")
        ),
        settings=SimpleNamespace(retries=retries),
        join=lambda _: linked or None,
    )
    exports = Exports(exporters=(), targets={0: FileTarget(path=target)})
    nothing: Any = None
    share: Any = SimpleNamespace(several=False)
    made = Work(site=site, boot=nothing, connection=connection(0), exports=exports, auth=nothing, share=share)
    made.failures, made.said = list(failures), said
    return made


def test_a_lost_connection_is_replaced_and_the_build_repeated() -> None:
    one: Any = work(LOST, LOST)
    assert one.run().number == 2
    assert one.said[:2] == [
        "lost the connection to buildkitd during the build; the pod still runs: reconnecting",
        "reconnected by exec; finished steps come from the pod's cache",
    ]


def test_a_network_that_never_holds_ends_the_build() -> None:
    with pytest.raises(BuildkitError, match="lost the connection"):
        work(*[LOST] * 20).run()


@pytest.mark.parametrize(
    "one",
    [
        work(SolveError("failed to solve: exit code: 1")),
        work(BuildkitError("buildkitd does not know the frontend", code="UNIMPLEMENTED")),
        work(LOST, target=None),
        work(LOST, stopped=True),
    ],
    ids=["the build failed", "another error", "half of the result is on standard output", "the job ends"],
)
def test_other_failures_are_not_repeated(one: Work) -> None:
    with pytest.raises((SolveError, BuildkitError)):
        one.run()
    assert one.said == []


GONE = PodLost("pod b-0", "Deleted", "it was deleted while in use", repeatable=True)
BUSY = SolveError("failed to push r:5000/app: unexpected status from PUT request: 503 Service Unavailable")


def test_a_lost_pod_is_replaced_and_the_steps_shown_so_far_do_not_count() -> None:
    one: Any = work(GONE, retries=1)
    assert one.run().number == 100
    assert one.said == ["restarted", "the build begins again in pod pod-100, by exec"]


def test_every_retry_is_used_and_then_the_loss_is_the_error() -> None:
    one = work(GONE, GONE, GONE, retries=2)
    with pytest.raises(PodLost, match="was lost: Deleted"):
        one.run()
    assert one.said.count("restarted") == 2


def test_a_network_that_never_holds_is_left_for_another_pod() -> None:
    one: Any = work(*[LOST] * 6, retries=1)
    assert one.run().number == 105, "five connections to the first pod, and the next pod"


def test_a_pod_that_cannot_be_reached_again_is_left_for_another() -> None:
    one: Any = work(LOST, retries=1)

    def fail() -> Any:
        raise TransportError("buildkitd cannot be reached")

    one.connection.renew = fail
    assert one.run().number == 100


@pytest.mark.parametrize(
    "one",
    [
        work(PodLost("pod b-0", "OOMKilled", "out of memory"), retries=1),
        work(SolveError("failed to solve: exit code: 1"), retries=1),
        work(GONE, retries=1, target=None),
        work(GONE, retries=1, linked=True),
        work(GONE, retries=1, stopped=True),
        work(BUSY, retries=1, target=None),
    ],
    ids=["memory", "a failing step", "standard output", "others need the result", "the job ends", "a push and stdout"],
)
def test_no_other_pod_is_used_for(one: Work) -> None:
    with pytest.raises((SolveError, PodLost)):
        one.run()
    assert one.said == []


def test_a_push_that_a_registry_failed_is_repeated_as_often_as_there_are_retries() -> None:
    one: Any = work(BUSY, BUSY, retries=2)
    assert one.run().number == 0
    assert one.said == [f"the build pushes again: {BUSY.message}"] * 2
    with pytest.raises(SolveError, match="503"):
        work(BUSY, BUSY, retries=1).run()


def test_the_debug_log_tells_why_it_connects_again(debug_log: DebugLog) -> None:
    work(LOST).run()
    assert debug_log.of("build") == ["reconnection 1 of node amd64: lost the connection to buildkitd during the build"]
