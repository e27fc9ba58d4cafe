"""A GitHub runner: the variables that it sets, and the files that it reads."""

from __future__ import annotations

import io
from pathlib import Path

from ci_buildx.ci.github import action

RUNNER = {
    "GITHUB_REPOSITORY": "team/app",
    "GITHUB_RUN_ID": "77",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_JOB": "image",
    "GITHUB_SERVER_URL": "https://git.example",
    "INPUT_CONTEXT": ".",
    "INPUT_PUSH": "true",
    "INPUT_TAGS": "registry.example/team/app:1",
}


def run(env: dict[str, str], cwd: Path, *, post: bool = False) -> tuple[int, str]:
    stdout = io.StringIO()
    return action.main(post=post, env=env, cwd=cwd, stdout=stdout), stdout.getvalue()


def read(path: str) -> dict[str, str]:
    """A file of the runner's, read as the runner does: ``name<<mark``, lines, ``mark``."""
    found, lines = {}, iter(Path(path).read_text().splitlines())
    for line in lines:
        name, _, mark = line.partition("<<")
        value = []
        while (text := next(lines)) != mark:
            value.append(text)
        found[name] = "\n".join(value)
    return found
