"""Results of ``bake``: the metadata file, and the answers to calls of the frontend."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_buildx.build.result import write_file
from ci_buildx.buildkit.exporters import is_true
from ci_buildx.hcl.types.json_values import dump_json
from ci_buildx.model.documents import parse_json
from ci_buildx.progress.ci_logs import defuse_commands
from ci_buildx.progress.step import drop_controls, escape_controls
from ci_buildx.settings.calls import CHECK, LINT

if TYPE_CHECKING:
    from ci_buildx.bake.jobs import TargetJob
    from ci_buildx.bake.run import BakeOutcome
    from ci_buildx.build.result import BuildResult

_SWITCH = "BUILDX_METADATA_WARNINGS"
_WARNINGS = "buildx.build.warnings"


def make_metadata(outcome: BakeOutcome, env: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata by target, as docker buildx 0.38.2 writes it."""
    found: dict[str, Any] = {}
    for name, result in sorted(outcome.results.items()):
        found[name] = {key: one for key, one in result.metadata.items() if key != _WARNINGS}
    if outcome.warnings and is_true(env.get(_SWITCH, "")):
        from ci_buildx.progress.rawjson import make_warning_fields

        found[_WARNINGS] = [make_warning_fields(one) for one in outcome.warnings]
    return found


def write_metadata(path: Path, outcome: BakeOutcome, env: Mapping[str, str]) -> None:
    """Write the metadata file. Raises KubeBuilderError."""
    text = json.dumps(make_metadata(outcome, env), indent=2) + "\n"
    write_file(path, text, source="--metadata-file", fix="the targets are built: free disk space or name another file")


def format_answers(jobs: Sequence[TargetJob], results: Mapping[str, BuildResult]) -> str:
    """Return the answers to a call as text, each below its target's name and description."""
    parts = []
    for job in sorted(jobs, key=lambda one: one.name):
        if job.settings.build.call and job.name in results:
            said = defuse_commands(" ".join(drop_controls(job.description).splitlines()))
            head = f"{job.name}\n{said}\n" if said else f"{job.name}\n"
            parts.append(f"{head}\n{results[job.name].answer}")
    return "\n".join(parts)


def format_answers_json(
    definition: Mapping[str, Any], jobs: Sequence[TargetJob], results: Mapping[str, BuildResult]
) -> str:
    """Return the answers as JSON, beside the definition that ``--print`` shows."""
    targets: dict[str, Any] = {}
    known = {job.name: job.settings.build.call for job in jobs}
    for name, target in definition["target"].items():
        targets[name] = {"build": target}
        call = known.get(name)
        if call is not None and name in results:
            method = CHECK if call.method == LINT else call.method
            targets[name][method] = parse_json(results[name].answer)
    groups = {"group": definition["group"]} if "group" in definition else {}
    text = dump_json({**groups, "target": targets}, indent=2)
    return "\n".join(map(escape_controls, text.split("\n"))) + "\n"
