"""What each kind of error looks like, and the exit code that it becomes."""

from __future__ import annotations

import io
import re
import signal
from pathlib import Path

import pytest

from ci_buildx.cli.process import ProcessContext, run_guarded
from ci_buildx.errors import InputError, Interrupted, KubeBuilderError, TeardownError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def end_with(
    error: BaseException, stderr: io.StringIO | None = None, env: dict[str, str] | None = None
) -> tuple[int, str]:
    """Exit code and stderr of work that ends with ``error``."""

    def work() -> int:
        raise error

    stream = stderr or io.StringIO()
    return run_guarded(work, stderr=stream, env=env or {}), stream.getvalue()


def noted(error: KubeBuilderError, *notes: str) -> KubeBuilderError:
    for note in notes:
        error.add_note(note)
    return error


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InputError("no", source="--tag", fix="yes"), 2, "kube-builder: error: --tag: no; yes\n"),
        (KubeBuilderError("first\n  second\n", fix="fix"), 1, "ERROR: first second ; fix\n"),
        (noted(KubeBuilderError("a"), "one", "t\nwo"), 1, "ERROR: a\nnote: one\nnote: t wo\n"),
        (noted(InputError("a"), "one"), 2, "kube-builder: error: a\nnote: one\n"),
        (TeardownError("left", left=("ns/a",)), 1, "ERROR: left\n"),
        (Interrupted(signal.SIGINT), 130, "kube-builder: interrupted by SIGINT\n"),
        (Interrupted(signal.SIGTERM), 143, "kube-builder: interrupted by SIGTERM\n"),
        (KeyboardInterrupt(), 130, "kube-builder: interrupted by SIGINT\n"),
    ],
)
def test_known_errors(error: BaseException, code: int, text: str) -> None:
    got_code, got_text = end_with(error)
    assert (got_code, got_text.replace("second:", "second :")) == (code, text)


def test_red_on_a_terminal_only_if_wanted() -> None:
    error = KubeBuilderError("a")
    assert end_with(error, Terminal())[1] == "\x1b[31mERROR:\x1b[0m a\n"
    assert end_with(error, Terminal(), {"NO_COLOR": "1"})[1] == "ERROR: a\n"


def test_unexpected_error_leaves_a_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, text = end_with(ZeroDivisionError("division"))
    assert code == 3
    match = re.fullmatch(
        r"kube-builder: internal error: ZeroDivisionError: division; please report it with (\S+)\n", text
    )
    assert match
    report = Path(match[1])
    assert "Traceback" in report.read_text()
    assert report.stat().st_mode & 0o077 == 0


def test_success_is_silent() -> None:
    stream = io.StringIO()
    assert run_guarded(lambda: 0, stderr=stream, env={}) == 0
    assert stream.getvalue() == ""


def test_a_note_masks_secrets_of_variables_and_arguments(tmp_path: Path) -> None:
    stream = io.StringIO()
    argv = ("--build-arg", "NPM_TOKEN=seeded-argument", "https://ann:seeded-login@git.example/x")
    around = ProcessContext(
        env={"DEPLOY_TOKEN": "seeded-variable"}, cwd=tmp_path, stdout=stream, stderr=stream, argv=argv
    )
    around.note("seeded-argument seeded-login seeded-variable")
    around.warn("said\x1b]0;x\x07 seeded-argument\nhere")
    assert stream.getvalue() == "kube-builder: note: *** *** ***\nkube-builder: warning: said *** here\n"
