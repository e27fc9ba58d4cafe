"""``kube-builder bake`` from its arguments to its results, on a cluster in memory."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ci_buildx.buildkit.messages import SolveRequest
from tests.unit.bake.conftest import Bake
from tests.unit.memory_cluster import MemoryCluster
from tests.unit.scripted_buildkitd import DIGEST, SolveFault

TWO = """
group "default" { targets = ["one", "two"] }
target "one" {
  description = "the first"
  tags        = ["registry.example/one:1"]
  output      = ["type=image,push=true"]
  args        = { WHO = "one" }
}
target "two" {
  dockerfile-inline = "FROM scratch\\n"
  args              = { WHO = "two" }
}
"""


def list_arguments(cluster: MemoryCluster) -> list[str]:
    """The build argument of each build, sorted."""
    return sorted(one.frontend_attrs["build-arg:WHO"] for one in cluster.script.solved)


def test_all_targets_are_built_by_one_builder_which_is_removed(
    bake: Bake, memory_cluster: MemoryCluster, tmp_path: Path
) -> None:
    run = bake(TWO, "--metadata-file", "meta.json")
    assert run.code == 0, run.stderr
    assert list_arguments(memory_cluster) == ["one", "two"]
    metadata = json.loads((tmp_path / "meta.json").read_text())
    assert {name: one["containerimage.digest"] for name, one in metadata.items()} == {"one": DIGEST, "two": DIGEST}
    assert f"one: digest {DIGEST}\n" in run.stderr
    created = [line for line in memory_cluster.asked if line.startswith("POST") and line.endswith("/namespaces")]
    assert len(created) == 1
    assert any(line.startswith("DELETE") and "/namespaces/" in line for line in memory_cluster.asked)


def test_steps_are_shown_with_their_targets(bake: Bake) -> None:
    shown = bake(TWO).stderr
    assert "[one 1/1] FROM base" in shown
    assert "[two 1/1] FROM base" in shown


def test_a_single_target_has_no_prefix(bake: Bake) -> None:
    assert " [1/1] FROM base" in bake(TWO, "two").stderr


def test_a_failed_target_is_named_and_leaves_no_metadata(
    bake: Bake, memory_cluster: MemoryCluster, tmp_path: Path
) -> None:
    memory_cluster.script.answer = fail("one")
    run = bake(TWO, "--metadata-file", "meta.json")
    assert run.code == 1
    assert run.stderr.splitlines()[-1].startswith("ERROR: target one: failed to solve: broken step")
    assert not (tmp_path / "meta.json").exists()


def test_with_defer_error_the_others_are_built(bake: Bake, memory_cluster: MemoryCluster, tmp_path: Path) -> None:
    memory_cluster.script.answer = fail("one")
    run = bake(TWO, "--metadata-file", "meta.json", "-j", "defer-error,parallel=1")
    assert run.code == 1
    assert list_arguments(memory_cluster) == ["one", "two"]
    assert json.loads((tmp_path / "meta.json").read_text()).keys() == {"two"}
    for said in ("[internal] target results", "one: failed", "two: succeeded"):
        assert said in run.stderr


@pytest.mark.parametrize(
    ("number", "last"),
    [
        (signal.SIGINT, "ERROR: got SIGTERM/SIGINT, forcing shutdown"),
        (signal.SIGTERM, "ERROR: got SIGTERM/SIGINT, forcing shutdown"),
        (signal.SIGHUP, "kube-builder: interrupted by SIGHUP"),
    ],
)
def test_with_defer_error_a_signal_ends_with_a_summary(
    number: signal.Signals, last: str, bake: Bake, memory_cluster: MemoryCluster
) -> None:
    over = threading.Event()

    def interrupt(request: SolveRequest) -> Mapping[str, str]:
        if request.frontend_attrs.get("build-arg:WHO") == "two":
            os.kill(os.getpid(), number)
            over.wait(60)
        return {"containerimage.digest": DIGEST}

    memory_cluster.script.answer = interrupt
    three = TWO.replace('["one", "two"]', '["one", "two", "zz"]') + 'target "zz" { args = { WHO = "zz" } }\n'
    try:
        run = bake(three, "-j", "defer-error,parallel=1")
    finally:
        over.set()
    assert run.code == 128 + number
    for said in ("[internal] target results", "one: succeeded done", "two: aborted done", "zz: not started done"):
        assert said in run.stderr
    assert run.stderr.splitlines()[-1] == last
    assert any(line.startswith("DELETE") and "/namespaces/" in line for line in memory_cluster.asked)


def test_other_modes_have_no_summary_after_a_signal(bake: Bake, memory_cluster: MemoryCluster) -> None:
    over = threading.Event()

    def interrupt(_: SolveRequest) -> Mapping[str, str]:
        os.kill(os.getpid(), signal.SIGINT)
        over.wait(60)
        return {}

    memory_cluster.script.answer = interrupt
    try:
        run = bake(TWO)
    finally:
        over.set()
    assert run.code == 130
    assert "target results" not in run.stderr
    assert run.stderr.splitlines()[-1] == "kube-builder: interrupted by SIGINT"


def fail(name: str) -> Callable[[SolveRequest], Mapping[str, str]]:
    """Fail the build of one target."""

    def answer(request: SolveRequest) -> Mapping[str, str]:
        if request.frontend_attrs.get("build-arg:WHO") == name:
            raise SolveFault("UNKNOWN", "broken step")
        return {"containerimage.digest": DIGEST}

    return answer


ASKING = 'target "default" { entitlements = ["network.host"] }\n'


def test_privileges_must_be_granted(bake: Bake, memory_cluster: MemoryCluster) -> None:
    run = bake(ASKING)
    assert run.code == 2
    assert " - Running build containers that can access host network\n" in run.stderr
    assert "additional privileges requested" in run.stderr.splitlines()[-1]
    assert memory_cluster.asked == []
    assert bake(ASKING, "--allow", "network.host").code == 0
    assert memory_cluster.script.solved[0].entitlements == ("network.host",)


def test_privileges_can_be_granted_on_a_terminal(bake: Bake, memory_cluster: MemoryCluster) -> None:
    refused = bake(ASKING, answer="n\n")
    assert refused.code == 2
    assert "Do you want to grant requested privileges and continue? [y/N]" in refused.stderr
    assert memory_cluster.asked == []
    assert bake(ASKING, answer="y\n").code == 0


def test_an_error_of_a_target_names_it(bake: Bake, memory_cluster: MemoryCluster) -> None:
    run = bake('target "app" { tags = ["Not/Valid"] }\n', "app")
    assert run.code == 2
    assert "target app, --tag: " in run.stderr.splitlines()[-1]
    assert memory_cluster.asked == []


def test_the_wait_in_a_queue_is_limited_as_for_a_build(bake: Bake) -> None:
    by_flag = bake(TWO, "--queue-timeout", "soon")
    by_variable = bake(TWO, env={"KUBE_BUILDER_QUEUE_TIMEOUT": "soon"})
    for run, source in ((by_flag, "--queue-timeout"), (by_variable, "KUBE_BUILDER_QUEUE_TIMEOUT")):
        assert run.code == 2
        assert f"{source}: 'soon' is not a duration" in run.stderr
    assert bake(TWO, "--queue-timeout", "90s").code == 0


def test_only_one_target_may_write_to_standard_output(bake: Bake) -> None:
    run = bake('target "a" { output = ["-"] }\ntarget "b" { output = ["-"] }\n', "a", "b")
    assert run.code == 2
    assert "targets a and b both write to standard output" in run.stderr


def test_a_missing_definition_of_a_repository_is_an_error(bake: Bake, tmp_path: Path) -> None:
    run = bake("", "https://git.example/app.git", "--print")
    assert run.code == 2
    assert "couldn't find a bake definition" in run.stderr.splitlines()[-1]


def test_an_archive_cannot_hold_a_definition(bake: Bake, memory_cluster: MemoryCluster) -> None:
    run = bake("", "https://example.com/app.tar", "--print")
    assert run.code == 2
    assert "only a git repository can hold a definition" in run.stderr
    assert memory_cluster.asked == []


LINT = json.dumps({"warnings": [], "buildError": None, "sources": []})


def test_answers_to_calls_are_printed_below_the_names_of_targets(bake: Bake, memory_cluster: MemoryCluster) -> None:
    memory_cluster.script.call = lambda _: {"result.json": LINT, "result.txt": "Check complete, no warnings found."}
    run = bake(TWO, "one", "--check")
    assert run.code == 0, run.stderr
    assert run.stdout.startswith("one\nthe first\n\nCheck complete, no warnings found.")
    as_json = json.loads(bake(TWO, "one", "--call", "check,format=json").stdout)
    assert as_json["target"]["one"]["check"]["warnings"] == []
    assert as_json["target"]["one"]["build"]["tags"] == ["registry.example/one:1"]


def test_a_plain_build_imports_nothing_of_bake() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nimport ci_buildx.cli.build, ci_buildx.build.run\n"
        "from ci_buildx.build import builder_scope\nbuilder_scope.import_early()\n"
        "ours = ('ci_buildx.hcl', 'ci_buildx.bake', 'ci_buildx.cli.bake')\n"
        "print(*(one for one in sys.modules if one.startswith(ours)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# Lost pods.


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
