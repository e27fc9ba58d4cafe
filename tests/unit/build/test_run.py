"""One build from settings to result: what is created and in which order, what is returned, and what is left."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.build.dockerfile import may_run_steps
from ci_buildx.build.local_state import describe_sources
from ci_buildx.build.result import BuildResult
from ci_buildx.builder import labels
from ci_buildx.buildkit.messages import SolveRequest
from ci_buildx.errors import (
    BootError,
    BuildkitError,
    Interrupted,
    KubeBuilderError,
    PodLost,
    Refused,
    SolveError,
    TransportError,
)
from ci_buildx.fsutil import scratch
from ci_buildx.model.plaintext import redact_url
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.values import BuildSettings, FrontendCall, MetadataProvenance, TransportChoice, TypedAttributes
from tests.unit.build.whole_build import NAME, NODES, WholeBuild
from tests.unit.memory_cluster import Manifest
from tests.unit.scripted_buildkitd import DIGEST, SolveFault

CREATED = ["POST namespaces", "POST jobs", "POST secrets"]
HEADING = f'#0 building with "{NAME}" instance using kubernetes driver'
REMOVED = ["DELETE jobs", "DELETE pods", "DELETE NAME"]


def fail(code: str, text: str) -> Any:
    """An answer to a Solve that is an error."""

    def answer(_: SolveRequest) -> dict[str, str]:
        raise SolveFault(code, text)

    return answer


def answer_in_turn(*answers: Any) -> Any:
    """Answers to the first Solve, the second, and so on."""
    left = list(answers)

    def answer(request: SolveRequest) -> Any:
        return left.pop(0)(request)

    return answer


def succeed(_: SolveRequest) -> dict[str, str]:
    return {"containerimage.digest": DIGEST}


def test_a_job_has_a_builder_of_its_own_which_is_gone_afterwards(build: WholeBuild) -> None:
    result = build.run()
    assert (result.digest, result.image_id, result.namespace) == (DIGEST, DIGEST, NAME)
    assert list(map(str, result.platforms)) == ["linux/amd64"]
    assert list(result.phases) == ["plan", "create", "boot", "build", "teardown"]
    changes = [line for line in build.list_changes() if line != "POST leases"]
    assert changes == [*CREATED, *REMOVED]
    assert build.cluster.list_names("namespaces") == ["ci", "default"]
    assert [(place.name, place.namespace, place.exclusive) for place in build.announced] == [(NAME, NAME, True)]
    (request,) = build.cluster.script.solved
    assert request.frontend == "dockerfile.v0"
    assert request.internal
    assert build.output.startswith(f"{HEADING}\n\n#1 ")
    assert result.metadata["buildx.build.ref"] == f"{NAME}/amd64/{request.ref}"
    assert "pod buildkit-amd64-0 on node worker-amd64 answered over direct" in build.output
    assert "#3 [1/1] FROM base" in build.output
    assert "WARNING: no output is set: the result is discarded with this build's builder; add --push" in build.output


def test_the_sources_of_a_build_are_recorded_for_docker_buildx(build: WholeBuild, tmp_path: Path) -> None:
    build.env["BUILDX_CONFIG"] = str(tmp_path / "config")
    reference = build.run().metadata["buildx.build.ref"]
    assert json.loads((tmp_path / "config" / "refs" / reference).read_text()) == {
        "Target": "default",
        "LocalPath": str(build.folder),
        "DockerfilePath": str(build.folder / "Dockerfile"),
    }


def test_the_temporary_file_of_an_inline_dockerfile_is_not_recorded(tmp_path: Path) -> None:
    with scratch.open_folder() as folder:
        (folder / "0").mkdir()
        (folder / "0" / "Dockerfile").write_text("FROM scratch\n")
        build = BuildSettings(context=tmp_path, dockerfile=folder / "0" / "Dockerfile")
        assert describe_sources(build, "app")["DockerfilePath"] == str(tmp_path / "Dockerfile")


def test_no_login_is_recorded() -> None:
    url = "https://me:hush-hush@h/r.git#main"
    build = BuildSettings(context=url, dockerfile=None, dockerfile_name="app.Dockerfile")
    assert describe_sources(build, "app") == {
        "Target": "app",
        "LocalPath": redact_url(url),
        "DockerfilePath": "app.Dockerfile",
    }
    assert "hush" not in describe_sources(build, "app")["LocalPath"]


def test_a_folder_that_cannot_be_written_fails_no_build(build: WholeBuild, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file")
    build.env["BUILDX_CONFIG"] = str(tmp_path / "config")
    assert build.run().digest == DIGEST
    assert "WARNING: the build's sources are not recorded in BUILDX_CONFIG: " in build.output


def test_provenance_of_the_metadata_is_that_of_the_history(build: WholeBuild) -> None:
    build.options["metadata_provenance"] = MetadataProvenance.MIN
    body = json.dumps({"buildDefinition": {"internalParameters": {"builderPlatform": "linux/amd64"}}}).encode()
    build.cluster.script.provenance = body
    result = build.run()
    assert not build.cluster.script.solved[0].internal
    assert result.metadata["buildx.build.provenance"]["invocation"]["environment"] == {"platform": "linux/amd64"}


def test_a_build_without_a_record_is_only_warned_about(build: WholeBuild) -> None:
    build.options["metadata_provenance"] = MetadataProvenance.MAX
    result = build.run()
    assert result.digest == DIGEST
    assert "buildx.build.provenance" not in result.metadata
    assert "WARNING: the metadata file has no provenance: buildkitd has no record of this build" in build.output


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("FROM scratch\nCOPY a /run\n", False),
        ("FROM a\n  run make\n", True),
        ("FROM a\nONBUILD RUN make\nRUNNER x\n", False),
    ],
)
def test_only_a_dockerfile_with_steps_needs_an_emulator(text: str, runs: bool, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(text)
    assert may_run_steps(BuildSettings(context=tmp_path, dockerfile=file)) is runs
    assert may_run_steps(BuildSettings(context="https://h/r.git", dockerfile=None))
    assert may_run_steps(BuildSettings(context=tmp_path, dockerfile=tmp_path / "missing"))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", "\n[history]\n  maxEntries = 0\n"),
        ("debug = true\n", "debug = true\n\n[history]\n  maxEntries = 0\n"),
        ("[History]\nmaxEntries = 9\n", "[History]\nmaxEntries = 9\n"),
    ],
)
def test_a_jobs_builder_with_metrics_counts_its_builds(build: WholeBuild, config: str, expected: str) -> None:
    made: list[str] = []

    def look(path: str) -> None:
        if "/configmaps/" in path or path.endswith("/configmaps"):
            made.append(build.cluster.objects[path]["data"]["buildkitd.toml"])

    build.cluster.meanwhile = look
    build.run(builder=BuilderSettings(metrics_port=6060, buildkitd_config=config))
    (request,) = build.cluster.script.solved
    assert not request.internal
    assert made == [expected]


def test_in_an_existing_namespace_only_the_builders_objects_are_removed(build: WholeBuild) -> None:
    assert build.run(builder=BuilderSettings(namespace="ci")).namespace == "ci"
    assert build.list_changes()[:2] == ["POST jobs", "POST secrets"]
    assert "DELETE ci" not in build.list_changes()
    assert build.cluster.list_names("namespaces") == ["ci", "default"]
    assert (
        build.cluster.list_names("jobs") + build.cluster.list_names("secrets") + build.cluster.list_names("pods") == []
    )


def test_the_builder_of_a_failed_build_is_removed_too(build: WholeBuild) -> None:
    build.cluster.script.answer = fail("UNKNOWN", "process /bin/sh did not complete: exit code: 1")
    with pytest.raises(SolveError, match="exit code: 1"):
        build.run()
    assert build.list_changes()[-3:] == REMOVED
    (report,) = build.reports
    assert report.failure.startswith("failed to solve: process /bin/sh")


def test_a_kept_builder_stays_and_the_next_build_finds_it(build: WholeBuild) -> None:
    build.run(keep=True)
    assert "WARNING: no output is set: the result is only in the builder's cache; add --push" in build.output
    assert not [line for line in build.list_changes() if line.startswith("DELETE")]
    for _ in range(100):  # the transport is recorded in the background
        if labels.TRANSPORT in build.cluster.find("jobs")["metadata"]["annotations"]:
            break
        time.sleep(0.02)
    assert build.cluster.find("jobs")["metadata"]["annotations"][labels.TRANSPORT] == "direct"
    build.cluster.asked.clear()
    assert build.run(builder_name=NAME).namespace == NAME
    assert build.list_changes() == []
    assert len(build.cluster.script.solved) == 2


def test_a_kept_builder_survives_a_failed_build_but_not_a_failed_boot(build: WholeBuild) -> None:
    build.cluster.script.answer = fail("UNKNOWN", "exit code: 1")
    with pytest.raises(SolveError):
        build.run(keep=True)
    assert build.cluster.list_names("jobs") == ["buildkit-amd64"]
    build.cluster.remove(f"/api/v1/namespaces/{NAME}")
    build.cluster.boot = lambda _: {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
    with pytest.raises(BootError):
        build.run(keep=True, retries=0)
    assert build.cluster.list_names("jobs") == []


def test_if_the_namespace_is_refused_nothing_is_deleted(build: WholeBuild) -> None:
    build.cluster.refuse("POST", "/namespaces$", message='namespaces is forbidden: User "x" cannot create resource')
    with pytest.raises(Refused):
        build.run()
    assert build.list_changes() == ["POST namespaces"]


def test_what_cannot_be_removed_is_a_warning_after_a_success_and_a_note_on_a_failure(build: WholeBuild) -> None:
    build.cluster.refuse("DELETE", f"/namespaces/{NAME}$", message="denied by policy")
    build.run()
    assert "the build succeeded, but its clean-up failed: not removed: namespace" in build.output
    build.cluster.remove(f"/api/v1/namespaces/{NAME}")
    build.cluster.script.answer = fail("UNKNOWN", "exit code: 1")
    with pytest.raises(SolveError) as caught:
        build.run()
    assert [note for note in caught.value.__notes__ if "not removed: namespace" in note]


def test_files_of_the_result_and_the_report(build: WholeBuild, tmp_path: Path) -> None:
    build.options |= {
        "metadata_file": tmp_path / "metadata.json",
        "iidfile": tmp_path / "iid",
        "timeline": tmp_path / "timeline.svg",
        "tags": ("app:1",),
    }
    delivered: list[BuildResult] = []
    build.run(deliver=delivered.append)
    metadata = json.loads((tmp_path / "metadata.json").read_text())
    assert metadata["containerimage.digest"] == DIGEST
    assert "teardown" in metadata["kube-builder.phases"], "written again after the clean-up"
    assert (tmp_path / "iid").read_text() == DIGEST
    assert "<svg" in (tmp_path / "timeline.svg").read_text()
    assert "teardown" not in delivered[0].phases
    assert [(report.title, report.failure) for report in build.reports] == [("app:1", "")]


def test_a_result_that_cannot_be_delivered_fails_the_build_after_the_clean_up(
    build: WholeBuild, tmp_path: Path
) -> None:
    build.options["metadata_file"] = tmp_path / "none" / "metadata.json"

    def refuse(_: BuildResult) -> None:
        raise KubeBuilderError("outputs cannot be written")

    with pytest.raises(KubeBuilderError, match="cannot write") as caught:
        build.run(deliver=refuse)
    assert caught.value.__notes__ == ["outputs cannot be written"]
    assert build.cluster.list_names("jobs") == []


def test_secrets_are_masked_in_errors_of_buildkitd(build: WholeBuild) -> None:
    build.hidden = ("hush-hush",)
    build.cluster.script.answer = fail("UNKNOWN", "exit code: 1: login hush-hush failed")
    with pytest.raises(SolveError) as caught:
        build.run()
    assert "hush-hush" not in str(caught.value) + build.output
    assert "login *** failed" in str(caught.value)


def test_a_secret_that_is_empty_is_reported(build: WholeBuild) -> None:
    build.options["empty_secrets"] = ("npm",)
    build.run()
    assert "secret npm is empty and was not sent" in build.output


def test_a_job_of_a_ci_system_reads_of_its_inputs(build: WholeBuild) -> None:
    build.cluster.platforms, build.text = ("linux/s390x",), "FROM scratch\nRUN make\n"
    with pytest.raises(BuildkitError):
        build.run(surface=OptionSurface.GITHUB)
    assert "; add input push or input outputs" in build.output
    assert "set input platforms for another" in build.output
    assert "--push" not in build.output


class Watched(io.StringIO):
    """A log that records how many requests the cluster had when its first line came."""

    def __init__(self, build: WholeBuild) -> None:
        super().__init__()
        self.build = build
        self.requests: list[int] = []

    def write(self, text: str, /) -> int:
        self.requests.append(len(self.build.cluster.asked))
        return super().write(text)


def test_the_first_line_comes_before_the_first_request(build: WholeBuild) -> None:
    build.shown = shown = Watched(build)
    build.run(keep=True)
    assert shown.requests[0] == 0
    assert shown.getvalue().startswith(f"{HEADING}\n\n#1 [internal] creating builder {NAME}\n")
    build.cluster.asked.clear()
    build.shown = shown = Watched(build)
    build.run(builder_name=NAME)
    assert shown.requests[0] == 0
    assert shown.getvalue().startswith(f"{HEADING}\n\n#1 [internal] booting builder\n")


def test_a_token_that_is_withheld_is_reported(build: WholeBuild) -> None:
    build.options["withheld_tokens"] = ("GIT_AUTH_TOKEN is not sent to git.example: it is cloned without TLS",)
    build.run()
    assert "WARNING: GIT_AUTH_TOKEN is not sent to git.example" in build.output


def test_a_signal_removes_the_builder(build: WholeBuild) -> None:
    def interrupt(_: SolveRequest) -> dict[str, str]:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
        return {}

    build.cluster.script.answer = interrupt
    with pytest.raises(Interrupted):
        build.run()
    assert build.cluster.list_names("jobs") == []
    assert [report.failure for report in build.reports] == ["stopped by a signal"]


# Boot.


def test_a_pod_that_cannot_pull_its_image_ends_the_build_with_kubernetes_reason(build: WholeBuild) -> None:
    waiting = {"reason": "InvalidImageName", "message": "couldn't parse image name"}
    status = {"phase": "Pending", "containerStatuses": [{"name": "buildkitd", "state": {"waiting": waiting}}]}
    build.cluster.boot = lambda _: status
    with pytest.raises(BootError, match="InvalidImageName"):
        build.run()
    assert build.cluster.list_names("jobs") == []


def test_a_pod_that_does_not_start_in_time(build: WholeBuild) -> None:
    build.cluster.boot = lambda _: {"phase": "Pending"}
    late = "buildkit-amd64-0 has no address yet|Timeout: pod buildkit-amd64-0: creating the container"
    with pytest.raises((TransportError, BootError), match=late):
        build.run(builder=BuilderSettings(timeout=0.3))
    assert build.cluster.list_names("jobs") == []


def test_a_transport_that_does_not_work(build: WholeBuild) -> None:
    with pytest.raises(TransportError, match="omit --transport") as caught:
        build.run(transport=TransportChoice.PORT_FORWARD, builder=BuilderSettings(timeout=0.5))
    assert "port-forward:" in str(caught.value)
    assert build.cluster.list_names("jobs") == []


def test_a_pod_that_does_not_run_its_platform(build: WholeBuild) -> None:
    build.cluster.platforms = ("linux/s390x",)
    assert build.run().digest == DIGEST, "images without steps are only assembled"
    build.text = "FROM scratch\nRUN make\n"
    with pytest.raises(BuildkitError, match=r"does not run linux/amd64, only linux/s390x; add driver-opt qemu"):
        build.run()


def unplaced(pod: Manifest) -> Manifest | None:
    """The status of pods for arm64, which no cluster node takes; others start."""
    if (pod["spec"].get("nodeSelector") or {}).get(labels.ARCHITECTURE) != "arm64":
        return None
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    condition["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    return {"phase": "Pending", "unplaced": True, "conditions": [condition]}


def test_where_nodes_cannot_be_listed_an_architecture_without_nodes_is_emulated(build: WholeBuild) -> None:
    build.cluster.refuse("GET", "/nodes$")
    build.cluster.refuse("GET", "/apis/karpenter|/clusterautoscaler|kube-system")
    build.cluster.boot = unplaced
    build.cluster.platforms = ("linux/amd64", "linux/arm64")
    build.options |= {"platforms": NODES}
    build.run(builder=BuilderSettings(timeout=15))
    (request,) = build.cluster.script.solved
    assert request.frontend_attrs["platform"] == "linux/amd64,linux/arm64"
    assert "DELETE buildkit-arm64" in build.list_changes()


# Connection.


def test_a_lost_connection_is_replaced_and_the_build_repeated(build: WholeBuild) -> None:
    build.cluster.script.answer = answer_in_turn(fail("UNAVAILABLE", "connection reset"), succeed)
    assert build.run().digest == DIGEST
    assert len(build.cluster.script.solved) == 2
    assert "the pod still runs: reconnecting" in build.output
    assert "reconnected by direct; finished steps come from the pod's cache" in build.output


def test_output_on_the_way_to_standard_output_is_not_repeated(build: WholeBuild) -> None:
    build.options["outputs"] = (TypedAttributes(type="tar", attrs=(("dest", "-"),)),)
    build.cluster.script.answer = fail("UNAVAILABLE", "connection reset")
    with pytest.raises(BuildkitError, match=r"\(pod buildkit-amd64-0, by direct\)"):
        build.run()
    assert len(build.cluster.script.solved) == 1


def test_a_pod_that_ends_during_the_build_is_the_reason(build: WholeBuild) -> None:
    def evict(_: SolveRequest) -> dict[str, str]:
        build.cluster.set_status(
            "pods", "buildkit-amd64-0", {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
        )
        raise SolveFault("UNAVAILABLE", "connection reset")

    build.cluster.script.answer = evict
    with pytest.raises(PodLost, match="low on memory"):
        build.run(retries=0)
    assert len(build.cluster.script.solved) == 1


# Calls and findings.


def test_a_call_returns_the_frontends_answer(build: WholeBuild) -> None:
    build.options |= {"call": FrontendCall(method="targets"), "platforms": NODES}
    build.cluster.script.call = lambda _: {
        "result.txt": "TARGET\nbuild\n",
        "result.json": "{}",
        "result.statuscode": "3",
    }
    result = build.run()
    assert (result.answer, result.status, result.list_lines()) == ("TARGET\nbuild\n", 3, ["TARGET", "build"])
    (request,) = build.cluster.script.called
    assert request.frontend_attrs["requestid"] == "frontend.targets"
    assert request.frontend_attrs["platform"] == "linux/amd64", "only the first platform's answer counts"


def test_a_call_without_an_answer_is_an_error(build: WholeBuild) -> None:
    build.options["call"] = FrontendCall(method="outline")
    with pytest.raises(BuildkitError, match="buildkitd returned no result for the call outline"):
        build.run()


def test_warnings_of_buildkit_become_findings(build: WholeBuild) -> None:
    build.cluster.script.warnings = ("StageNameCasing: stage names should be in lower case",)
    build.env["BUILDX_METADATA_WARNINGS"] = "1"
    result = build.run()
    (finding,) = result.findings
    assert (finding.rule, finding.path) == ("StageNameCasing", build.folder / "Dockerfile")
    assert len(result.metadata["buildx.build.warnings"]) == 1
    assert len(build.reports[0].findings) == 1
