"""Docker's pattern of a matrix of platforms, pushed by digest and merged by a second job, as one job.

The pattern: docs.docker.com, "Distribute build across multiple runners". This module rewrites it into one job that
still uses docker's actions, which are then migrated like all others. Jobs that differ from the pattern stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ci_buildx.ci.github.workflow import Workflow, WorkflowJob, WorkflowStep
from ci_buildx.ci.migration.document import LineEdits, YamlDocument, list_items, read_scalars, render_entry
from ci_buildx.model.record import dataclass

_BY_DIGEST = "push-by-digest=true"
_CREATE = re.compile(
    r"docker buildx imagetools create\s+"
    r"\$\(jq -cr '\.tags \| map\(\"-t \" \+ \.\) \| join\(\" \"\)' <<< \"\$DOCKER_METADATA_OUTPUT_JSON\"\)\s+"
    r"\$\(printf '(?P<name>.+)@sha256:%s ' \*\)\s*"
)
_INSPECT = re.compile(r"\s*docker buildx imagetools inspect [^\n]+\s*")
_PAIR = re.compile(r"\s*platform=\$\{\{\s*matrix\.\w+\s*\}\}\s*\n\s*echo \"PLATFORM_PAIR=[^\n]*GITHUB_ENV\"?\s*")
_EXPORT = re.compile(r"(\s*(mkdir -p|digest=|touch) ?[^\n]*\n?)+")
_MATRIX = re.compile(r"\$\{\{\s*matrix\.(?P<name>[\w-]+)\s*\}\}")
_MERGE_KEYS = frozenset(("name", "runs-on", "needs", "steps", "permissions", "if", "timeout-minutes"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestJobs:
    """A build job and the job that merges its digests; ``reason`` is why they stay, or empty."""

    build: WorkflowJob
    merge: WorkflowJob
    reason: str


class _Differs(Exception):
    """The jobs differ from the pattern."""


def find_digest_jobs(workflow: Workflow) -> Iterator[DigestJobs]:
    """Yield each pair of jobs, whether it can be merged or not."""
    for job in workflow.jobs:
        if not any(_BY_DIGEST in step.read_input("outputs") for step in job.list_steps("build-push")):
            continue
        for merge in workflow.jobs:
            creates = any("imagetools create" in step.run for step in merge.steps)
            if creates and job.name in _read_needs(merge):
                reason = ""
                try:
                    _MergedJob(workflow, job, merge).edit(LineEdits(workflow.document))
                except _Differs as error:
                    reason = str(error)
                yield DigestJobs(build=job, merge=merge, reason=reason)
                break


def merge_digest_jobs(workflow: Workflow, pair: DigestJobs, edits: LineEdits) -> None:
    """Add the edits that make one job of a pair without a reason to stay."""
    _MergedJob(workflow, pair.build, pair.merge).edit(edits)


def _read_needs(job: WorkflowJob) -> set[str]:
    entry = job.entries.get("needs")
    if entry is None:
        return set()
    return {str(entry.value.value)} if entry.value.id == "scalar" else {str(one.value) for one in entry.value.value}


class _MergedJob:
    def __init__(self, workflow: Workflow, job: WorkflowJob, merge: WorkflowJob) -> None:
        self.workflow, self.job, self.merge = workflow, job, merge
        self.document: YamlDocument = workflow.document
        self.build = _take_step(job, "build-push")
        self.meta = _take_step(merge, "metadata")

    def edit(self, edits: LineEdits) -> None:
        """Add the edits. Raises _Differs."""
        self._check_jobs()
        name = self._check_merge_steps()
        self._check_build(name)
        key, values = self._read_matrix()
        gone = [step for step in self.job.steps if self._is_for_digest(step)]
        self._check_rest(gone)
        self._edit_job(edits, key, values)
        for step in gone:
            edits.remove_item(step.first, step.last)
        self._edit_build(edits, [entry[key] for entry in values])
        self._remove_merge(edits)

    def _check_jobs(self) -> None:
        if unknown := self.merge.entries.keys() - _MERGE_KEYS:
            raise _Differs(f"job {self.merge.name} has {', '.join(sorted(unknown))}")
        if _read_needs(self.merge) - {self.job.name} - _read_needs(self.job):
            raise _Differs(f"job {self.merge.name} needs other jobs, too")
        own, other = (read_scalars(self.document, one.node).get("if", "") for one in (self.job, self.merge))
        if other not in ("", own):
            raise _Differs(f"the condition of job {self.merge.name} differs")
        if "outputs" in self.job.entries:
            raise _Differs(f"job {self.job.name} has outputs")
        text = self.document.cut(0, self.merge.first) + self.document.cut(self.merge.last, len(self.document.lines))
        if re.search(rf"needs\.{re.escape(self.merge.name)}\b", text):
            raise _Differs(f"other jobs use job {self.merge.name}'s results")
        inside = range(min(self.job.first, self.merge.first), max(self.job.last, self.merge.last))
        if any(line in self.document.shared_lines for line in inside):
            raise _Differs("the jobs use YAML anchors")

    def _check_merge_steps(self) -> str:
        """Return the image's name in the command that creates the index."""
        name = ""
        for step in self.merge.steps:
            script = re.sub(r"\\\s*\n", " ", step.run)
            if created := _CREATE.fullmatch(script.strip()):
                name = created["name"]
            elif not self._is_known(step, script):
                raise _Differs(f"line {step.line} ({step.title}) does more than merge")
        if not name:
            raise _Differs("the command that merges is not the documented one")
        own = [login.read_input("registry") for login in self.job.list_steps("login")]
        if any(login.read_input("registry") not in own for login in self.merge.list_steps("login")):
            raise _Differs(f"job {self.merge.name} has logins that job {self.job.name} lacks")
        images = self.meta.read_input("images").split()
        if "".join(images) != "".join(name.split()):
            raise _Differs("the merged image's name is not that of metadata-action")
        return name

    def _is_known(self, step: WorkflowStep, script: str) -> bool:
        known = step.peer in ("login", "setup-buildx", "setup-qemu", "metadata")
        return (
            known
            or step.uses.startswith(("actions/checkout@", "actions/download-artifact@"))
            or bool(step.run and _INSPECT.fullmatch(script))
        )

    def _check_build(self, name: str) -> None:
        outputs = "".join(self.build.read_input("outputs").split())
        parts = dict(part.partition("=")[::2] for part in outputs.split(","))
        if parts.pop("push", "true") != "true" or self.build.read_input("push") not in ("", "true"):
            raise _Differs("the push has a condition")
        named = parts.pop("name", name)
        if parts.keys() - {"type", "push-by-digest", "name-canonical"} or "".join(named.split()) != "".join(
            name.split()
        ):
            raise _Differs("the outputs are not the documented ones")
        if "annotations" in self.build.inputs or self.build.condition or self.build.is_shared:
            raise _Differs("the build has a condition, annotations or anchors")
        metas = self.job.list_steps("metadata")
        if len(metas) > 1 or any(one.read_input("images").split() != name.split() for one in metas):
            raise _Differs("both jobs' metadata-action differ")
        own = {f"${{{{ steps.{one.id}.outputs.labels }}}}" for one in metas}
        if self.build.read_input("labels").strip() not in {"", *own}:
            raise _Differs("the build has labels of its own")
        if self.meta.condition or self.meta.env:
            raise _Differs("metadata-action has a condition or env")

    def _read_matrix(self) -> tuple[str, list[dict[str, str]]]:
        """Return the name of the platform's key, and the values of each combination."""
        found = _MATRIX.fullmatch(self.build.read_input("platforms").strip())
        matrix = self.document.get_value(self.job.node, "strategy", "matrix")
        dimensions = self.document.read_entries(matrix)
        if found is None or not dimensions:
            raise _Differs("platforms are not a dimension of the matrix")
        key = found["name"]
        if set(dimensions) == {key}:
            return key, [{key: str(item.value)} for item in list_items(dimensions[key].value)]
        if set(dimensions) != {"include"}:
            raise _Differs("the matrix has other dimensions")
        values = [dict(read_scalars(self.document, item)) for item in list_items(dimensions["include"].value)]
        if not values or any(key not in one for one in values):
            raise _Differs("the matrix has entries without a platform")
        return key, values

    def _is_for_digest(self, step: WorkflowStep) -> bool:
        if step.uses.startswith("actions/upload-artifact@"):
            return "digest" in step.read_input("name")
        refers = bool(self.build.id) and f"steps.{self.build.id}.outputs.digest" in step.run
        return (
            step.peer == "metadata"
            or bool(_PAIR.fullmatch(step.run + "\n"))
            or (refers and bool(_EXPORT.fullmatch(step.run)))
        )

    def _check_rest(self, gone: list[WorkflowStep]) -> None:
        """Raise _Differs if anything that stays depends on the matrix or on a step that goes."""
        ranges = [(step.first, step.last) for step in gone]
        ranges += [
            (one.first, one.last) for name, one in self.job.entries.items() if name in ("name", "strategy", "runs-on")
        ]
        ranges += [
            (one.first, one.last)
            for name, one in self.build.inputs.items()
            if name in ("platforms", "outputs", "tags", "labels")
        ]
        names = [one.id for one in [*gone, self.build] if one.id]
        used = re.compile(rf"matrix\.|PLATFORM_PAIR|steps\.({'|'.join(map(re.escape, names)) or '$^'})\b")
        for number in range(self.job.first, self.job.last):
            if not any(first <= number < last for first, last in ranges) and used.search(self.document.lines[number]):
                raise _Differs(
                    f"line {self.document.locate(number)} depends on the matrix or on a single platform's build"
                )

    def _edit_job(self, edits: LineEdits, key: str, values: list[dict[str, str]]) -> None:
        strategy, runner = self.job.entries["strategy"], self.job.entries.get("runs-on")
        edits.replace_lines(strategy.first, strategy.last)
        text = "" if runner is None else str(runner.value.value)
        if runner is not None and "matrix." in text:
            found = _MATRIX.fullmatch(text.strip())
            chosen = next((one for one in values if "amd64" in one[key]), values[0])
            if found is None or found["name"] not in chosen:
                raise _Differs("runs-on is an expression of the matrix")
            edits.replace_lines(
                runner.first, runner.last, render_entry("runs-on", chosen[found["name"]], runner.column)
            )
        title = self.job.entries.get("name")
        if title is not None and "matrix." in str(title.value.value):
            edits.replace_lines(title.first, title.last)

    def _edit_build(self, edits: LineEdits, platforms: list[str]) -> None:
        meta = self.meta
        lines = [line.rstrip("\r\n") for line in self.document.lines[meta.first : meta.last]]
        name = meta.id or "meta"
        column = next(entry.column for entry in meta.entries.values())
        if not meta.id:
            lines.insert(meta.entries["uses"].last - meta.first, f"{' ' * column}id: {name}")
        shift = _measure_indent(self.document.lines[self.build.first]) - _measure_indent(lines[0])
        moved = [" " * shift + line if shift >= 0 else line[-shift:] for line in lines]
        edits.insert_lines(self.document.find_comments(self.build.first), moved)
        indent = self.build.inputs["platforms"].column
        new = {
            "platforms": render_entry("platforms", ",".join(platforms), indent),
            "outputs": [] if "push" in self.build.inputs else render_entry("push", "true", indent),
            "tags": [],
            "labels": [],
        }
        for key, entry in self.build.inputs.items():
            if key in new:
                edits.replace_lines(entry.first, entry.last, new[key])
        last = max(entry.last for entry in self.build.inputs.values())
        outputs = [(key, f"${{{{ steps.{name}.outputs.{key} }}}}") for key in ("tags", "labels")]
        edits.insert_lines(last, [line for key, value in outputs for line in render_entry(key, value, indent)])

    def _remove_merge(self, edits: LineEdits) -> None:
        edits.remove_item(self.merge.first, self.merge.last)
        for job in self.workflow.jobs:
            entry = job.entries.get("needs")
            if job is self.merge or entry is None or self.merge.name not in _read_needs(job):
                continue
            if self.job.name in _read_needs(job):
                raise _Differs(f"job {job.name} needs both jobs")
            pattern = rf"(?<![\w-]){re.escape(self.merge.name)}(?![\w-])"
            text = re.sub(pattern, self.job.name, self.document.cut(entry.first, entry.last))
            edits.replace_lines(entry.first, entry.last, text.splitlines(keepends=True))


def _take_step(job: WorkflowJob, peer: str) -> WorkflowStep:
    found = job.list_steps(peer)
    if len(found) != 1 or not found[0].is_block or not found[0].inputs:
        raise _Differs(f"job {job.name} has {len(found)} steps with {peer}-action")
    return found[0]


def _measure_indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
