"""The tests of docker buildx, built from Go's module cache, and the Dockerfile frontend of the same BuildKit.

Nothing of docker buildx is stored here. Its tests are built with `integration_test.go.in` in place of its file of that
name, which would start daemons.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from devcluster import cache, toolchain

HERE = Path(__file__).parent
MODULE = "github.com/docker/buildx"
FRONTEND = "./frontend/dockerfile/cmd/dockerfile-frontend"
_LIST = re.compile(r"^var (\w+Tests) = \[\]func\(t \*testing\.T, sb integration\.Sandbox\)\{\n(.*?)^\}", re.M | re.S)
_SCRUBBED = ("GITHUB_", "GITLAB_", "CI_", "BUILDX_", "KUBE_BUILDER_", "DOCKER_", "BUILDKIT_", "ACTIONS_")
"""Prefixes of variables that the tests must not inherit."""


@dataclass(frozen=True, kw_only=True)
class SuitePrograms:
    """The built tests, the frontend, and the names of the tests by file."""

    tests: Path
    frontend: Path
    catalogue: dict[str, list[str]]


def build_suite(version: str) -> SuitePrograms:
    """Build the tests of this version of docker buildx, once."""
    go = toolchain.go()
    template = (HERE / "integration_test.go.in").read_text()
    digest = hashlib.sha256(f"{version}\0{toolchain.version(go)}\0{template}".encode()).hexdigest()[:16]
    folder = cache.folder() / "suite" / f"{version}-{digest}"
    source = folder / "source"
    tests, frontend = folder / "tests.test", folder / "dockerfile-frontend"
    if not (tests.exists() and frontend.exists()):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copytree(download_module(version, folder), source, copy_function=shutil.copyfile)
        for path in [source, *source.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        lists = "\n".join(f"\t\t{name}," for name, _ in sorted(find_tests(source / "tests").values()))
        (source / "tests" / "integration_test.go").write_text(template.replace("@LISTS@", lists))
        report("building the tests of docker buildx, once")
        flags = ("-trimpath", "-o")
        run_command("nice", go, "test", "-c", *flags, tests, "./tests", cwd=source)
        daemon = run_command(go, "list", "-m", "-f", "{{.Dir}}", "github.com/moby/buildkit", cwd=source).strip()
        run_command("nice", go, "build", *flags, frontend, FRONTEND, cwd=Path(daemon), env={"CGO_ENABLED": "0"})
    catalogue = {file: names for file, (_, names) in sorted(find_tests(source / "tests").items())}
    return SuitePrograms(tests=tests, frontend=frontend, catalogue=catalogue)


def download_module(version: str, folder: Path) -> Path:
    """Return the folder of docker buildx's module in Go's cache; ``folder`` gets a module that asks for it."""
    (folder / "go.mod").write_text("module suite\n")
    answer = run_command(toolchain.go(), "mod", "download", "-json", f"{MODULE}@{version}", cwd=folder)
    return Path(json.loads(answer)["Dir"])


def find_tests(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Return each file's list of tests in Go, and the names that they have as tests."""
    result = {}
    for file in sorted(folder.glob("*.go")):
        if match := _LIST.search(file.read_text()):
            names = re.findall(r"^\ttest(\w+),$", match[2], re.M)
            result[file.stem] = (match[1], [f"Test{name}" for name in names])
    return result


def run_command(
    *command: object,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    clean: bool = False,
    check: bool = True,
) -> str:
    """Run a command and return its output, of both streams if it may fail.

    With ``clean`` it inherits no variables of CI systems and of the programs under test.
    """
    inherited = {name: value for name, value in os.environ.items() if not (clean and name.startswith(_SCRUBBED))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**inherited, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if check else subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if check and done.returncode:
        raise SystemExit(f"{' '.join(str(word) for word in command)}: {done.stdout}{done.stderr}")
    return done.stdout


def report(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)
