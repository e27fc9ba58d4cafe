"""The log of GitHub Actions: what is folded, and that nothing a step writes is a command."""

from __future__ import annotations

import io

from ci_buildx.model.status import StatusUpdate, VertexLog
from ci_buildx.progress.ci_logs import GitHubLog
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.renderer import RendererUpdate, TextOutlet
from tests.unit.progress.recorded import BUILD, RUN, T0, failed, log, logs, vertex, vertexes


def play(*updates: tuple[float, StatusUpdate], warn: str = "", excerpt: str = "") -> list[str]:
    stream, graph = io.StringIO(), StepGraph()
    folded = GitHubLog(TextOutlet(stream))
    for seconds, status in updates:
        now = T0 + seconds
        folded.take(RendererUpdate(status=status, changes=graph.update(status, node="", now=now), now=now))
    if warn:
        folded.warn(warn)
    folded.close(graph, T0 + 9, excerpt=excerpt)
    return stream.getvalue().splitlines()


def test_a_whole_build() -> None:
    log = play(*BUILD)
    assert log[: log.index(" 1 warning found:") - 1] == [
        "::group::#1 [internal] load build definition from Dockerfile DONE 0.5s",
        "#1 transferring dockerfile: 2.10MB 0.3s done",
        "::endgroup::",
        "#2 [1/3] FROM docker.io/library/alpine:3@sha256:aa CACHED",
        "::group::#3 [2/3] RUN make",
        "#3 0.123 compiling",
        "#3 0.123 linking",
        "#3 DONE 1.2s",
        "::endgroup::",
        "::group::#4 [3/3] COPY a b DONE 0.1s",
        "#4 WARN: JSONArgsRecommended: JSON arguments recommended for CMD (line 4)",
        "::endgroup::",
    ]


def test_a_fold_is_closed_before_a_warning() -> None:
    log = play((0.0, vertexes(vertex("c", RUN, 0.0))), (0.5, logs(log_of("a line\n"))), warn="100 % odd\r::x")
    fold = ["::group::#1 [2/3] RUN make", "#1 0.400 a line", "::endgroup::"]
    assert log[:4] == [*fold, "::warning title=kube-builder::100 %25 odd::x"]
    assert log.count("::endgroup::") == sum(line.startswith("::group::") for line in log)


def test_what_a_step_writes_is_no_command() -> None:
    """``::name::`` counts at the beginning of a line only, ``##[name]`` anywhere."""
    written = "::set-output name=digest::forged\n##[save-state name=builder]kube-system\na\r::set-output name=x::y\n"
    named = "[2/3] RUN echo ##[error]x"
    log = play(
        (0.0, vertexes(vertex("c", named, 0.0))),
        (0.5, logs(log_of(written))),
        (0.9, vertexes(failed("c", named, 0.0, 0.9, "exit ##[error]y\n::error::y\r ::z::"))),
        excerpt="  ::stop-commands::x\n   1 | >>> RUN x\n",
    )
    assert "  : :stop-commands::x" in log
    commands = [line.strip() for line in log if line.lstrip().startswith("::")]
    assert [line for line in commands if not line.startswith(("::group::#1", "::endgroup::"))] == []
    assert not any("##[" in line for line in log)


def log_of(text: str) -> VertexLog:
    return log("c", 0.4, text)
