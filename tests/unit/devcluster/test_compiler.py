import io
import time

import pytest

from devcluster import compiler
from devcluster.programs import find_recipe


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stream = io.StringIO()
    line = compiler.ProgressLine(stream)
    for now in (1.0, 29.0, 31.0, 32.0, 62.0):
        line.show(f"at {now:.0f}")
    line.say("built runc in 5 s")
    assert stream.getvalue().splitlines() == ["programs: at 31", "programs: at 62", "built runc in 5 s"]


def test_a_terminal_has_its_line_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stream = Terminal()
    line = compiler.ProgressLine(stream)
    for now in (1.0, 2.0):
        line.show(f"at {now:.0f}")
    line.say("built runc in 5 s")
    assert stream.getvalue() == ("\r\033[Kprograms: at 1\r\033[Kprograms: at 2\r\033[Kbuilt runc in 5 s\n")


FETCHES = (
    'main.go:4:2: k8s.io/api@v0.34.2: Get "https://me:pass@proxy.example/k8s.io/api": dial tcp: lookup proxy.example',
    "go: example.org/one@v1.0.0: verifying module: checksum mismatch",
    "go: example.org/one@v1.0.0: reading https://proxy.example/one/@v/v1.0.0.mod: 404 Not Found",
)


@pytest.mark.parametrize("said", FETCHES)
def test_a_failed_fetch_is_one_line_without_a_login(said: str) -> None:
    text = compiler.explain("runc", ["go: downloading k8s.io/api v0.34.2", said, said])
    assert text.startswith("runc: a Go module cannot be fetched: ")
    assert text.endswith("then run this again: it goes on from here")
    assert "pass" not in text
    assert "\n" not in text


def test_a_compilers_words_come_before_the_error() -> None:
    lines = [
        "go: downloading k8s.io/api v0.34.2",
        "# k8s.io/kubernetes/pkg/proxy",
        "pkg/proxy/lookup.go:1: bad",
        *(f"one.go:{n}: bad" for n in range(20)),
    ]
    shown = compiler.explain("runc", lines).splitlines()
    assert shown[-1] == "runc does not compile, see above"
    assert shown[:-1] == lines[-compiler.LINES :]
    assert compiler.explain("runc", []) == "runc: the Go command was ended"


def test_a_users_own_settings_of_go_win(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = find_recipe("runc")
    monkeypatch.delenv("GOGC", raising=False)
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    made = compiler.make_environment(recipe)
    assert (made["GOGC"], made["CGO_ENABLED"], made["GOFLAGS"]) == ("off", "1", "")
    assert int(made["GOMEMLIMIT"].removesuffix("B")) > 0
    monkeypatch.setenv("GOGC", "50")
    assert compiler.make_environment(recipe)["GOGC"] == "50"
