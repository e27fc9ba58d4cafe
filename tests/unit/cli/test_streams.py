"""Standard streams that are closed, full or a terminal: one clear line or nothing, never a defect of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ci_buildx.registry.content import OCI_INDEX, OCI_MANIFEST, compute_digest

COMMAND = f"{sys.executable} -m ci_buildx"
REFUSING = "kube-builder: error: --output: refusing to write type=tar to standard output, which is"


def shell(arguments: str, cwd: Path, *, buffered: bool = True) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `kube-builder`; ``arguments`` may redirect."""
    env = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    done = subprocess.run(
        f"{COMMAND} {arguments}", shell=True, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("buffered", [True, False])
def test_a_full_disk_under_stdout_is_said(cwd: Path, buffered: bool) -> None:
    message = "ERROR: cannot write to standard output: No space left on device\n"
    assert shell("version >/dev/full", cwd, buffered=buffered) == (1, "", message)


def test_a_full_disk_under_binary_content_is_said(cwd: Path) -> None:
    """More than a buffer holds is written at once."""
    entry = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{'a' * 64}", "size": 1}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] * 1000}
    body = json.dumps(index).encode()
    digest = compute_digest(body)
    (cwd / "layout" / "blobs" / "sha256").mkdir(parents=True)
    (cwd / "layout" / "blobs" / digest.replace(":", "/")).write_bytes(body)
    message = "ERROR: cannot write to standard output: No space left on device\n"
    assert shell(f"imagetools inspect --raw oci-layout://layout@{digest} >/dev/full", cwd) == (1, "", message)


def test_bytes_that_are_no_characters_are_written_escaped(cwd: Path) -> None:
    script = (
        "import sys; from ci_buildx.cli.process import watch_stdout;"
        " sys.stdout = watch_stdout(sys.stdout); print('a\\udcff')"
    )
    env = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, timeout=60, check=True)
    assert done.stdout == b"a\\udcff\n"


def test_help_that_cannot_be_written(cwd: Path) -> None:
    code, _, stderr = shell("version --help >/dev/full", cwd)
    assert (code, stderr) == (1, "ERROR: cannot write to standard output: No space left on device\n")


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_messages_that_cannot_be_written_change_no_exit_code(cwd: Path, redirection: str) -> None:
    assert shell(f"bild {redirection}", cwd) == (2, "", "")


def test_closed_streams(cwd: Path) -> None:
    assert shell("version >&-", cwd) == (0, "", "")
    assert shell("version <&- >&- 2>&-", cwd) == (0, "", "")
    assert shell("build - <&-", cwd)[2].startswith("kube-builder: error: PATH|URL: standard input is empty")
    assert shell("build -o - . >&-", cwd) == (2, "", f"{REFUSING} closed; add dest=FILE, or redirect it\n")


def test_a_result_is_not_written_to_a_terminal(cwd: Path) -> None:
    ours, theirs = os.openpty()
    command = [*COMMAND.split(), "build", "-o", "-", "."]
    with os.fdopen(theirs, "wb") as terminal:
        done = subprocess.run(command, cwd=cwd, stdout=terminal, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(ours)
    assert done.returncode == 2
    assert done.stderr.decode() == f"{REFUSING} a terminal; add dest=FILE, or redirect it\n"
