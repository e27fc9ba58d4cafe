"""What comes of ``--call``: an answer as text, findings and an exit code; and what build checks say of a build."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ci_buildx.buildkit.exporters import is_true
from ci_buildx.job.result import BuildResult
from ci_buildx.model.finding import Finding, finding_of
from ci_buildx.model.record import dataclass, replace
from ci_buildx.model.status import VertexWarning
from ci_buildx.progress.text import escaped, inert
from ci_buildx.settings.calls import LINT
from ci_buildx.settings.values import BuildSettings, Call

_RESULT_JSON = "result.json"
_RESULT_TEXT = "result.txt"
_STATUS = "result.statuscode"
_WARNINGS = "buildx.build.warnings"
_SWITCH = "BUILDX_METADATA_WARNINGS"
"""The variable that puts findings into the metadata (buildx 0.38.2, ``util/confutil/metadata.go``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``text`` is for standard output, ``status`` the exit code that the frontend wants."""

    text: str
    findings: tuple[Finding, ...] = ()
    status: int = 0


def narrow(build: BuildSettings) -> BuildSettings:
    """A call as one node is asked it: the first platform's answer counts (as in buildx), and nothing is exported."""
    return replace(build, platforms=build.platforms[:1], push=False, outputs=(), cache_to=(), iidfile=None)


def read(build: BuildSettings, call: Call, response: Mapping[str, str]) -> Answer:
    """The answer. An error in the Dockerfile fails the call, whatever ``ignore_status`` says."""
    status = 0 if call.ignore_status else _status(response)
    if call.method != LINT:
        return Answer(text=_as_json(response) if call.json else inert(response.get(_RESULT_TEXT, "")), status=status)
    from ci_buildx.buildkit import checks

    checked = checks.read(response.get(_RESULT_JSON, ""), _names(build))
    failed = any(finding.fatal for finding in checked.findings)
    return Answer(
        text=_as_json(response) if call.json else inert(checked.text),
        findings=checked.findings,
        status=status or int(failed),
    )


def _as_json(response: Mapping[str, str]) -> str:
    """The answer itself. Characters that a terminal obeys are escaped, as JSON allows for all of its strings."""
    return escaped(response.get(_RESULT_JSON, "").rstrip("\n")) + "\n"


def with_findings(
    result: BuildResult, build: BuildSettings, warnings: Sequence[VertexWarning], env: Mapping[str, str]
) -> BuildResult:
    """The result of a build with what checks found meanwhile; in its metadata where the environment asks for that."""
    metadata = result.metadata
    if is_true(env.get(_SWITCH, "")):
        from ci_buildx.progress.rawjson import warning_fields

        metadata = {**metadata, _WARNINGS: [warning_fields(warning) for warning in warnings]}
    return replace(result, findings=findings(build, warnings), metadata=metadata)


def findings(build: BuildSettings, warnings: Sequence[VertexWarning]) -> tuple[Finding, ...]:
    """What checks found while building, with the files that are here."""
    paths = {name: path for name, (_, path) in _names(build).items()}
    return tuple(finding_of(warning, paths.get(warning.filename)) for warning in warnings)


def _names(build: BuildSettings) -> dict[str, tuple[str, Path]]:
    """The Dockerfile by the frontend's name of it: how the user would name it, and where it is."""
    path = build.dockerfile
    if path is None or build.dockerfile_origin:
        return {}
    relative = os.path.relpath(path)
    return {path.name: (str(path) if relative.startswith(os.pardir) else relative, path)}


def _status(response: Mapping[str, str]) -> int:
    text = response.get(_STATUS, "")
    return int(text) if text.isascii() and text.isdigit() else 0
