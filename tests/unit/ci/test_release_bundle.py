"""Input `bundle`: packages of a release as one archive, known by its digest, from a local file server."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dev.release_bundle import compile_modules, pack_package, write_bundle
from tests.unit.ci.self_hosted import HOSTILE, Runner, make_runner
from tests.unit.planted import read_sprung

HERE = {"python": [*sys.version_info[:2]], "machine": os.uname().machine, "glibc": [2, 17], "version": "1.2.3"}
TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}-linux-{os.uname().machine}"


class FileServer(ThreadingHTTPServer):
    """A file server with the requests that it was sent, and a redirection that hosts of releases use."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        path = self.path.partition("?")[0]
        if path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/moved"))
            self.end_headers()
            return
        file = self.server.folder / path.strip("/")
        if not file.is_file():
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(file.read_bytes())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A runner without any package index."""
    made = make_runner(tmp_path)
    shutil.rmtree(tmp_path / "wheels")
    return made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    """A file server of releases."""
    folder = tmp_path / "released"
    folder.mkdir()
    with FileServer(folder) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def release(runner: Runner, server: FileServer, name: str = "b.zip", value: int = 43, **facts: Any) -> str:
    """Publish a bundle whose modules have a value of their own; its digest."""
    packages = runner.folder / "made" / "packages"
    shutil.rmtree(packages.parent, ignore_errors=True)
    (packages / "folder").mkdir(parents=True)
    (packages / "folder" / "__init__.py").touch()
    (packages / "small.py").write_text(f"VALUE = {value}\n")
    compile_modules(sys.executable, packages)
    later = runner.folder / "made" / "kubernetes.py"
    later.write_text(f"VALUE = {value}\n")
    pack_package(later, packages / "kubernetes.zip")
    write_bundle(packages, {**HERE, **facts}, runner.lock, server.folder / name)
    return "sha256:" + hashlib.sha256((server.folder / name).read_bytes()).hexdigest()


def test_a_bundle_takes_the_place_of_the_index(runner: Runner, server: FileServer) -> None:
    """Neither uv nor pip is needed, and nothing is fetched later."""
    digest = release(runner, server)
    env = {"INPUT_BUNDLE": f"{server.url}/moved/b.zip@{digest}\n", "IMPORTS": "kubernetes"}
    done = runner.start(**env)
    told = runner.told(done)
    assert (told["small"], told["more"]) == (43, [43])
    line, *_ = done.stdout.splitlines()
    assert line == f"kube-builder: unpacking b.zip into {runner.packages.parent}, once for this runner"
    assert done.stderr == ""
    assert server.asked == ["/moved/b.zip", "/b.zip"]
    compiled = [*(runner.packages / "__pycache__").iterdir()]
    assert [path.name for path in compiled] == [f"small.{sys.implementation.cache_tag}.pyc"]

    assert runner.start(**env).stdout.startswith("TOLD ")
    assert runner.start("action/post.js", STATE_builder="x", **env).stdout.startswith("TOLD ")
    assert len(server.asked) == 2


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_an_archive_of_the_runners_image(form: str, runner: Runner, server: FileServer) -> None:
    digest = release(runner, server)
    source = form.format(server.folder / "b.zip")
    assert runner.told(runner.start(INPUT_BUNDLE=f"{source}@{digest}"))["small"] == 43


def test_the_line_that_fits_the_interpreter_counts(runner: Runner, server: FileServer) -> None:
    digest = release(runner, server, f"kube-builder-1.2.3-{TAG}.zip")
    lines = [f"{server.url}/kube-builder-1.2.3-cp399-linux-x86_64.zip@sha256:{'0' * 64}"]
    lines += ["", f"  {server.url}/kube-builder-1.2.3-{TAG}.zip?token=x@{digest}"]
    assert runner.told(runner.start(INPUT_BUNDLE="\n".join(lines)))["small"] == 43
    assert server.asked == [f"/kube-builder-1.2.3-{TAG}.zip?token=x"]


def test_an_archive_with_another_digest_is_refused(runner: Runner, server: FileServer) -> None:
    digest = release(runner, server)
    wrong = "sha256:" + "0" * 64
    done = runner.start(INPUT_BUNDLE=f"{server.url}/b.zip@{wrong}")
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1] == (
        f"::error title=kube-builder::bundle b.zip: its digest is {digest}, not that of the input bundle; "
        "correct the digest or the archive"
    )
    assert not [*runner.folder.glob("tools/kube-builder/*")]


def test_another_jobs_bundle_is_not_used(runner: Runner, server: FileServer) -> None:
    """A digest belongs to the job that states it: what one has unpacked reaches no job with another or with none."""
    evil = release(runner, server, "evil.zip", value=666)
    assert runner.told(runner.start(INPUT_BUNDLE=f"{server.url}/evil.zip@{evil}"))["small"] == 666
    good = release(runner, server)
    assert runner.told(runner.start(INPUT_BUNDLE=f"{server.url}/b.zip@{good}"))["small"] == 43
    assert runner.start().returncode == 2  # there is no index


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"python": [3, 99]}, "is for Python 3.99 on "),
        ({"machine": "riscv64"}, " on riscv64; this is Python 3."),
        ({"glibc": [9, 0]}, "needs glibc 9.0"),
    ],
)
def test_a_bundle_that_does_not_fit_gives_way_to_the_index(
    facts: dict[str, Any], why: str, tmp_path: Path, server: FileServer
) -> None:
    runner = make_runner(tmp_path)
    digest = release(runner, server, **facts)
    done = runner.start(INPUT_BUNDLE=f"{server.url}/b.zip@{digest}")
    assert runner.told(done)["small"] == 42
    assert why in done.stdout
    assert "; the packages come from the package index\n" in done.stdout


def test_a_bundle_of_another_lock_gives_way_to_the_index(tmp_path: Path, server: FileServer) -> None:
    runner = make_runner(tmp_path)
    digest = release(runner, server)
    runner.lock.write_text(runner.lock.read_text() + "# another\n")
    done = runner.start(INPUT_BUNDLE=f"{server.url}/b.zip@{digest}")
    assert runner.told(done)["small"] == 42
    assert "bundle b.zip: is that of kube-builder 1.2.3, whose locked packages are others; the packages" in done.stdout


def test_a_server_that_does_not_have_it_gives_way_to_the_index(tmp_path: Path, server: FileServer) -> None:
    runner = make_runner(tmp_path)
    done = runner.start(INPUT_BUNDLE=f"{server.url}/gone.zip?token=hunter2@sha256:{'0' * 64}")
    assert runner.told(done)["small"] == 42
    assert "bundle gone.zip: cannot be read: Not Found; the packages come from the package index" in done.stdout
    assert "?token" not in done.stdout + done.stderr
    assert server.asked == ["/gone.zip?token=hunter2"]


def test_an_archive_without_packages_is_refused(runner: Runner, server: FileServer) -> None:
    (server.folder / "b.zip").write_text("PK? No.")
    digest = hashlib.sha256(b"PK? No.").hexdigest()
    done = runner.start(INPUT_BUNDLE=f"{server.url}/b.zip@sha256:{digest}")
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].endswith("bundle b.zip: is not a bundle of kube-builder")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://h.example/b.zip", "each line must be a URL or an absolute path, @sha256: and 64 hexadecimal digits"),
        ("ghp_hunter2", "each line must be a URL"),
        ("b.zip@sha256:" + "0" * 64, "must be named by an absolute path or by an http, https or file URL"),
        ("https://u:hunter2@h.example/b.zip@sha256:" + "0" * 64, "without user and password"),
        ("ftp://h.example/b.zip@sha256:" + "0" * 64, "must be named by"),
    ],
)
def test_other_texts_are_refused_and_not_shown(text: str, why: str, runner: Runner) -> None:
    done = runner.start(INPUT_BUNDLE=text)
    assert done.returncode == 2
    assert "::error title=kube-builder::input bundle: " in done.stdout
    assert why in done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    assert "h.example" not in done.stdout


def test_nothing_of_the_workspace_is_read_or_run_for_it(runner: Runner, server: FileServer) -> None:
    digest = release(runner, server)
    hostile = {name: value.format(w=runner.workspace) for name, value in HOSTILE.items()}
    assert runner.told(runner.start(**hostile, INPUT_BUNDLE=f"{server.url}/b.zip@{digest}"))["small"] == 43
    assert read_sprung(runner.workspace) == []


def test_the_same_packages_make_the_same_archive(runner: Runner, server: FileServer) -> None:
    assert release(runner, server) == release(runner, server)
