import io

from ci_buildx.model.status import StatusUpdate
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.plain import PlainLog
from ci_buildx.progress.renderer import RendererUpdate, TextOutlet
from tests.unit.progress.recorded import BUILD, COPY, RUN, T0, failed, log, logs, transfer, vertex, vertexes


class Player:
    """Plays a status stream to a plain display; time passes as the stream says."""

    def __init__(self, **options: object) -> None:
        self.stream = io.StringIO()
        self.graph = StepGraph()
        self.plain = PlainLog(TextOutlet(self.stream), **options)  # type: ignore[arg-type]

    def play(self, *updates: tuple[float, StatusUpdate]) -> None:
        for seconds, status in updates:
            changes = self.graph.update(status, node="", now=T0 + seconds)
            self.plain.take(RendererUpdate(status=status, changes=changes, now=T0 + seconds))

    def taken(self) -> list[str]:
        """The lines since the last call."""
        lines = self.stream.getvalue().splitlines()
        self.stream.seek(0)
        self.stream.truncate()
        return lines


def test_a_whole_build() -> None:
    player = Player()
    player.play(*BUILD)
    player.plain.close(player.graph, T0 + 3, excerpt="")
    assert player.taken() == [
        "#1 [internal] load build definition from Dockerfile",
        "#1 transferring dockerfile: 2.10MB 0.3s done",
        "#1 DONE 0.5s",
        "",
        "#2 [1/3] FROM docker.io/library/alpine:3@sha256:aa",
        "#2 CACHED",
        "",
        "#3 [2/3] RUN make",
        "#3 0.123 compiling",
        "#3 0.123 linking",
        "#3 DONE 1.2s",
        "",
        "#4 [3/3] COPY a b",
        "#4 WARN: JSONArgsRecommended: JSON arguments recommended for CMD (line 4)",
        "#4 DONE 0.1s",
        "",
        " 1 warning found:",
        " - Dockerfile:4: JSONArgsRecommended: JSON arguments recommended for CMD",
        "   Exec form keeps signals intact",
        "   More info: https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",
        "",
    ]


def test_a_failed_step_is_shown_again_with_the_end_of_its_output() -> None:
    player = Player()
    output = "".join(f"line {number}\n" for number in range(12))
    player.play((0.0, vertexes(vertex("c", RUN, 0.0))), (1.0, logs(log("c", 1.0, output))))
    player.play(
        (2.0, vertexes(failed("c", RUN, 0.0, 2.0, "exit code: 2"), failed("d", COPY, 0.0, 2.0, "context canceled")))
    )
    player.plain.close(player.graph, T0 + 2, excerpt="Dockerfile:2\n >>> RUN make\n")
    lines = player.taken()
    assert "#1 ERROR: exit code: 2" in lines
    assert "#2 CANCELED" in lines
    assert lines[lines.index("------") :] == [
        "------",
        " > [2/3] RUN make:",
        *(f"1.000 line {number}" for number in range(2, 12)),
        "------",
        "Dockerfile:2",
        " >>> RUN make",
    ]


def test_a_talking_step_stays_in_front_for_a_while() -> None:
    player = Player()
    player.play((0.0, vertexes(vertex("c", RUN, 0.0), vertex("d", COPY, 0.0))), (0.2, logs(log("c", 0.2, "c\n"))))
    player.taken()
    player.play((0.4, logs(log("d", 0.4, "d\n"))), (0.6, logs(log("c", 0.6, "c\n"))))
    assert player.taken() == ["#1 0.600 c"]
    player.play((20.0, logs(log("d", 20.0, "d\n"))))
    assert player.taken() == ["#1 ...", "", "#2 [3/3] COPY a b", "#2 0.400 d", "#2 20.00 d"]


def test_silence_does_not_hide_what_another_step_said() -> None:
    player = Player()
    player.play((0.0, vertexes(vertex("c", RUN, 0.0), vertex("d", COPY, 0.0))), (0.2, logs(log("d", 0.2, "d\n"))))
    player.taken()
    player.plain.refresh(T0 + 30)
    assert "#2 0.200 d" in player.taken()


def test_bursts_wait_for_the_next_refresh() -> None:
    player = Player()
    player.play((0.0, vertexes(vertex("c", RUN, 0.0))), (0.01, logs(log("c", 0.01, "one\n"))))
    assert player.taken() == ["#1 [2/3] RUN make"]
    player.plain.refresh(T0 + 0.15)
    assert player.taken() == ["#1 0.010 one"]


