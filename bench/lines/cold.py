"""The Action on a new runner, which installs first: by pip, by uv, or from a bundle; and each package alone.

The variable BENCH_BEFORE may name another checkout of kube-builder, whose Action then takes part.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

from uv import find_uv_bin

from bench import measure
from bench.arena import Arena
from bench.ground import PLATFORM, PROJECT
from bench.measure import Run
from bench.series import Comparison, Contestant, Limit, alternate
from dev import release_bundle
from devcluster import toolchain

PIP, UV, BUNDLE, WARM = "pip", "uv", "bundle", "nothing to install"
PARTS = ("action", "ci_buildx", "requirements.lock")
"""What the runner checks out of the Action, as far as it is used: without any compiled module."""
MOST_FETCHED = 16.0
"""Limit in MB for what the first job fetches."""


def compare(arena: Arena) -> Iterator[Comparison]:
    """Compare the ways to install, then the packages."""
    folder = arena.ground.folder / "cold"
    programs = folder / "bin"
    programs.mkdir(parents=True)
    (programs / "python3").symlink_to(Path(sys.executable).resolve())
    (folder / "uv").mkdir()
    (folder / "uv" / "uv").symlink_to(find_uv_bin())
    yield _compare_installers(arena, folder)
    yield from _compare_packages(arena, folder)


def _compare_installers(arena: Arena, folder: Path) -> Comparison:
    context = arena.ground.example("cold-context")
    given = {"CONTEXT": str(context), "BUILDER": arena.kept, "PLATFORMS": PLATFORM}
    env = arena.ground.env | {f"INPUT_{name}": value for name, value in given.items()}
    env |= {"GITHUB_ACTIONS": "true", "GITHUB_REF_PROTECTED": "true", "PATH": f"{folder}/bin:/usr/bin:/bin"}
    with_uv = {"PATH": f"{folder}/uv:{env['PATH']}"}

    def start(checkout: Path, more: dict[str, str], _: int) -> Run:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            runner = Path(name)
            _check_out(checkout, runner / "action")
            command = [str(toolchain.node()), str(runner / "action" / "action" / "main.js")]
            return measure.run(command, env=env | {"RUNNER_TOOL_CACHE": name, "HOME": name} | more, cwd=context)

    runner = folder / "warm"
    _check_out(PROJECT, runner)

    def start_again(_: int) -> Run:
        command = [str(toolchain.node()), str(runner / "action" / "main.js")]
        return measure.run(command, env=env | {"RUNNER_TOOL_CACHE": str(runner)}, cwd=context)

    start_again(0)
    bundle = release_bundle.build_bundle(sys.executable, os.uname().machine, folder / "released")
    digest = hashlib.sha256(bundle.read_bytes()).hexdigest()
    with _serve(bundle.parent) as url:
        from_bundle = {"INPUT_BUNDLE": f"{url}/{bundle.name}@sha256:{digest}"}
        contestants = [Contestant(name=WARM, perform=start_again, warm=True)]
        for name, more in ((PIP, {}), (UV, with_uv), (BUNDLE, from_bundle)):
            contestants.append(Contestant(name=name, perform=partial(start, PROJECT, more)))
            if name != BUNDLE and (before := os.environ.get("BENCH_BEFORE")):
                contestants.append(Contestant(name=f"{name}, before", perform=partial(start, Path(before), more)))
        series = alternate(contestants, arena.count(5))
    return Comparison(
        title=f"the Action on a new runner, whole process, builder up; bundle of {bundle.stat().st_size / 1e6:.1f} MB",
        reference=WARM,
        series=series,
    )


def _check_out(checkout: Path, target: Path) -> None:
    for part in PARTS:
        source = checkout / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / part)


@contextmanager
def _serve(folder: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _compare_packages(arena: Arena, folder: Path) -> Iterator[Comparison]:
    """Install each package of a layer alone by pip, and all of them; the names tell their bytes."""
    later = frozenset(json.loads(release_bundle.LATER.read_text()))
    layers = release_bundle.split_lock(release_bundle.LOCK.read_text(), later)
    for title, entries in zip(("first layer", "second layer"), layers, strict=True):
        wheels = [_fetch(folder, entry) for entry in entries]
        named = {
            _describe(wheel): partial(_install, folder, [entry]) for wheel, entry in zip(wheels, entries, strict=True)
        }
        whole = f"all, {_sum(wheels)}"
        performers: dict[str, Callable[[int], Run]] = {whole: partial(_install, folder, entries), **named}
        contestants = [Contestant(name=name, perform=perform) for name, perform in performers.items()]
        fetched = sum(wheel.stat().st_size for wheel in wheels) / 1e6
        limits = (Limit(what="MB fetched", figure=fetched, most=MOST_FETCHED),) if entries is layers[0] else ()
        yield Comparison(
            title=f"pip alone, {title}: MB of wheels, MB and files unpacked",
            reference=whole,
            series=alternate(contestants, arena.count(3)),
            limits=limits,
        )


def _fetch(folder: Path, entry: str) -> Path:
    """Return the package's wheel for this interpreter."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        list_ = Path(name, "list.txt")
        list_.write_text(entry)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        options = ["--only-binary", ":all:", "--require-hashes", "--dest", name, "--requirement", str(list_)]
        subprocess.run([*pip, *options], check=True)
        (wheel,) = Path(name).glob("*.whl")
        return wheel.rename(folder / wheel.name)


def _install(folder: Path, entries: list[str], _: int) -> Run:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        list_ = Path(name, "list.txt")
        list_.write_text("".join(entries))
        pip = [str(Path(sys.executable).resolve()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        options = ["--no-compile", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-cache-dir"]
        return measure.run([*pip, *options, "--target", f"{name}/to", "--requirement", str(list_)], env=os.environ)


def _describe(wheel: Path) -> str:
    return f"{wheel.name.partition('-')[0]}, {_sum([wheel])}"


def _sum(wheels: list[Path]) -> str:
    infos = [info for wheel in wheels for info in ZipFile(wheel).infolist()]
    packed, unpacked = sum(wheel.stat().st_size for wheel in wheels), sum(info.file_size for info in infos)
    return f"{packed / 1e6:.2f}/{unpacked / 1e6:.1f} MB, {len(infos)}"
