import io
import json
import os
import pty
import threading

import pytest

from ci_buildx.errors import InputError, Interrupted, SolveError
from ci_buildx.progress import display
from ci_buildx.progress.display import BuildDisplay
from ci_buildx.progress.plain import BUILDING, CONNECTING
from ci_buildx.settings.values import ProgressMode
from tests.unit.progress.recorded import RUN, T0, failed, log, logs, vertex, vertexes


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        return self.now


class Pipe(io.StringIO):
    """A stream whose reader went away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def opened(mode: ProgressMode, stream: io.StringIO, clock: Clock | None = None) -> BuildDisplay:
    return display.open_display(mode, stream, env={}, clock=clock or Clock())


def test_a_phase_looks_like_a_step_of_the_builder() -> None:
    stream, clock = io.StringIO(), Clock()
    shown = opened(ProgressMode.PLAIN, stream, clock)
    with shown.begin_phase("booting builder", "2 pods") as phase:
        clock.now += 1.5
        phase.add_output("pod b-0 is scheduled")
        clock.now += 1.5
    shown.close()
    assert stream.getvalue().splitlines() == [
        "#1 [internal] booting builder",
        "#1 0.000 2 pods",
        "#1 1.500 pod b-0 is scheduled",
        "#1 DONE 3.0s",
    ]


def test_phases_that_follow_each_other_have_no_blank_line_between_them() -> None:
    stream, clock = io.StringIO(), Clock()
    shown = opened(ProgressMode.PLAIN, stream, clock)
    for name in ("creating builder b", "booting builder"):
        shown.note(name, "done")
        clock.now += 1
    shown.update(vertexes(vertex("a", "[1/1] FROM busybox", 2.0, 2.0)))
    shown.note("removing builder b", "done")
    shown.close()
    assert [line.split()[-1] if line else "" for line in stream.getvalue().splitlines()] == [
        *("b", "done", "0.0s", "builder", "done", "0.0s", ""),
        *("busybox", "0.0s", ""),
        *("b", "done", "0.0s"),
    ]


def test_a_blank_line_follows_a_warning() -> None:
    stream, clock = io.StringIO(), Clock()
    shown = opened(ProgressMode.PLAIN, stream, clock)
    shown.note("creating builder b", "done")
    shown.warn("no quota")
    with shown.begin_phase("booting builder", "waits"):
        clock.now += 1
        shown.refresh()
        shown.warn("no quota either")
        shown.note("pod", "found")
    shown.close()
    lines = stream.getvalue().splitlines()
    assert lines[lines.index("WARNING: no quota") + 1] == ""
    assert lines[lines.index("WARNING: no quota either") + 1] == ""
    assert lines[lines.index("#2 ...") + 1] == "WARNING: no quota either"


@pytest.mark.parametrize("mode", [ProgressMode.AUTO, ProgressMode.PLAIN, ProgressMode.GITHUB, ProgressMode.GITLAB])
@pytest.mark.parametrize(
    ("heading", "line"),
    [(BUILDING, '#0 building with "a{b}" instance using kubernetes driver'), (CONNECTING, "#0 builder: a{b}")],
)
def test_the_first_line_of_a_log_names_the_builder(mode: ProgressMode, heading: str, line: str) -> None:
    stream = io.StringIO()
    shown = display.open_display(mode, stream, env={}, clock=Clock(), builder="a{b}", heading=heading)
    with shown.begin_phase("booting builder"):
        pass
    shown.close()
    assert stream.getvalue().startswith(f"{line}\n\n")


def test_a_phase_that_has_ended_is_drawn_at_once_on_request() -> None:
    """What another program writes then follows it."""
    stream = io.StringIO()
    shown = opened(ProgressMode.PLAIN, stream)
    with shown.begin_phase("booting builder"):
        pass
    shown.refresh()
    assert stream.getvalue().splitlines() == ["#1 [internal] booting builder", "#1 DONE 0.0s"]
    shown.close()
    shown.refresh()
    assert stream.getvalue().count("DONE") == 1


@pytest.mark.parametrize("mode", [ProgressMode.PLAIN, ProgressMode.RAWJSON, ProgressMode.GITHUB, ProgressMode.GITLAB])
def test_a_secret_argument_is_in_no_steps_name(mode: ProgressMode) -> None:
    stream = io.StringIO()
    shown = display.open_display(mode, stream, env={}, clock=Clock(), hidden=("hunter2-hunter2",))
    shown.update(vertexes(failed("c", "RUN curl -H hunter2-hunter2", 0.0, 0.5, "process hunter2-hunter2 failed")))
    title = shown.report("app").summary.steps[0].name
    shown.close()
    assert title == "RUN curl -H ***"
    assert "RUN curl -H ***" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize("mode", [ProgressMode.PLAIN, ProgressMode.RAWJSON, ProgressMode.GITHUB, ProgressMode.GITLAB])
def test_a_login_in_a_url_is_in_no_steps_name(mode: ProgressMode) -> None:
    stream = io.StringIO()
    shown = display.open_display(mode, stream, env={}, clock=Clock())
    named = "[internal] load git source https://ann:hunter2@x@git.example/app.git"
    shown.update(vertexes(failed("c", named, 0.0, 0.5, "fetching https://ann:hunter2@git.example failed")))
    title = shown.report("app").summary.steps[0].name
    shown.close()
    assert title == "[internal] load git source https://***@git.example/app.git"
    assert "hunter2" not in stream.getvalue()


def test_a_fact_is_a_phase_that_ends_at_once() -> None:
    stream = io.StringIO()
    shown = opened(ProgressMode.PLAIN, stream)
    shown.note("plan", "linux/amd64 on one node")
    shown.close()
    assert "#1 0.000 linux/amd64 on one node\n#1 DONE 0.0s\n" in stream.getvalue()


@pytest.mark.parametrize(
    ("error", "expected"), [(ValueError("no node\nmore"), "ERROR: no node"), (Interrupted(15), "CANCELED")]
)
def test_a_phase_ends_with_what_ended_it(error: BaseException, expected: str) -> None:
    stream = io.StringIO()
    shown = opened(ProgressMode.PLAIN, stream)
    with pytest.raises(type(error)), shown.begin_phase("booting builder"):
        raise error
    shown.close()
    assert f"#1 {expected}\n" in stream.getvalue()


def test_names_carry_the_node_unless_they_carry_a_platform() -> None:
    stream = io.StringIO()
    shown = opened(ProgressMode.RAWJSON, stream)
    names = ["[internal] load metadata", "[linux/arm64 1/2] FROM x", "exporting to image"]
    shown.update(vertexes(*(vertex(name, name, 0.0) for name in names)), "b-arm64")
    shown.close()
    assert [one["name"] for one in json.loads(stream.getvalue())["vertexes"]] == [
        "[b-arm64 internal] load metadata",
        "[linux/arm64 1/2] FROM x",
        "[b-arm64] exporting to image",
    ]


@pytest.mark.parametrize(
    ("mode", "expected"), [(ProgressMode.PLAIN, True), (ProgressMode.QUIET, True), (ProgressMode.RAWJSON, False)]
)
def test_the_excerpt_is_for_people(mode: ProgressMode, expected: bool) -> None:
    stream = io.StringIO()
    opened(mode, stream).close(SolveError("failed", excerpt="Dockerfile:1\n"))
    assert ("Dockerfile:1" in stream.getvalue()) is expected


def test_quiet_shows_warnings_alone() -> None:
    stream = io.StringIO()
    shown = opened(ProgressMode.QUIET, stream)
    shown.note("plan", "one node")
    shown.warn("no quota")
    shown.close()
    assert stream.getvalue() == "WARNING: no quota\n"


def test_tty_wants_a_terminal() -> None:
    with pytest.raises(InputError, match="progress=tty: the output is not a terminal; use plain or auto"):
        opened(ProgressMode.TTY, io.StringIO())


def test_auto_finds_a_terminal() -> None:
    master, slave = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as screen, os.fdopen(slave, "w") as stream:
        shown = display.open_display(ProgressMode.AUTO, stream, env={"TERM": "xterm"})
        shown.note("plan", "one node")
        shown.close()
        assert b"[+] Building 0." in screen.read(4096)


def test_a_reader_that_went_away_does_not_fail_the_build() -> None:
    shown = opened(ProgressMode.PLAIN, Pipe())
    shown.note("plan", "one node")
    shown.close()


def test_characters_that_the_stream_lacks_are_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    shown = display.open_display(ProgressMode.PLAIN, stream, env={}, clock=Clock())
    shown.note("plan", "日")
    shown.close()
    assert rb"#1 0.000 \u65e5" in raw.getvalue()


def test_close_is_final() -> None:
    stream = io.StringIO()
    shown = opened(ProgressMode.PLAIN, stream)
    shown.close()
    shown.close(SolveError("failed", excerpt="Dockerfile:1\n"))
    assert stream.getvalue() == ""


def test_several_nodes_at_once() -> None:
    stream = io.StringIO()
    shown = opened(ProgressMode.PLAIN, stream)

    def build(node: str) -> None:
        shown.update(vertexes(vertex("c", RUN, 0.0)), node)
        for number in range(200):
            shown.update(logs(log("c", 0.0, f"{node} {number}\n")), node)
        shown.update(vertexes(vertex("c", RUN, 0.0, 1.0)), node)

    threads = [threading.Thread(target=build, args=(f"node{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown.close()
    for node in range(4):
        spoken = [line for line in stream.getvalue().splitlines() if f" node{node} " in line and " 0.000 " in line]
        assert [int(line.rpartition(" ")[2]) for line in spoken] == list(range(200))
    assert [step.seconds for step in shown.report("x").summary.steps] == [1.0] * 4


def test_what_runs_when_the_build_is_stopped_is_shown_as_stopped() -> None:
    stream = io.StringIO()
    shown = opened(ProgressMode.PLAIN, stream)
    shown.update(vertexes(vertex("sha256:a", RUN, 0.0)))
    with shown.begin_phase("booting builder"):
        pass
    shown.cancel()
    shown.close()
    assert "CANCELED" in stream.getvalue()
    assert "booting builder\n#2 DONE" in stream.getvalue()


def test_a_failure_that_is_made_good_is_not_told_of_at_the_end() -> None:
    stream = io.StringIO()
    shown = opened(ProgressMode.PLAIN, stream)
    shown.update(vertexes(failed("sha256:a", RUN, 0.0, 1.0, "blob unknown")), "amd64")
    shown.update(vertexes(failed("sha256:b", "[3/3] COPY a b", 0.0, 1.0, "gone")), "arm64")
    shown.forgive("amd64")
    shown.close()
    end = stream.getvalue().rpartition("ERROR")[2]
    assert "RUN make" not in end
    assert "COPY a b" in end
