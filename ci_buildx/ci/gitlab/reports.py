"""Reports for later jobs and the merge request: files that the template names as artifacts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ci_buildx.build.result import BuildResult
from ci_buildx.ci.gitlab.defaults import TIMELINE
from ci_buildx.errors import KubeBuilderError
from ci_buildx.model.status import CheckFinding
from ci_buildx.progress.step import strip_control_characters
from ci_buildx.settings.option import VARIABLE_PREFIX

DOTENV = "kube-builder.env"
METADATA = "kube-builder.json"
"""A separate file: GitLab takes at most 5 KiB of dotenv report (its documentation, "Limit dotenv file size")."""
CODE_QUALITY = "kube-builder-checks.json"


def write_result(folder: Path, result: BuildResult, env: Mapping[str, str]) -> None:
    """Write the dotenv report, which later jobs see as variables, and the metadata file that it names.

    No value can add a line. Each variable is also written with the job's name as prefix, since the reports of several
    jobs overwrite each other.
    """
    job = make_slug(env)
    found = make_variables(result) | {
        f"{make_prefix(job)}{name}": value for name, value in make_variables(result, job).items()
    }
    write_report_file(
        folder / DOTENV, "".join(f"{name}={strip_control_characters(value)}\n" for name, value in found.items())
    )
    text = json.dumps(result.metadata, indent=2) + "\n"
    for name in dict.fromkeys((METADATA, name_job_file(METADATA, job))):
        write_report_file(folder / name, text)


def make_variables(result: BuildResult, job: str = "") -> dict[str, str]:
    """Return the variables for later jobs. ``IMAGE`` is the first name with its digest, for deployments."""
    image = f"{result.references[0]}@{result.digest}" if result.references and result.digest else ""
    metadata = name_job_file(METADATA, job)
    values = {"DIGEST": result.digest, "IMAGEID": result.image_id, "IMAGE": image, "METADATA": metadata}
    return {f"{VARIABLE_PREFIX}{name}": value for name, value in values.items()}


def make_slug(env: Mapping[str, str]) -> str:
    """Return the job's name as ``CI_JOB_NAME_SLUG`` has it, which is part of the template's artifact names."""
    name = env.get("CI_JOB_NAME_SLUG", "") or env.get("CI_JOB_NAME", "")
    return re.sub(r"[^a-z0-9]", "-", name.lower())[:63].strip("-")


def make_prefix(job: str) -> str:
    """Return the prefix of the job's own variables: ``BUILD_IMAGE_`` for the slug ``build-image``."""
    name = job.replace("-", "_").upper()
    return f"_{name}_" if name[:1].isdigit() else f"{name}_" if name else ""


def name_job_file(name: str, job: str) -> str:
    """Return the name of a report's file with the job's slug before its suffix."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.{job}{dot}{suffix}" if job else name


def copy_timeline(folder: Path, env: Mapping[str, str]) -> None:
    """Copy the timeline to a file with the job's name, if it was written to the path that the template expects."""
    drawn, job = folder / TIMELINE, make_slug(env)
    if job and drawn.is_file():
        write_report_file(folder / name_job_file(TIMELINE, job), drawn.read_text(encoding="utf-8"))


def write_findings(folder: Path, findings: Iterable[CheckFinding], *, dockerfile: str) -> None:
    """Write the code quality report, empty without findings: the merge request shows new ones."""
    write_report_file(
        folder / CODE_QUALITY, json.dumps(make_code_quality(findings, folder, dockerfile=dockerfile), indent=2) + "\n"
    )


def make_code_quality(findings: Iterable[CheckFinding], folder: Path, *, dockerfile: str) -> list[dict[str, Any]]:
    """Return findings as GitLab reads them (its documentation, "Code Quality report format"), without duplicates.

    Fingerprints do not contain the line, so a finding that only moved is not a new one.
    """
    issues, seen = [], dict[str, int]()
    for finding in dict.fromkeys(findings):
        path = _make_relative(folder, finding.path) if finding.path else finding.filename or dockerfile
        key = "\0".join((finding.rule, path, finding.message))
        seen[key] = seen.get(key, 0) + 1
        issues.append(
            {
                "description": finding.message,
                "check_name": finding.rule or "build",
                "fingerprint": hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest(),
                "severity": "critical" if finding.fatal else "minor",
                "location": {"path": path, "lines": {"begin": max(1, finding.line)}},
                **({"content": {"body": f"{finding.description} {finding.url}".strip()}} if finding.url else {}),
            }
        )
    return issues


def find_project_folder(env: Mapping[str, str], cwd: Path) -> Path:
    """Return the folder where GitLab looks for artifacts: the checkout, even if the script changed its directory."""
    folder = Path(env.get("CI_PROJECT_DIR") or cwd)
    return folder if folder.is_dir() else cwd


def write_report_file(path: Path, text: str) -> None:
    """Write a report. Raises KubeBuilderError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        fix = "the image is built; let the job's user write to the checkout"
        raise KubeBuilderError(f"cannot write the report {path}: {error.strerror}", fix=fix) from error


def _make_relative(folder: Path, path: Path) -> str:
    resolved, root = path.resolve(), folder.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(path)
