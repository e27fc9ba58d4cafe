"""The runner's files, through which a step speaks to later ones."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from ci_buildx.errors import KubeBuilderError

OUTPUT, STATE, ENVIRONMENT, SUMMARY = "GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_ENV", "GITHUB_STEP_SUMMARY"


def append(env: Mapping[str, str], variable: str, name: str, value: str) -> None:
    """Add ``name=value`` to one of the files; nothing where the runner gave none."""
    if path := env.get(variable):
        mark = f"end-{secrets.token_hex(8)}"
        _append(path, f"{name}<<{mark}\n{value}\n{mark}\n", variable)


def append_all(env: Mapping[str, str], variable: str, values: Mapping[str, str]) -> None:
    """Add several."""
    for name, value in values.items():
        append(env, variable, name, value)


def summarize(env: Mapping[str, str], markdown: str) -> None:
    """Add to what the run's page shows of this step."""
    if path := env.get(SUMMARY):
        _append(path, markdown, SUMMARY)


def _append(path: str, text: str, variable: str) -> None:
    """Raises KubeBuilderError."""
    try:
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        fix = "look at the runner's disk"
        raise KubeBuilderError(f"cannot write to the file of {variable}: {error.strerror}", fix=fix) from error


def state(env: Mapping[str, str], name: str) -> str:
    """What the main step left to the one after the job, "" for nothing."""
    return env.get(f"STATE_{name}", "")
