"""Which failures are tried again: of pushes, and of connections."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ci_buildx.build import solve
from ci_buildx.build.solve import is_push_collision
from ci_buildx.buildkit.exporters import Exports
from ci_buildx.errors import BuildkitError, SolveError
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


def work(*failures: Exception, target: Path | None = Path("out.tar"), stopped: bool = False) -> Work:
    said: list[str] = []

    def connection(number: int) -> Any:
        return SimpleNamespace(
            renew=lambda: connection(number + 1),
            winner=SimpleNamespace(name="exec"),
            node=SimpleNamespace(name="amd64"),
            number=number,
        )

    site: Any = SimpleNamespace(
        label="",
        stop=SimpleNamespace(is_set=lambda: stopped),
        display=SimpleNamespace(warn=said.append, forgive=lambda _, target: None),
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


def test_the_debug_log_tells_why_it_connects_again(debug_log: DebugLog) -> None:
    work(LOST).run()
    assert debug_log.of("build") == ["reconnection 1 of node amd64: lost the connection to buildkitd during the build"]
