"""The runner's files, through which a step speaks to later ones."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOBase
from itertools import chain
from pathlib import Path
from typing import TextIO, cast

from ci_buildx.errors import KubeBuilderError, SolveError
from ci_buildx.model.status import CheckFinding
from ci_buildx.progress.step import drop_controls
from ci_buildx.progress.workflow_commands import defuse_commands, escape_value
from ci_buildx.settings.syntax import read_boolean
from ci_buildx.settings.values import BuildSettings, Settings

OUTPUT, STATE, ENVIRONMENT, SUMMARY = "GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_ENV", "GITHUB_STEP_SUMMARY"


def append_value(env: Mapping[str, str], variable: str, name: str, value: str) -> None:
    """Add ``name=value`` to one of the files; nothing where the runner gave none."""
    if path := env.get(variable):
        mark = f"end-{secrets.token_hex(8)}"
        _append(path, f"{name}<<{mark}\n{value}\n{mark}\n", variable)


def append_values(env: Mapping[str, str], variable: str, values: Mapping[str, str]) -> None:
    """Add several."""
    for name, value in values.items():
        append_value(env, variable, name, value)


def append_summary(env: Mapping[str, str], markdown: str) -> None:
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


def read_state(env: Mapping[str, str], name: str) -> str:
    """What the main step left to the one after the job, "" for nothing."""
    return env.get(f"STATE_{name}", "")


TITLE = "kube-builder"
SHORTEST_LINE = 4
"""Characters of a line that is masked by itself, of a secret of several lines.

The runner replaces a mask anywhere, and drops outputs that hold one: with ``{`` or ``1`` as masks, ``metadata``
and ``digest`` would vanish. Four given digits stand in one of a thousand digests.
"""


def write_annotation(stdout: TextIO, level: str, message: str, *, file: str = "", line: int = 0) -> None:
    """Show a message at the top of the run, and at a line of a file where one is named."""
    place = {"file": file, "line": str(line)} if file and line else {}
    properties = ",".join(f"{name}={_escape_property(value)}" for name, value in {**place, "title": TITLE}.items())
    stdout.write(f"::{level} {properties}::{escape_value(drop_controls(message))}\n")
    stdout.flush()


def mask_values(secrets: Iterable[str], stdout: TextIO) -> None:
    """Tell the runner to hide the secrets, should a step print them.

    A secret of one line is hidden whatever its length, as the toolkit's ``setSecret`` has it. One of several lines is
    hidden line by line without the shortest, since a log has lines. It is never sent as one: runners mask each line of
    it (actions/runner 2.330, ``src/Runner.Worker/ActionCommandManager.cs``, AddMaskCommandExtension).
    """
    for line in dict.fromkeys(chain.from_iterable(map(list_maskable_lines, secrets))):
        stdout.write(f"::add-mask::{escape_value(line)}\n")
    stdout.flush()


def list_maskable_lines(secret: str) -> list[str]:
    """Return what of a secret is hidden: its lines, of several those of at least :data:`SHORTEST_LINE` characters."""
    lines = [line for line in secret.replace("\r", "\n").split("\n") if line.strip()]
    return lines if len(lines) == 1 else [line for line in lines if len(line.strip()) >= SHORTEST_LINE]


def filter_commands(stdout: TextIO) -> TextIO:
    """The log for text of others: nothing that is written to it is taken for a command."""
    return cast("TextIO", _CommandFilter(stdout))


class _CommandFilter(TextIOBase):
    """Whole lines come in."""

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stdout.encoding

    def write(self, text: str) -> int:
        return self._stdout.write(defuse_commands(text))

    def flush(self) -> None:
        self._stdout.flush()


@contextmanager
def open_group(stdout: TextIO, title: str) -> Iterator[None]:
    """Fold what is written inside."""
    stdout.write(f"::group::{escape_value(title)}\n")
    try:
        yield
    finally:
        stdout.write("::endgroup::\n")
        stdout.flush()


def _escape_property(text: str) -> str:
    return escape_value(drop_controls(text)).replace(":", "%3A").replace(",", "%2C")


WANTED = "DOCKER_BUILD_CHECKS_ANNOTATIONS"


def annotate_failure(error: BaseException, settings: Settings, env: Mapping[str, str], stdout: TextIO) -> None:
    """Show a build's error at the line that failed; other errors, and failures without a line, have no place."""
    if isinstance(error, SolveError) and error.line:
        file = find_dockerfile_path(settings.build, env)
        write_annotation(stdout, "error", str(error), file=file, line=error.line)


def annotate_findings(
    findings: Iterable[CheckFinding], settings: Settings, env: Mapping[str, str], stdout: TextIO
) -> None:
    """Show the findings, each once, unless the environment forbids it (docker/build-push-action's variable)."""
    if read_boolean(env.get(WANTED, "")) is False:
        return
    file = find_dockerfile_path(settings.build, env)
    for finding in dict.fromkeys(findings):
        head = f"{finding.rule}: {finding.message}" if finding.rule else finding.message
        text = "\n".join(part for part in (head, finding.description, finding.url) if part)
        level = "error" if finding.fatal else "warning"
        write_annotation(stdout, level, text, file=file if finding.line else "", line=finding.line)


def find_dockerfile_path(build: BuildSettings, env: Mapping[str, str]) -> str:
    """The Dockerfile's path in the repository, as annotations name it."""
    if build.dockerfile is not None:
        workspace = Path(env.get("GITHUB_WORKSPACE") or ".").absolute()
        path = build.dockerfile.absolute()
        return str(path.relative_to(workspace) if path.is_relative_to(workspace) else path)
    folder = str(build.context).partition("#")[2].partition(":")[2].strip("/")
    return f"{folder}/{build.dockerfile_name}" if folder else build.dockerfile_name
