"""What the log says of a pod that does not answer."""

import io

import pytest

from ci_buildx.progress import display
from ci_buildx.runtime.phases import SilenceReport
from ci_buildx.settings.values import ProgressMode


def said(*seconds: float) -> list[str]:
    stream = io.StringIO()
    shown = display.open_display(ProgressMode.PLAIN, stream, env={}, clock=lambda: 0.0)
    report = SilenceReport(shown, "buildkit-amd64-x")
    *before, last = seconds
    for each in before:
        report.note(each)
    report.close(last)
    report.note(100.0)
    shown.close()
    return [line.removeprefix("#1 0.000 ") for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("usual", [(0.0,), (0.5, 3.2, 0.1), (9.9, 0.0)])
def test_usual_silences_are_not_worth_a_line(usual: tuple[float, ...]) -> None:
    assert said(*usual) == []


def test_a_long_silence_is_reported_now_and_then_and_its_end_too() -> None:
    assert said(9.5, 12.0, 12.5, 20.0, 42.4, 60.0, 0.1, 3.0) == [
        "#1 [internal] waiting for pod buildkit-amd64-x",
        "no response from pod buildkit-amd64-x for 12 s; waiting",
        "no response from pod buildkit-amd64-x for 42 s; waiting",
        "pod buildkit-amd64-x responds again after 60 s",
        "#1 DONE 0.0s",
    ]


def test_a_silence_that_ends_with_the_build_is_said_to_have_ended() -> None:
    assert said(12.0, 50.0, 0.1)[-2:] == ["pod buildkit-amd64-x responds again after 50 s", "#1 DONE 0.0s"]
    assert "responds again" not in "".join(said(12.0, 50.0, 51.0))


def test_two_silences_are_two_steps() -> None:
    assert [line for line in said(11.0, 0.0, 11.0, 0.0) if "[internal]" in line] == [
        "#1 [internal] waiting for pod buildkit-amd64-x",
        "#2 [internal] waiting for pod buildkit-amd64-x",
    ]
