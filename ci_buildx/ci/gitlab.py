"""GitLab CI/CD: inputs from ``KUBE_BUILDER_…``, sections, a dotenv report; CI_JOB_ID alone leads back to the builder.

``after_script`` runs in another shell than ``script`` and inherits nothing from it (GitLab's documentation,
"after_script"), so the builder's name is derived from what both see.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ci_buildx.builder import identity
from ci_buildx.ci import job_settings, kubeconfig
from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.job.result import BuildResult
from ci_buildx.settings import assembly, options
from ci_buildx.settings.assembly import Value

REPORT = "kube-builder.env"
METADATA = "kube-builder.json"
"""A file of its own: GitLab takes at most 5 KiB of dotenv report (its documentation, "Limit dotenv file size")."""


def main(*, post: bool, env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """Run the job, or with ``post`` its clean-up; the exit code. Errors are left to the command line's boundary."""
    if post:
        clean_up(env, cwd, stdout)
        return 0
    return build(env, cwd, stdout)


def build(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> int:
    """What the inputs say. 0, or what a call of the frontend came to."""
    from ci_buildx.job import build as job

    with inputs(env) as (values, sources):
        settings = job_settings.read(values, sources, env, cwd)
        with section(stdout, "kube_builder", "kube-builder: build"):
            result = job.run(settings, env=env, display_stream=stdout, identity=who(env, cwd))
    stdout.writelines(f"{line}\n" for line in result.lines())
    write_reports(project(env, cwd), result)
    return result.status


def clean_up(env: Mapping[str, str], cwd: Path, stdout: TextIO) -> None:
    """Remove this job's builder, also while ``script`` still runs."""
    from ci_buildx.job import remove

    name = who(env, cwd).name
    with inputs(env) as (values, sources):
        cluster = assembly.cluster_from(values, sources, env, cwd)
        namespace = assembly.namespace_from(values, sources, env, cwd)
        found = remove.run(cluster, name, env=env, namespace=namespace, missing_ok=True)
    stdout.write(f"{name}: {'removed' if found else 'nothing is left'}\n")


@contextmanager
def inputs(env: Mapping[str, str]) -> Iterator[tuple[dict[str, Value], dict[str, str]]]:
    """Values and sources of the variables that are set, with the kubeconfig as a file.

    The variables are a list's values one a line, or JSON as GitLab writes an input of type array.
    """
    values, sources = assembly.read_variables(env)
    for name, value in values.items():
        if options.BY_NAME[name].repeatable and isinstance(value, str) and value.lstrip().startswith("["):
            values[name] = read_array(value, source=sources[name])
    if text := str(values.get("kubeconfig", "")).strip():
        with kubeconfig.as_path(text, folder=None) as path:
            yield {**values, "kubeconfig": path}, sources
    else:
        yield values, sources


def read_array(text: str, *, source: str) -> list[str]:
    """The texts of a JSON array. InputError names the variable.

    GitLab puts the values of variables into the JSON as they are, line breaks included.
    """
    try:
        array = json.loads(text, strict=False)
    except ValueError as error:
        fix = 'write ["a", "b"], or one a line; a variable with quotes in it is passed by its name (NAME alone)'
        raise InputError(f"is not a JSON array: {error}", source=source, fix=fix) from error
    return [item if isinstance(item, str) else json.dumps(item) for item in array]


def who(env: Mapping[str, str], cwd: Path) -> identity.JobIdentity:
    """The job's identity, the same in ``script`` and ``after_script``. InputError outside of a GitLab job."""
    job = env.get("CI_JOB_ID", "")
    if not job:
        raise InputError(
            "CI_JOB_ID is not set", fix="`kube-builder ci` runs in a GitLab job; elsewhere use `kube-builder build`"
        )
    origin = identity.Origin(
        system="gitlab",
        repository=env.get("CI_PROJECT_PATH", "") or cwd.name,
        run=env.get("CI_PIPELINE_ID", ""),
        job=job,
        url=env.get("CI_JOB_URL", ""),
    )
    suffix = identity.gitlab_suffix(env.get("CI_SERVER_HOST", ""), env.get("CI_PROJECT_ID", ""), job)
    return identity.make(origin, suffix=suffix)


@contextmanager
def section(stdout: TextIO, name: str, title: str) -> Iterator[None]:
    """Fold what is written inside (GitLab's documentation, "Custom collapsible sections")."""
    stdout.write(f"\x1b[0Ksection_start:{int(time.time())}:{name}\r\x1b[0K{title}\n")
    stdout.flush()
    try:
        yield
    finally:
        stdout.write(f"\x1b[0Ksection_end:{int(time.time())}:{name}\r\x1b[0K\n")
        stdout.flush()


def project(env: Mapping[str, str], cwd: Path) -> Path:
    """Where GitLab looks for artifacts: the checkout, also where the script has gone elsewhere."""
    folder = Path(env.get("CI_PROJECT_DIR") or cwd)
    return folder if folder.is_dir() else cwd


def write_reports(folder: Path, result: BuildResult) -> None:
    """The dotenv report, which later jobs see as variables, and the metadata that it names."""
    write_report(folder / METADATA, json.dumps(result.metadata, indent=2) + "\n")
    lines = {
        "KUBE_BUILDER_DIGEST": result.digest,
        "KUBE_BUILDER_IMAGEID": result.image_id,
        "KUBE_BUILDER_METADATA": METADATA,
    }
    write_report(folder / REPORT, "".join(f"{name}={value}\n" for name, value in lines.items()))


def write_report(path: Path, text: str) -> None:
    """Write one of them. Raises KubeBuilderError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        fix = "the image is built; let the job's user write to the checkout"
        raise KubeBuilderError(f"cannot write the report {path}: {error.strerror}", fix=fix) from error
