"""Annotations at the lines of the Dockerfile: what failed there, and what build checks have found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TextIO

from ci_buildx.ci.github.commands import annotate
from ci_buildx.errors import SolveError
from ci_buildx.model.finding import Finding
from ci_buildx.settings.booleans import read_boolean
from ci_buildx.settings.values import BuildSettings, Settings

WANTED = "DOCKER_BUILD_CHECKS_ANNOTATIONS"


def annotate_failure(error: BaseException, settings: Settings, env: Mapping[str, str], stdout: TextIO) -> None:
    """Show a build's error at the line that failed; other errors, and failures without a line, have no place."""
    if isinstance(error, SolveError) and error.line:
        file = dockerfile_of(settings.build, env)
        annotate(stdout, "error", str(error), file=file, line=error.line)


def annotate_findings(findings: Iterable[Finding], settings: Settings, env: Mapping[str, str], stdout: TextIO) -> None:
    """Show the findings, each once, unless the environment forbids it (docker/build-push-action's variable)."""
    if read_boolean(env.get(WANTED, "")) is False:
        return
    file = dockerfile_of(settings.build, env)
    for finding in dict.fromkeys(findings):
        head = f"{finding.rule}: {finding.message}" if finding.rule else finding.message
        text = "\n".join(part for part in (head, finding.description, finding.url) if part)
        level = "error" if finding.fatal else "warning"
        annotate(stdout, level, text, file=file if finding.line else "", line=finding.line)


def dockerfile_of(build: BuildSettings, env: Mapping[str, str]) -> str:
    """The Dockerfile's path in the repository, as annotations name it."""
    if build.dockerfile is not None:
        workspace = Path(env.get("GITHUB_WORKSPACE") or ".").absolute()
        path = build.dockerfile.absolute()
        return str(path.relative_to(workspace) if path.is_relative_to(workspace) else path)
    folder = str(build.context).partition("#")[2].partition(":")[2].strip("/")
    return f"{folder}/{build.dockerfile_name}" if folder else build.dockerfile_name
