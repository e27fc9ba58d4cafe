"""The runner's files, with which a step passes values to later ones, and workflow commands in its log."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from io import TextIOBase
from itertools import chain
from pathlib import Path
from typing import TextIO, cast

from ci_buildx.errors import KubeBuilderError, SolveError
from ci_buildx.model.plaintext import UNENCODABLE
from ci_buildx.model.status import CheckFinding
from ci_buildx.progress.ci_logs import defuse_commands, escape_value
from ci_buildx.progress.step import drop_controls
from ci_buildx.settings.syntax import read_boolean
from ci_buildx.settings.values import BuildSettings

OUTPUT, STATE, ENVIRONMENT, SUMMARY = "GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_ENV", "GITHUB_STEP_SUMMARY"


def append_value(env: Mapping[str, str], variable: str, name: str, value: str) -> None:
    """Append ``name=value`` to one of the runner's files; does nothing if the runner has no such file."""
    if path := env.get(variable):
        mark = f"end-{secrets.token_hex(8)}"
        _append(path, f"{name}<<{mark}\n{value}\n{mark}\n", variable)


def append_values(env: Mapping[str, str], variable: str, values: Mapping[str, str]) -> None:
    """Append several values to one of the runner's files."""
    for name, value in values.items():
        append_value(env, variable, name, value)


def append_summary(env: Mapping[str, str], markdown: str) -> None:
    """Append Markdown to the step's summary on the run's page."""
    if path := env.get(SUMMARY):
        _append(path, markdown, SUMMARY)


def _append(path: str, text: str, variable: str) -> None:
    """Raises KubeBuilderError."""
    try:
        with Path(path).open("a", encoding="utf-8", errors=UNENCODABLE) as stream:
            stream.write(text)
    except OSError as error:
        fix = "check the runner's disk"
        raise KubeBuilderError(f"cannot write to the file of {variable}: {error.strerror}", fix=fix) from error


def read_state(env: Mapping[str, str], name: str) -> str:
    """Return state that the main step saved for the post step, or ""."""
    return env.get(f"STATE_{name}", "")


TITLE = "kube-builder"
SHORTEST_LINE = 4
"""Least length of a line of a multi-line secret that is masked on its own, in characters.

The runner replaces a mask anywhere, and drops outputs that contain one: with ``{`` or ``1`` as masks, ``metadata``
and ``digest`` would vanish. Any four digits occur in about one of a thousand digests.
"""


def write_annotation(stdout: TextIO, level: str, message: str, *, file: str = "", line: int = 0) -> None:
    """Annotate the run with a message, at a line of a file if one is given."""
    place = {"file": file, "line": str(line)} if file and line else {}
    properties = ",".join(f"{name}={_escape_property(value)}" for name, value in {**place, "title": TITLE}.items())
    stdout.write(f"::{level} {properties}::{escape_value(drop_controls(message))}\n")
    stdout.flush()


def mask_values(secrets: Iterable[str], stdout: TextIO) -> None:
    """Have the runner mask the secrets in its log.

    A single-line secret is masked whatever its length, like the toolkit's ``setSecret``. A multi-line one is masked
    line by line, without the short lines, since logs consist of lines. It is never sent as a whole: runners mask each
    of its lines (actions/runner 2.330, ``src/Runner.Worker/ActionCommandManager.cs``, AddMaskCommandExtension).
    """
    for line in dict.fromkeys(chain.from_iterable(map(list_maskable_lines, secrets))):
        stdout.write(f"::add-mask::{escape_value(line)}\n")
    stdout.flush()


def list_maskable_lines(secret: str) -> list[str]:
    """Return a secret's maskable lines: if there are several, those with at least :data:`SHORTEST_LINE` characters."""
    lines = [line for line in secret.replace("\r", "\n").split("\n") if line.strip()]
    return lines if len(lines) == 1 else [line for line in lines if len(line.strip()) >= SHORTEST_LINE]


def filter_commands(stdout: TextIO) -> TextIO:
    """Return the log for untrusted text: no part of it is interpreted as a workflow command."""
    return cast("TextIO", _CommandFilter(stdout))


class _CommandFilter(TextIOBase):
    """Writes text with defused commands. Callers write whole lines."""

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stdout.encoding

    def write(self, text: str) -> int:
        return self._stdout.write(defuse_commands(text))

    def flush(self) -> None:
        self._stdout.flush()


def _escape_property(text: str) -> str:
    return escape_value(drop_controls(text)).replace(":", "%3A").replace(",", "%2C")


WANTED = "DOCKER_BUILD_CHECKS_ANNOTATIONS"


def annotate_failure(error: BaseException, build: BuildSettings, env: Mapping[str, str], stdout: TextIO) -> None:
    """Annotate the Dockerfile's line that failed; does nothing for errors without a line."""
    if isinstance(error, SolveError) and error.line:
        file = find_dockerfile_path(build, env)
        write_annotation(stdout, "error", str(error), file=file, line=error.line)


def annotate_findings(
    findings: Iterable[CheckFinding], builds: Sequence[BuildSettings], env: Mapping[str, str], stdout: TextIO
) -> None:
    """Annotate the findings, each once, unless the environment disables it (docker/build-push-action's variable).

    Each is of one of ``builds``: the first whose Dockerfile has its file's name.
    """
    if read_boolean(env.get(WANTED, "")) is False:
        return
    files = {build.dockerfile.name if build.dockerfile else build.dockerfile_name: build for build in reversed(builds)}
    for finding in dict.fromkeys(findings):
        file = find_dockerfile_path(files.get(finding.filename, builds[0]), env)
        head = f"{finding.rule}: {finding.message}" if finding.rule else finding.message
        text = "\n".join(part for part in (head, finding.description, finding.url) if part)
        level = "error" if finding.fatal else "warning"
        write_annotation(stdout, level, text, file=file if finding.line else "", line=finding.line)


def find_dockerfile_path(build: BuildSettings, env: Mapping[str, str]) -> str:
    """Return the Dockerfile's path in the repository, for annotations."""
    if build.dockerfile is not None:
        workspace = Path(env.get("GITHUB_WORKSPACE") or ".").absolute()
        path = build.dockerfile.absolute()
        return str(path.relative_to(workspace) if path.is_relative_to(workspace) else path)
    folder = str(build.context).partition("#")[2].partition(":")[2].strip("/")
    return f"{folder}/{build.dockerfile_name}" if folder else build.dockerfile_name
