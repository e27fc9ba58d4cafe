"""Migration of workflows and composite actions from docker's actions to kube-builder.

Pure: takes a file's text and returns the new text with a report. A step is replaced only if the result is the same;
every other step stays, and the report has the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ci_buildx.ci.github.bake_steps import find_list
from ci_buildx.ci.github.digest_jobs import find_digest_jobs, merge_digest_jobs
from ci_buildx.ci.github.migrate_job import JobMigration, Notes
from ci_buildx.ci.github.workflow import Workflow, WorkflowJob, WorkflowStep
from ci_buildx.ci.migration.document import LineEdits, YamlDocument
from ci_buildx.ci.migration.report import MigratedFile, MigrationNote, MigrationVerdict

_DOCKER_BUILD = re.compile(
    r"\bdocker\s+(buildx\s+(build|bake)|build|push|image\s+(build|push))\b|\b(buildah|podman)\s+(bud|build)\b"
)
_OTHER_BUILD = re.compile(r"build-push|docker-build|build-docker|buildah|kaniko|publish-docker", re.IGNORECASE)
_COMPOSE_BUILD = re.compile(r"\bdocker[- ]compose\b.*\b(build|--build)\b")


def migrate_workflow(text: str, *, source: str) -> MigratedFile:
    """Migrate one file, without notes if it builds no images. Raises InputError for text that is not a workflow."""
    document = YamlDocument(text, source)
    merged, found = _merge_jobs(document)
    workflow = Workflow(merged)
    edits = LineEdits(merged)
    notes = Notes()
    for job in workflow.jobs:
        JobMigration(workflow, job, edits, notes).run()
        notes.found += list(_note_other_steps(job))
    if notes.changed:
        notes.found += _note_credentials(workflow)
    return MigratedFile(text=edits.apply(), notes=(*found, *notes.found))


def _merge_jobs(document: YamlDocument) -> tuple[YamlDocument, list[MigrationNote]]:
    """Merge jobs that build by digest. Returns the new document and notes."""
    notes = []
    edits = LineEdits(document)
    workflow = Workflow(document)
    for pair in find_digest_jobs(workflow):
        name, line = pair.merge.name, pair.build.line
        if pair.reason:
            text = f"jobs {pair.build.name} and {name} stay a matrix and a merge of digests: {pair.reason}"
            notes.append(_note(MigrationVerdict.LEFT, line, text))
            continue
        merge_digest_jobs(workflow, pair, edits)
        text = f"the matrix of platforms is one build, and job {name}, which merged the digests, is removed"
        notes.append(_note(MigrationVerdict.CHANGED, line, text))
    lines = edits.apply_lines()
    text = "".join(line for line, _ in lines)
    return YamlDocument(text, document.source, [number for _, number in lines]), notes


def _note_other_steps(job: WorkflowJob) -> Iterator[MigrationNote]:
    """Yield notes on everything else that builds."""
    if (called := job.entries.get("uses")) is not None:
        yield _note_call(job, str(called.value.value))
    steps = job.entries.get("steps")
    if steps is not None and not job.is_block and ("docker/" in job.document.cut(steps.first, steps.last)):
        text = f"job {job.name}: its steps stay: they use anchors or are not a list in block style"
        yield _note(MigrationVerdict.BY_HAND, job.line, text)
    for step in job.steps:
        yield from _note_step(step)


def _note_call(job: WorkflowJob, called: str) -> MigrationNote:
    if called.startswith("./"):
        text = f"job {job.name} calls {called}: migrate that file too if it builds images"
        return _note(MigrationVerdict.LEFT, job.line, text)
    builds = re.search(r"docker|image|container|build", called, re.IGNORECASE)
    text = f"job {job.name} calls {called}, which is in another repository"
    if called.startswith("docker/github-builder/"):
        text += "; write the job as steps: docs/migrating/migrate.md has the inputs"
    return _note(MigrationVerdict.BY_HAND if builds else MigrationVerdict.LEFT, job.line, text)


def _note_step(step: WorkflowStep) -> Iterator[MigrationNote]:
    if step.uses.startswith("./"):
        yield _note(
            MigrationVerdict.LEFT,
            step.line,
            f"{step.uses} is a local action: migrate its action.yml too if it builds images",
        )
    elif step.uses.startswith("docker/"):
        if not (step.peer or find_list(step)):
            yield _note(MigrationVerdict.LEFT, step.line, f"{step.title} stays")
    elif _OTHER_BUILD.search(step.uses.partition("@")[0]):
        yield _note(MigrationVerdict.BY_HAND, step.line, f"{step.title} builds images and stays")
    for offset, line in enumerate(step.run.splitlines()):
        if (_DOCKER_BUILD.search(line) or _COMPOSE_BUILD.search(line)) and not line.strip().startswith("#"):
            place = _find_line(step, line, offset)
            yield _note(
                MigrationVerdict.BY_HAND,
                place,
                "a script builds or pushes with docker and stays: kube-builder build has the same options",
            )


def _find_line(step: WorkflowStep, text: str, offset: int) -> int:
    for number in range(step.entries["run"].first, step.last):
        if text.strip() and text.strip() in step.document.lines[number]:
            return step.document.locate(number)
    return step.document.locate(step.entries["run"].first + offset)


def _note_credentials(workflow: Workflow) -> list[MigrationNote]:
    if workflow.is_action:
        text = "an action has no secrets: its callers set env KUBE_BUILDER_KUBECONFIG: ${{ secrets.KUBECONFIG }}"
        return [_note(MigrationVerdict.BY_HAND, 1, text)]
    if workflow.is_reusable:
        text = "a reusable workflow: callers pass the secret KUBECONFIG, or have secrets: inherit"
        return [_note(MigrationVerdict.BY_HAND, 1, text)]
    text = "kubeconfig is the new secret KUBECONFIG; remove the input on a runner inside the cluster"
    return [_note(MigrationVerdict.CHANGED, 1, text)]


def _note(verdict: MigrationVerdict, line: int, text: str) -> MigrationNote:
    return MigrationNote(verdict=verdict, line=line, text=text)
