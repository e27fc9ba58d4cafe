"""The GitLab job that merges the images of earlier jobs, which arrive as artifacts of the template's jobs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from ci_buildx.build.result import BuildResult
from ci_buildx.ci import digests, inputs
from ci_buildx.ci.gitlab import inputs as gitlab_inputs
from ci_buildx.ci.gitlab import job
from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.values import ProgressMode
from ci_buildx.settings.wording import reword_error

_METADATA = "kube-builder.*.json"
"""Files that each of the template's jobs passes on as an artifact: one is named after the job."""


def main(*, post: bool, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Merge, or with ``post`` clean up, and return the exit code. Errors are in the words of the template's inputs."""
    try:
        return clean_up(env) if post else run_merge(env, cwd, stdout)
    except KubeBuilderError as error:
        reword_error(error, OptionSurface.GITLAB)
        raise


def run_merge(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Merge the digests of the inputs, by default of all earlier jobs. Returns 0."""
    job.read_identity(env, cwd)
    folder = job.find_project_folder(env, cwd)
    job.remove_foreign_report(folder / job.DOTENV)
    known = inputs.list_merge_inputs(OptionSurface.GITLAB)
    given = gitlab_inputs.read_inputs(env, cwd, template=known)
    given.check_values()
    given = _fill_defaults(given, folder)
    request = digests.read_request(given)
    with (
        gitlab_inputs.open_private_folder(job.make_suffix(env)) as place,
        gitlab_inputs.log_in(given, inside=place) as env,
    ):
        mode = given.read_choice("progress", ProgressMode)
        merged = digests.run_merge(
            request,
            given,
            env=env,
            mode=ProgressMode.GITLAB if mode is ProgressMode.AUTO else mode,
            display_stream=stdout,
        )
    result = BuildResult(
        digest=merged.digest, references=merged.names, platforms=merged.platforms, metadata=merged.metadata
    )
    job.write_result(folder, result, env)
    stdout.writelines(f"{line}\n" for line in merged.list_lines())
    return 0


def clean_up(env: Mapping[str, str]) -> int:
    """Remove the credentials of a job that was killed. Returns 0."""
    gitlab_inputs.remove_private_folder(job.make_suffix(env))
    return 0


def _fill_defaults(given: RawValues, folder: Path) -> RawValues:
    """Return the inputs with the tags of the template's builds and the metadata files of earlier jobs."""
    if not given.read_texts("tags"):
        given = given.replace_values(tags=gitlab_inputs.make_default_tags(given.env))
    if given.read_texts("digests"):
        return given
    own = job.name_job_file(job.METADATA, job.make_slug(given.env))
    files = sorted(path.name for path in folder.glob(_METADATA) if path.name != own)
    if not files:
        fix = "merge in a later stage than the builds, or set the input digests"
        raise InputError(f"no artifact {_METADATA} of an earlier job", source="input digests", fix=fix)
    return given.replace_values(digests=[str(folder / name) for name in files])
