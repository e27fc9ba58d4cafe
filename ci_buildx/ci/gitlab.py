"""GitLab CI/CD: inputs from ``KUBE_BUILDER_…``, sections, a dotenv report; CI_JOB_ID alone leads back to the builder.

``after_script`` runs in another shell than ``script`` and inherits nothing from it (GitLab's documentation,
"after_script"), so the builder's name is derived from what both see.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ci_buildx.builder import identity
from ci_buildx.ci import kubeconfig
from ci_buildx.errors import InputError
from ci_buildx.job.result import BuildResult
from ci_buildx.settings import assembly, options
from ci_buildx.settings.assembly import Value

REPORT = "kube-builder.env"


def main(*, post: bool, env: Mapping[str, str], stdout: TextIO = sys.stdout) -> int:
    """Run the job, or with ``post`` its clean-up; the exit code. Errors are left to the command line's boundary."""
    return clean_up(env, stdout) if post else build(env, stdout)


def build(env: Mapping[str, str], stdout: TextIO) -> int:
    """What the inputs say."""
    from ci_buildx.job import build as job

    with inputs(env) as (values, sources):
        settings = assembly.settings_from(values, sources, env, Path.cwd())
        with section(stdout, "kube_builder", "kube-builder: build"):
            result = job.run(settings, env=env, display_stream=stdout, identity=who(env))
    write_report(Path(env.get("CI_PROJECT_DIR") or Path.cwd()) / REPORT, result)
    stdout.writelines(f"{reference}@{result.digest}\n" for reference in result.references)
    return 0


def clean_up(env: Mapping[str, str], stdout: TextIO) -> int:
    """Remove this job's builder, also while ``script`` still runs."""
    from ci_buildx.job import remove

    with inputs(env) as (values, sources), section(stdout, "kube_builder_post", "kube-builder: clean up"):
        settings = assembly.builder_from(values, sources, env, Path.cwd())
        cluster = assembly.cluster_from(values, sources, env, Path.cwd())
        name = who(env).name
        found = remove.run(cluster, name, env=env, namespace=settings.namespace, missing_ok=True)
        stdout.write(f"{name}: {'removed' if found else 'nothing is left'}\n")
    return 0


@contextmanager
def inputs(env: Mapping[str, str]) -> Iterator[tuple[dict[str, Value], dict[str, str]]]:
    """Values and sources of the variables that are set; a list may be JSON, as GitLab writes an array input."""
    values, sources = assembly.read_variables(env)
    for name, value in values.items():
        if options.BY_NAME[name].repeatable and isinstance(value, str) and value.lstrip().startswith("["):
            values[name] = read_array(value, source=sources[name])
    if isinstance(text := values.get("kubeconfig"), str):
        with kubeconfig.as_path(text, folder=None) as path:
            yield {**values, "kubeconfig": path}, sources
    else:
        yield values, sources


def read_array(text: str, *, source: str) -> list[str]:
    """The texts of a JSON array. InputError names the variable."""
    try:
        array = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"is not a JSON array: {error}", source=source, fix='write ["a", "b"], or one a line'
        ) from error
    return [item if isinstance(item, str) else json.dumps(item) for item in array]


def who(env: Mapping[str, str]) -> identity.JobIdentity:
    """The job's identity, the same in ``script`` and ``after_script``. InputError outside of a GitLab job."""
    job = env.get("CI_JOB_ID", "")
    if not job:
        raise InputError(
            "CI_JOB_ID is not set", fix="`kube-builder ci` runs in a GitLab job; elsewhere use `kube-builder build`"
        )
    origin = identity.Origin(
        system="gitlab",
        repository=env.get("CI_PROJECT_PATH", "") or Path.cwd().name,
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
    try:
        yield
    finally:
        stdout.write(f"\x1b[0Ksection_end:{int(time.time())}:{name}\r\x1b[0K\n")
        stdout.flush()


def write_report(path: Path, result: BuildResult) -> None:
    """The dotenv report, which later jobs see as variables."""
    lines = {
        "KUBE_BUILDER_DIGEST": result.digest,
        "KUBE_BUILDER_IMAGEID": result.image_id,
        "KUBE_BUILDER_METADATA": json.dumps(result.metadata, separators=(",", ":")),
    }
    path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="utf-8")
