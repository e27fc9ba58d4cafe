"""The merge step: publishes the images that other jobs pushed by digest as one image."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from ci_buildx.build.result import BuildResult
from ci_buildx.ci import digests, inputs
from ci_buildx.ci.digests import MergedImage, MergeRequest
from ci_buildx.ci.github import commands, events, step
from ci_buildx.ci.github import inputs as github_inputs
from ci_buildx.ci.github.report import SUMMARY_WANTED
from ci_buildx.ci.github.state import ActionStep
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.syntax import read_boolean
from ci_buildx.settings.values import ProgressMode

KNOWN = {option.name: option for option in inputs.list_merge_inputs(OptionSurface.GITHUB)}


def run_merge(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Merge the digests of the inputs. Returns 0. Raises the KubeBuilderError tree and Interrupted."""
    current = ActionStep(env=env, cwd=cwd, stdout=stdout, event=events.read_event(env), begun=time.monotonic())
    given = github_inputs.add_variables(github_inputs.read_inputs(env, cwd, known=KNOWN), KNOWN)
    given.check_values()
    found = step.read_step_logins(given, current)
    given = step.name_image(given, current)
    request = digests.read_request(given)
    with step.log_in(found, given, dict(env)) as env:
        merged = _merge(request, given, env, current)
    commands.append_values(current.env, commands.OUTPUT, make_outputs(merged))
    result = BuildResult(digest=merged.digest, references=merged.names, platforms=merged.platforms)
    if read_boolean(env.get(SUMMARY_WANTED, "")) is not False:
        from ci_buildx.ci.github import summary

        commands.append_summary(env, summary.render_merge(result))
    commands.filter_commands(stdout).writelines(f"{line}\n" for line in merged.list_lines())
    return 0


def make_outputs(merged: MergedImage) -> dict[str, str]:
    """Return the step's outputs, by the names that a build's have."""
    return {"digest": merged.digest, "metadata": json.dumps(merged.metadata, indent=2)}


def _merge(request: MergeRequest, given: RawValues, env: Mapping[str, str], current: ActionStep) -> MergedImage:
    mode = given.read_choice("progress", ProgressMode)
    mode = ProgressMode.GITHUB if mode is ProgressMode.AUTO else mode
    stdout = current.stdout if mode is ProgressMode.GITHUB else commands.filter_commands(current.stdout)
    return digests.run_merge(request, given, env=env, mode=mode, display_stream=stdout, hidden=current.hidden)