def test_progress_is_repeated_only_if_it_moved() -> None:
    player = Player()
    player.play((0.0, vertexes(vertex("c", RUN, 0.0))))
    player.taken()
    for seconds, current in ((1.0, 10), (1.2, 11), (1.4, 60), (7.0, 61)):
        player.play((seconds, StatusUpdate(statuses=(transfer("c", "sha256:aa", current, seconds, total=100),))))
    assert player.taken() == [
        "#1 sha256:aa 10B / 100B 1.0s",
        "#1 sha256:aa 60B / 100B 1.4s",
        "#1 sha256:aa 61B / 100B 7.0s",
    ]


def test_every_line_of_an_error_is_numbered() -> None:
    player = Player()
    player.play((1.0, vertexes(failed("c", RUN, 0.0, 1.0, "one\n::set-output"))))
    assert player.taken()[-2:] == ["#1 ERROR: one", "#1 ::set-output"]


def test_a_warning_stands_between_the_steps() -> None:
    player = Player()
    player.play((0.0, vertexes(vertex("c", RUN, 0.0))))
    player.plain.warn("no quota")
    player.plain.refresh(T0 + 1)
    assert player.taken() == ["#1 [2/3] RUN make", "#1 ...", "WARNING: no quota", "", "#1 [2/3] RUN make"]


def test_interrupted_steps_show_what_they_said() -> None:
    player = Player()
    player.play((0.0, vertexes(vertex("c", RUN, 0.0), vertex("d", COPY, 0.0))))
    player.play((0.05, logs(log("c", 0.0, "waiting for c"), log("d", 0.0, "waiting for d"))))
    player.plain.close(player.graph, T0 + 1, excerpt="")
    assert {"#1 0.000 waiting for c", "#2 0.000 waiting for d"} <= set(player.taken())


def test_long_names_are_shortened_on_request() -> None:
    player = Player(truncate=True)
    player.play((0.0, vertexes(vertex("c", "x" * 80, 0.0))))
    assert player.taken() == [f"#1 {'x' * 72}..."]


def test_a_step_that_runs_again_at_once_is_one_block() -> None:
    """BuildKit ends the context and an image first when it knows their digest, and again when it has them."""
    player = Player()
    player.play((0.0, vertexes(vertex("c", COPY, 0.0, 0.1))))
    player.plain.close(player.graph, T0 + 1, excerpt="")
    assert player.taken() == ["#1 [3/3] COPY a b", "#1 DONE 0.1s"], "the first lines come at once"
    player = Player()
    player.play((0.0, vertexes(vertex("c", RUN, 0.0, 0.0, cached=True))))
    player.play((0.2, vertexes(vertex("d", COPY, 0.2, 0.2))))
    assert "#2 [3/3] COPY a b" not in player.taken()
    player.play((0.4, vertexes(vertex("d", COPY, 0.4))), (0.6, vertexes(vertex("d", COPY, 0.4, 0.6))))
    player.plain.refresh(T0 + 1.2)
    assert player.taken() == ["", "#2 [3/3] COPY a b", "#2 DONE 0.2s"]


def test_ended_steps_do_not_interrupt_a_step_that_prints() -> None:
    player = Player()
    player.play((0.0, vertexes(vertex("c", RUN, 0.0))), (0.2, logs(log("c", 0.2, "c\n"))))
    player.taken()
    for tenth in range(4, 24, 2):
        ended = vertex(f"d{tenth}", f"[d] {tenth}", tenth / 10, tenth / 10, cached=True)
        player.play((tenth / 10, vertexes(ended)), (tenth / 10 + 0.11, logs(log("c", tenth / 10, "c\n"))))
    lines = player.taken()
    assert lines.count("#1 [2/3] RUN make") <= 1
    player.plain.close(player.graph, T0 + 3, excerpt="")
    assert sum(line.endswith("CACHED") for line in [*lines, *player.taken()]) == 10


def test_a_step_that_prints_nothing_is_shown_in_silence() -> None:
    player = Player()
    player.play((0.0, vertexes(vertex("a", RUN, 0.0, 0.0, cached=True))), (0.2, vertexes(vertex("c", COPY, 0.2))))
    player.taken()
    player.plain.refresh(T0 + 0.5)
    assert player.taken() == []
    player.plain.refresh(T0 + 1.1)
    assert player.taken() == ["", "#2 [3/3] COPY a b"]
