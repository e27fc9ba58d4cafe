"""Results of ``--call`` (text, findings, exit code), and the findings of build checks during a build."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ci_buildx.build.result import BuildResult
from ci_buildx.buildkit.exporters import is_true
from ci_buildx.errors import BuildkitError
from ci_buildx.model.record import dataclass, replace
from ci_buildx.model.status import CheckFinding, VertexWarning, read_finding
from ci_buildx.progress.step import drop_controls, escape_controls
from ci_buildx.settings.calls import LINT
from ci_buildx.settings.values import BuildSettings, FrontendCall

_RESULT_JSON = "result.json"
_RESULT_TEXT = "result.txt"
_STATUS = "result.statuscode"
_LONGEST_STATUS = 3
"""Digits of a process's exit code."""
_WARNINGS = "buildx.build.warnings"
_SWITCH = "BUILDX_METADATA_WARNINGS"
"""The variable that adds findings to the metadata (buildx 0.38.2, ``util/confutil/metadata.go``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAnswer:
    """``text`` is for standard output; ``status`` is the exit code that the frontend requests."""

    text: str
    findings: tuple[CheckFinding, ...] = ()
    status: int = 0


def narrow_to_first_platform(build: BuildSettings) -> BuildSettings:
    """Return the settings of a call: only the first platform's answer counts (as in buildx), nothing is exported."""
    return replace(build, platforms=build.platforms[:1], push=False, outputs=(), cache_to=(), iidfile=None)


def read_answer(build: BuildSettings, call: FrontendCall, response: Mapping[str, str]) -> CallAnswer:
    """Read the answer. An error in the Dockerfile fails the call, even with ``ignore_status``.

    Raises BuildkitError if there is no answer, which must not look like an empty one.
    """
    if not (response.get(_RESULT_JSON) or response.get(_RESULT_TEXT)):
        raise BuildkitError(f"buildkitd returned no result for the call {call.method}", fix="try again")
    status = 0 if call.ignore_status else _read_status(response)
    if call.method != LINT:
        return CallAnswer(
            text=_encode_json(response) if call.json else drop_controls(response.get(_RESULT_TEXT, "")), status=status
        )
    from ci_buildx.buildkit import diagnostics

    checked = diagnostics.read_check_report(response.get(_RESULT_JSON, ""), _list_names(build))
    failed = any(finding.fatal for finding in checked.findings)
    return CallAnswer(
        text=_encode_json(response) if call.json else drop_controls(checked.text),
        findings=checked.findings,
        status=status or int(failed),
    )


def _encode_json(response: Mapping[str, str]) -> str:
    """Return the JSON answer with terminal control characters escaped, which JSON allows in all strings."""
    return escape_controls(response.get(_RESULT_JSON, "").rstrip("\n")) + "\n"


def add_findings(
    result: BuildResult, build: BuildSettings, warnings: Sequence[VertexWarning], env: Mapping[str, str]
) -> BuildResult:
    """Add the findings of build checks to a result, and to its metadata if the environment requests that."""
    metadata = result.metadata
    if is_true(env.get(_SWITCH, "")):
        from ci_buildx.progress.rawjson import make_warning_fields

        metadata = {**metadata, _WARNINGS: [make_warning_fields(warning) for warning in warnings]}
    return replace(result, findings=collect_findings(build, warnings), metadata=metadata)


def collect_findings(build: BuildSettings, warnings: Sequence[VertexWarning]) -> tuple[CheckFinding, ...]:
    """Return the findings of build checks during the build, with the paths of local files."""
    paths = {name: path for name, (_, path) in _list_names(build).items()}
    return tuple(read_finding(warning, paths.get(warning.filename)) for warning in warnings)


def _list_names(build: BuildSettings) -> dict[str, tuple[str, Path]]:
    """Map the frontend's name of the Dockerfile to the user's name for it and its path."""
    path = build.dockerfile
    if path is None or build.dockerfile_origin:
        return {}
    relative = os.path.relpath(path)
    return {path.name: (str(path) if relative.startswith(os.pardir) else relative, path)}


def _read_status(response: Mapping[str, str]) -> int:
    text = response.get(_STATUS, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_STATUS else 0
