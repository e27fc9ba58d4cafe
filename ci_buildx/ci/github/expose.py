"""The input ``expose`` of the setup step: sockets that reach the builder, served by a process until the job ends.

The process ends when the post step removes the folder of the sockets, when the runner's own process ends, however it
ends, when the builder's lifetime is over, or on a signal. GitHub's runner also ends it with the job, by the variable
``RUNNER_TRACKING_ID``, which it inherits.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ci_buildx.build.builder_scope import BuilderRun
from ci_buildx.ci import inputs
from ci_buildx.ci.github import commands
from ci_buildx.ci.github import inputs as github_inputs
from ci_buildx.ci.github.state import SOCKETS
from ci_buildx.errors import Interrupted, KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.manage import exposure
from ci_buildx.model.documents import parse_json
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.values import ProgressMode

if TYPE_CHECKING:
    from ci_buildx.model.platform import Platform
    from ci_buildx.settings.raw_values import RawValues

KNOWN = {option.name: option for option in inputs.OF_SETUP}
_PATIENCE = 60.0
"""Seconds for the sockets to be there: the builder runs already."""
_LOOK = 1.0
"""Seconds between two looks at the folder."""
_LARGEST = 1 << 16
_VERB, _SERVE = "github", "--serve"
_USUAL = "linux-arm64.sock"
"""A socket's name that is as long as most: the process that serves knows the nodes' names."""


def start_server(
    name: str,
    namespace: str,
    platforms: Iterable[Platform],
    given: RawValues,
    env: Mapping[str, str],
    *,
    lifetime: float,
) -> list[str]:
    """Start the process for a running builder and return the paths of its sockets, one for each node.

    ``platforms`` are those of all nodes, ``lifetime`` is in seconds.

    Raises KubeBuilderError.
    """
    folder = _make_folder(env)
    order = {
        "folder": str(folder),
        "builder": name,
        "namespace": "" if namespace == name else namespace,
        "kubeconfig": given.read_text("kubeconfig"),
        "platforms": [str(platform) for platform in platforms],
        "runner": find_runner(),
        "lifetime": lifetime,
    }
    with subprocess.Popen(
        make_command(sys.orig_argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(env),
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(order).encode())
            process.stdin.close()
        answer = _read_answer(process)
        process.returncode = 0  # It goes on: leaving the block must not wait for it.
    if not answer.get("sockets"):
        reason = answer.get("error") or "the process that serves it did not answer"
        raise KubeBuilderError(f"the builder cannot be exposed: {reason}", fix="try again, or omit the input expose")
    return [str(path) for path in answer["sockets"]]


def _make_folder(env: Mapping[str, str]) -> Path:
    """Make a folder that only this user can enter, after the post step has been told of it. Raises KubeBuilderError."""
    for base in scratch.list_socket_bases(_USUAL):
        folder = scratch.name_shared(scratch.SOCKETS, base)
        commands.append_value(env, commands.STATE, SOCKETS, str(folder))
        with suppress(OSError):
            folder.mkdir(mode=0o700)
            return folder
    raise KubeBuilderError("no folder can hold a socket", fix="set TMPDIR to a writable folder with a short path")


def make_command(argv: Sequence[str]) -> list[str]:
    """Return the command that serves, made of the one that this process was started with."""
    at = len(argv) - 1 - list(reversed(argv)).index(_VERB)
    return [sys.executable, *argv[1:at], _VERB, _SERVE]


def find_runner() -> int:
    """Return the number of the process that started the step's own first process; 0 if it is not visible."""
    try:
        text = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8", errors="replace")
        number = int(text.rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return number if number > 1 else 0


def _read_answer(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return the process's first line; {} if there is none in time, and the process is ended."""
    assert process.stdout is not None
    text, deadline = b"", time.monotonic() + _PATIENCE
    while not text.endswith(b"\n") and len(text) < _LARGEST:
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(process.stdout.fileno(), _LARGEST) if ready else b""
        if not part:
            break
        text += part
    try:
        found = parse_json(text)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    process.kill()
    return {}


def make_outputs(sockets: Sequence[str]) -> dict[str, str]:
    """Return the outputs that name the sockets."""
    return {"buildkit-host": f"unix://{sockets[0]}", "sockets": json.dumps(sockets)}


def make_variables(sockets: Sequence[str]) -> dict[str, str]:
    """Return the variables for later steps."""
    return {exposure.HOST: f"unix://{sockets[0]}"}


def serve_sockets(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Serve until the job ends. Returns 0, or 1 if the builder cannot be reached: the first line then has the error.

    The builder's name and the rest arrive on standard input, as JSON.
    """
    order = parse_json(sys.stdin.read(_LARGEST))
    given = github_inputs.add_variables(github_inputs.read_inputs(env, cwd, known=KNOWN), KNOWN)
    shaping = ("driver-opts", "builder-config", "buildkitd-config", "buildkitd-config-inline", "buildkitd-flags")
    values = {name: one for name, one in given.select_build_options().items() if name not in (*shaping, "lifetime")}
    values |= {
        "context": str(cwd),
        "file": "-",
        "builder": order["builder"],
        "namespace": order["namespace"],
        "platforms": order["platforms"],
        "progress": ProgressMode.QUIET.value,
    }
    if order["kubeconfig"]:
        values["kubeconfig"] = order["kubeconfig"]
    settings = inputs.read_job_settings(values, given.sources, env, cwd, surface=OptionSurface.GITHUB)

    def serve(run: BuilderRun) -> int:
        with exposure.open_sockets(run, Path(order["folder"])) as sockets:
            _answer(stdout, {"sockets": sorted(sockets)})
            wait_for_end(sockets, int(order["runner"]), run.site.stop, time.monotonic() + order["lifetime"])
        return 0

    try:
        with Path(os.devnull).open("w") as nowhere:
            return exposure.run_with_builder(settings, env=env, display_stream=nowhere, work=serve)
    except KubeBuilderError as error:
        _answer(stdout, {"error": str(error)})
        return 1
    except Interrupted:
        return 0


def _answer(stdout: TextIO, message: Mapping[str, Any]) -> None:
    stdout.write(json.dumps(message) + "\n")
    stdout.flush()


def wait_for_end(sockets: Iterable[str], runner: int, stop: threading.Event, deadline: float) -> None:
    """Wait until a socket is gone, the process ``runner`` has ended, ``stop`` is set or the deadline has passed."""
    paths = [Path(path) for path in sockets]
    with ExitStack() as undo:
        watched = []
        if runner and hasattr(os, "pidfd_open"):
            try:
                watched.append(os.pidfd_open(runner))
            except ProcessLookupError:
                return
            undo.callback(os.close, watched[0])
        while time.monotonic() < deadline and not stop.is_set() and all(path.exists() for path in paths):
            if select.select(watched, [], [], _LOOK)[0]:
                return
