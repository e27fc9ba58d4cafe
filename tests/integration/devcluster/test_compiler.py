"""The real Go command on small modules of our own: what is shown, kept, and said if something fails."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import compiler, programs
from devcluster.errors import DevclusterError
from devcluster.programs import Recipe
from tests.unit.devcluster.file_server import serve_folder

PACKAGES = 12
RECIPE = Recipe(name="tool", module="tool", packages=(".",), links=("first", "second"))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of some packages, each of which imports the one before; the programs' cache is empty."""
    folder = tmp_path / "modules" / "tool"
    for number in range(PACKAGES):
        package = folder / f"p{number}"
        package.mkdir(parents=True)
        before = f'import before "own.example/tool/p{number - 1}"\n' if number else ""
        value = "before.Value() + 1" if number else "0"
        (package / "p.go").write_text(f"package p{number}\n{before}func Value() int {{ return {value} }}\n")
    (folder / "go.mod").write_text("module own.example/tool\n\ngo 1.26.0\n")
    last = PACKAGES - 1
    (folder / "main.go").write_text(
        f'package main\nimport "own.example/tool/p{last}"\nfunc main() {{ println(p{last}.Value()) }}\n'
    )
    monkeypatch.setattr(programs, "MODULES", tmp_path / "modules")
    monkeypatch.setattr(programs, "RECIPES", (RECIPE,))
    monkeypatch.setenv("KUBE_BUILDER_CACHE", str(tmp_path / "cache"))
    programs.folder.cache_clear()
    yield folder
    programs.folder.cache_clear()


def compile_tool() -> str:
    """Compile the recipe; return what was shown."""
    stream = io.StringIO()
    (programs.folder(RECIPE).parent).mkdir(parents=True, exist_ok=True)
    compiler.compile_recipes([RECIPE], stream=stream)
    return stream.getvalue()


def test_programs_run_under_all_their_names(module: Path) -> None:
    shown = compile_tool()
    for name in ("first", "second"):
        done = subprocess.run([programs.path(name)], capture_output=True, text=True, check=True)
        assert done.stderr == f"{PACKAGES - 1}\n"
    assert shown.splitlines()[-1].startswith("built tool in ")


def test_progress_counts_upwards_to_a_total(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "REPEAT", 0.001)
    lines = [line for line in compile_tool().splitlines() if line.startswith("programs: ")]
    assert lines[0] == "programs: 0 packages compiled, fetching modules"
    done, _, total, *rest = lines[-1].removeprefix("programs: ").split()
    assert int(done) <= int(total)
    assert rest[:2] == ["packages", "compiled"]
    counts = [int(line.split()[1]) for line in lines]
    assert counts == sorted(counts)
    assert int(total) > PACKAGES


def test_a_program_that_does_not_compile_is_named_after_the_compilers_words(module: Path) -> None:
    (module / "main.go").write_text("package main\nfunc main() { undefined() }\n")
    with pytest.raises(DevclusterError, match=r"undefined: undefined\ntool does not compile, see above$"):
        compile_tool()
    assert not programs.is_built("first")


def test_a_module_that_cannot_be_fetched_is_one_line(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "PAUSES", (0.0,))
    monkeypatch.setenv("GOPROXY", "https://someone:secret@127.0.0.1:9")
    monkeypatch.setenv("GONOSUMDB", "*")
    monkeypatch.setenv("GOMODCACHE", str(module.parent / "cache"))
    (module / "go.mod").write_text("module own.example/tool\n\ngo 1.26.0\n\nrequire example.org/absent v1.2.3\n")
    (module / "go.sum").write_text(
        f"example.org/absent v1.2.3 h1:{'A' * 43}=\nexample.org/absent v1.2.3/go.mod h1:{'A' * 43}=\n"
    )
    (module / "main.go").write_text('package main\nimport _ "example.org/absent"\nfunc main() {}\n')
    with pytest.raises(DevclusterError) as error:
        compile_tool()
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("tool: a Go module cannot be fetched: ")
    assert "connection refused" in text
    assert text.endswith("check the network and GOPROXY, then run this again: it goes on from here")
    assert "secret" not in text


ONE_RUN = """
import sys
from pathlib import Path
from devcluster import programs
programs.MODULES = Path(sys.argv[1])
programs.RECIPES = (programs.Recipe(name="tool", module="tool", packages=(".",), links=("first", "second")),)
programs.build(["tool"])
"""


def test_an_interrupted_compilation_goes_on(module: Path, tmp_path: Path) -> None:
    env = {**os.environ, "GOCACHE": str(tmp_path / "gocache"), "PYTHONPATH": str(Path(programs.__file__).parents[1])}
    command = [sys.executable, "-c", ONE_RUN, str(module.parent)]
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while len(list((tmp_path / "gocache").glob("??/*-d"))) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    assert not programs.is_built("first")
    kept = set((tmp_path / "gocache").glob("??/*-d"))
    assert len(kept) >= 5
    times = {path: path.stat().st_ino for path in kept}
    subprocess.run(command, env=env, capture_output=True, check=True)
    assert programs.is_built("first")
    assert all(path.stat().st_ino == number for path, number in times.items())


def test_archives_of_built_programs_replace_the_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """runc as it is released, from a local file server: it is the one that was built here."""
    programs.folder.cache_clear()
    runc = programs.path("runc").read_bytes()
    with serve_folder(tmp_path) as url:
        (tmp_path / "runc.amd64").write_bytes(runc)
        listed = tmp_path / "own.toml"
        listed.write_text(
            f'[[archive]]\nrecipe = "runc"\nurl = "{url}/runc.amd64"\nprograms = {{ runc = "." }}\n'
            f'digest = "sha256:{hashlib.sha256(runc).hexdigest()}"\n'
        )
        monkeypatch.setenv("KUBE_BUILDER_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("KUBE_BUILDER_ARCHIVES", str(listed))
        programs.folder.cache_clear()
        programs.build(["runc"])
        answer = subprocess.run([programs.path("runc"), "--version"], capture_output=True, text=True, check=True)
    programs.folder.cache_clear()
    assert answer.stdout.startswith("runc version ")
    assert capsys.readouterr().err == f"took runc from {url}/runc.amd64\n"
