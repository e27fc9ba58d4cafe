"""A repository in which git prints without end, or does not end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ci_buildx.fsutil import commit_times, git
from ci_buildx.fsutil.git import Git, GitFailed


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A git of the test's, on a PATH of its own; what it does is written into it."""
    made = tmp_path / "bin" / "git"
    made.parent.mkdir()
    return made


def git_that(program: Path, does: str) -> Git:
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    folder = program.parents[1] / "checkout"
    (folder / ".git").mkdir(parents=True)
    return Git(folder, {"PATH": f"{program.parent}:/usr/bin:/bin"})


def test_output_without_end(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "MOST_OUTPUT", 3 << 20)
    with pytest.raises(GitFailed, match="git ls-files prints more than 3 MiB"):
        git_that(program, "exec cat /dev/zero").read("ls-files")


def test_complaints_without_end(program: Path) -> None:
    assert git_that(program, "head -c 5000000 /dev/zero >&2; echo done").read("ls-files") == b"done\n"


@pytest.mark.parametrize("verb", ["ls-files", "diff"])
def test_a_command_that_does_not_end(program: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look for filters, which goes before a diff, neither."""
    monkeypatch.setattr(git, "DEADLINE", 0.3)
    with pytest.raises(GitFailed, match="did not finish within 0 s"):
        git_that(program, "exec sleep 600").read(verb)


def test_a_history_that_does_not_end(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read while git prints it."""
    monkeypatch.setattr(git, "DEADLINE", 0.3)
    with pytest.raises(GitFailed, match="git log did not finish within 0 s"):
        list(commit_times._read_commits(git_that(program, "exec sleep 600"), {b"a"}))


def test_a_command_that_is_not_worth_waiting_for(program: Path) -> None:
    assert git_that(program, "exec sleep 600").read_partly("rev-parse", timeout=0.3) == ""


def test_a_name_without_end() -> None:
    with pytest.raises(GitFailed, match=f"more than {commit_times.LONGEST_NAME} bytes"):
        list(commit_times._read_fields(io.BytesIO(b"x" * (commit_times.LONGEST_NAME + (1 << 17)))))
