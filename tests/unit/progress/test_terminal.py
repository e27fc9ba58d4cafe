import io
from collections.abc import Mapping

from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.renderer import RendererUpdate, TextOutlet
from ci_buildx.progress.terminal import TerminalDisplay
from tests.unit.progress.recorded import BUILD, RUN, T0, log, logs, vertex, vertexes


class Screen:
    """A terminal whose size can change while a build is shown."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self.stream = io.StringIO()
        self.size = (60, 24)
        self.graph = StepGraph()
        self.terminal = TerminalDisplay(
            TextOutlet(self.stream),
            self.graph,
            env=env or {"TERM": "xterm"},
            size=lambda: self.size,
        )

    def play(self, count: int = len(BUILD)) -> None:
        for seconds, status in BUILD[:count]:
            changes = self.graph.update(status, node="", now=T0 + seconds)
            self.terminal.take(RendererUpdate(status=status, changes=changes, now=T0 + seconds))

    def refreshed(self, seconds: float) -> str:
        self.stream.seek(0)
        self.stream.truncate()
        self.terminal.refresh(T0 + seconds)
        return self.stream.getvalue()


def test_a_frame_is_drawn_over_the_last_one() -> None:
    screen = Screen()
    screen.play(8)
    assert "\x1b[7A" not in screen.refreshed(1.8)
    again = screen.refreshed(1.9)
    assert again.startswith("\x1b[?2026h\x1b[?25l\r\x1b[7A[+] Building 1.9s (2/4)")
    assert again.endswith("\x1b[J\x1b[?2026l")
    assert again.count("\x1b[K\n") == 7


def test_a_narrower_terminal_has_wrapped_the_last_frame() -> None:
    screen = Screen()
    screen.play(8)
    screen.refreshed(1.8)
    screen.size = (30, 24)
    assert "\r\x1b[11A" in screen.refreshed(1.9)


def test_nothing_is_drawn_before_anything_happened() -> None:
    assert Screen().refreshed(1.0) == ""


def test_the_end_shows_all_and_gives_the_cursor_back() -> None:
    screen = Screen()
    screen.size = (60, 3)
    screen.play()
    screen.terminal.close(screen.graph, T0 + 3, excerpt="")
    text = screen.stream.getvalue()
    assert "(4/4) FINISHED" in text
    assert "\x1b[?25h" in text
    assert " 1 warning found:" in text


def test_colours_can_be_declined() -> None:
    for env, expected in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
        screen = Screen(env)
        screen.play()
        assert ("\x1b[34m" in screen.refreshed(3.0)) is expected


def test_a_warning_scrolls_away_above_the_frame() -> None:
    screen = Screen()
    screen.play(8)
    screen.refreshed(1.8)
    screen.terminal.warn("no quota")
    text = screen.stream.getvalue()
    assert text.index("WARNING: no quota") < text.rindex("[+] Building")


def test_the_window_of_output_can_be_higher() -> None:
    screen = Screen({"TERM": "xterm", "BUILDKIT_TTY_LOG_LINES": "9"})
    screen.play(6)
    screen.graph.update(vertexes(vertex("c", RUN, 0.8)), node="", now=T0 + 1)
    screen.graph.update(logs(log("c", 1.0, "text\n" * 20)), node="", now=T0 + 1)
    assert screen.refreshed(1.0).count(" => => # text") == 9
