"""The process behind the input ``expose``: how it is started, and when it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ci_buildx.ci.github import expose
from ci_buildx.fsutil import scratch


def test_the_command_is_that_of_the_step() -> None:
    start = ["/usr/bin/python3", "-I", "-S", "/opt/github/start.py", "/opt/packages", "/opt/node", "github", "--setup"]
    assert expose.make_command(start) == [sys.executable, *start[1:-1], "--serve"]
    assert expose.make_command(["python", "-m", "ci_buildx", "github", "--setup"])[1:] == [
        *("-m", "ci_buildx", "github", "--serve")
    ]


def test_the_runner_is_the_parent_of_the_parent() -> None:
    code = "from ci_buildx.ci.github import expose; print(expose.find_runner())"
    shell = 'trap "" HUP; "$0" -c "$1"; :'  # with a command after it, so that the shell does not become Python
    done = subprocess.run(["sh", "-c", shell, sys.executable, code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == os.getpid()


@pytest.fixture
def sockets(tmp_path: Path) -> list[str]:
    """The path of a socket that exists."""
    (tmp_path / "node.sock").touch()
    return [str(tmp_path / "node.sock")]


def test_it_ends_with_the_runner(sockets: list[str]) -> None:
    with subprocess.Popen(["sleep", "300"]) as runner:
        waiting = threading.Thread(
            target=expose.wait_for_end, args=(sockets, runner.pid, threading.Event(), time.monotonic() + 300)
        )
        waiting.start()
        runner.kill()
        waiting.join(30)
        assert not waiting.is_alive()
        expose.wait_for_end(sockets, runner.pid, threading.Event(), time.monotonic() + 300)


def test_it_ends_with_its_folder_its_deadline_or_a_signal(sockets: list[str]) -> None:
    stop = threading.Event()
    expose.wait_for_end(sockets, 0, stop, time.monotonic() - 1)
    expose.wait_for_end([f"{sockets[0]}-gone"], 0, stop, time.monotonic() + 300)
    stop.set()
    expose.wait_for_end(sockets, 0, stop, time.monotonic() + 300)


def test_only_a_folder_of_sockets_is_removed(tmp_path: Path) -> None:
    """Its path comes from the runner's state, which a step could have written."""
    ours, other = tmp_path / f"{scratch.SOCKETS}{'0' * 16}", tmp_path / "other"
    for folder in (ours, other):
        folder.mkdir()
        (folder / "file").touch()
        scratch.remove_shared(str(folder), scratch.SOCKETS)
    assert (ours.exists(), other.exists()) == (False, True)
    scratch.remove_shared("", scratch.SOCKETS)
