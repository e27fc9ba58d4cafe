"""Migration of GitLab pipelines: jobs that build with kaniko or docker become includes of kube-builder's component.

The component makes a job of the same name. GitLab merges what is left of the old job (rules, needs, tags …) into it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ci_buildx.ci import inputs as offered
from ci_buildx.ci.gitlab.build_script import BuildScript, UnreadableScript, is_idle, read_script
from ci_buildx.ci.migration.document import Entry, LineEdits, Node, YamlDocument, list_items, quote_text
from ci_buildx.ci.migration.report import MigratedFile, MigrationNote, MigrationVerdict
from ci_buildx.errors import InputError
from ci_buildx.settings.option import OptionKind, OptionSurface

COMPONENT = "$CI_SERVER_FQDN/org/kube-builder/kube-builder@v1"
_GLOBAL = frozenset(
    (
        "image",
        "services",
        "stages",
        "variables",
        "before_script",
        "after_script",
        "cache",
        "include",
        "default",
        "workflow",
    )
)
_REPLACED = ("image", "services", "before_script", "script", "after_script")
_KEPT = frozenset(
    ("stage", "rules", "only", "except", "needs", "dependencies", "tags", "when", "allow_failure", "retry", "timeout")
) | frozenset(
    ("interruptible", "variables", "environment", "resource_group", "cache", "id_tokens", "secrets", "inherit")
)
_BUILDS = re.compile(
    r"kaniko|\bmake [^\n]*(image|docker)|\bdocker\s+(buildx\s+)?(build|push|bake)\b|\bbuildah\s+(bud|build)\b"
)
_JOB_NAME = re.compile(r"[^.\s\"\\][^\"\\]*")


def migrate_pipeline(text: str, *, source: str) -> MigratedFile:
    """Migrate one file, without notes if it builds no images. Raises InputError for text that is not a pipeline."""
    document = YamlDocument(text, source)
    entries = document.read_entries(document.root)
    if not entries:
        raise InputError("has no jobs", source=source, fix="name a .gitlab-ci.yml")
    pipeline = _PipelineMigration(document, entries)
    for name, entry in entries.items():
        if name not in _GLOBAL and entry.value.id == "mapping":
            pipeline.migrate_job(name, entry)
    pipeline.add_includes()
    return MigratedFile(text=pipeline.edits.apply(), notes=tuple(pipeline.notes))


class _PipelineMigration:
    def __init__(self, document: YamlDocument, entries: dict[str, Entry]) -> None:
        self.document, self.entries = document, entries
        self.edits = LineEdits(document)
        self.notes: list[MigrationNote] = []
        self.includes: list[list[str]] = []

    def migrate_job(self, name: str, entry: Entry) -> None:
        """Migrate one job, or note why it stays."""
        if not _BUILDS.search(self.document.cut(entry.first, entry.last)):
            return
        try:
            script = self._read_job(name, entry)
        except UnreadableScript as reason:
            self._note(MigrationVerdict.BY_HAND, entry, f"job {name} stays: {reason}")
            return
        self._replace_job(name, entry, script)

    def _read_job(self, name: str, entry: Entry) -> BuildScript:
        """Return the build of a job. Raises UnreadableScript."""
        job = self.document.read_entries(entry.value)
        if any(entry.first <= line < entry.last for line in self.document.shared_lines) or entry.value.flow_style:
            raise UnreadableScript("it uses YAML anchors or flow style")
        if name.startswith(".") or not _JOB_NAME.fullmatch(name):
            raise UnreadableScript("it is a template for other jobs")
        if unknown := job.keys() - _KEPT - {*_REPLACED}:
            raise UnreadableScript(f"it has {', '.join(sorted(unknown))}")
        if "script" not in job:
            raise UnreadableScript("it has no script of its own")
        if self._find_includes() is None:
            raise UnreadableScript("the file's include is not a list in block style")
        if not is_idle(self._list_commands(job, "after_script")):
            raise UnreadableScript("its after_script does more than log out")
        script = read_script([*self._list_commands(job, "before_script"), *self._list_commands(job, "script")])
        if script.login and "variables" in job and job["variables"].value.flow_style:
            raise UnreadableScript("its variables are in flow style, and its login needs more")
        return script

    def _list_commands(self, job: dict[str, Entry], name: str) -> list[str]:
        """Return a script's commands: the job's, or those of the file."""
        entry = job.get(name) or self.entries.get(name)
        if entry is None:
            default = self.document.get_value(self.document.root, "default", name)
            return list(_read_commands(default)) if default is not None else []
        return list(_read_commands(entry.value))

    def _find_includes(self) -> Entry | bool | None:
        """Return the list of includes, False if there is none, or None if it is not a list in block style."""
        entry = self.entries.get("include")
        if entry is None:
            return False
        return entry if entry.value.id == "sequence" and not entry.value.flow_style else None

    def _replace_job(self, name: str, entry: Entry, script: BuildScript) -> None:
        job = self.document.read_entries(entry.value)
        stage = str(job["stage"].value.value) if "stage" in job else "test"
        self.includes.append(_make_include(name, stage, script))
        self._edit_job(entry, job, script.login)
        text = f"job {name} is made by the component; its rules and other keys are merged into that job"
        self._note(MigrationVerdict.CARRIED, entry, text)
        for remark in script.remarks:
            self._note(MigrationVerdict.CHANGED, entry, f"job {name}: {remark}")
        if script.login:
            text = f"job {name}: docker login is KUBE_BUILDER_USERNAME and KUBE_BUILDER_PASSWORD"
            self._note(MigrationVerdict.CHANGED, entry, text)
        if "tags" in job:
            self._note(
                MigrationVerdict.CHANGED, entry, f"job {name}: its runner needs to reach the cluster, not docker"
            )
        context = script.inputs.get("context", ["."])[0]
        if script.kaniko and context != "." and "file" in script.inputs:
            text = f"job {name}: file is relative to the project's folder; kaniko also looks in the context"
            self._note(MigrationVerdict.BY_HAND, entry, text)

    def _edit_job(self, entry: Entry, job: dict[str, Entry], login: dict[str, str]) -> None:
        """Remove what the component's job has, or the whole job if nothing else is left."""
        hidden = [key for key in ("services", "before_script") if self._is_inherited(key)]
        if job.keys() - {*_REPLACED, "stage"} or hidden or login:
            for key in _REPLACED:
                if key in job:
                    self.edits.replace_lines(job[key].first, job[key].last)
            column = next(one.column for one in job.values())
            pad, given = " " * column, job.get("variables")
            lines = [f"{pad}{key}: []" for key in hidden]
            added = [f"{pad}  {key}: {quote_text(value)}" for key, value in login.items()]
            if given is not None and login:
                self.edits.insert_lines(given.last, added)
            elif login:
                lines += [f"{pad}variables:", *added]
            self.edits.insert_lines(max(one.last for one in job.values()), lines)
            return
        self.edits.remove_item(entry.first, entry.last)

    def _is_inherited(self, key: str) -> bool:
        return key in self.entries or self.document.get_value(self.document.root, "default", key) is not None

    def add_includes(self) -> None:
        """Add the includes at the head of the file, or to those that it has."""
        lines = [line for include in self.includes for line in include]
        if not lines:
            return
        given = self._find_includes()
        if isinstance(given, Entry):
            indent = self.document.lines[given.value.start_mark.line].find("-")
            self.edits.insert_lines(given.last, [" " * indent + line for line in lines])
            return
        first = min(entry.first for entry in self.entries.values())
        self.edits.insert_lines(first, ["include:", *(f"  {line}" for line in lines), ""])

    def _note(self, verdict: MigrationVerdict, entry: Entry, text: str) -> None:
        self.notes.append(MigrationNote(verdict=verdict, line=entry.first + 1, text=text))


def _read_commands(node: Node) -> Iterator[str]:
    """Yield the commands of a script: a text, or a list that may hold lists."""
    if node.id == "scalar":
        if node.value:
            yield str(node.value)
        return
    for item in list_items(node):
        yield from _read_commands(item)


def _make_include(name: str, stage: str, script: BuildScript) -> list[str]:
    known = {option.name: option for option in offered.list_inputs(OptionSurface.GITLAB)}
    lines = [
        f"- component: {COMPONENT}",
        "  inputs:",
        f"    job-name: {quote_text(name)}",
        f"    stage: {quote_text(stage)}",
    ]
    for key, values in script.inputs.items():
        option = known.get(key)
        if key == "context" and values == ["."]:
            continue
        if option is not None and option.repeatable:
            lines.append(f"    {key}: [{', '.join(json.dumps(value, ensure_ascii=False) for value in values)}]")
        elif option is not None and option.kind is OptionKind.SWITCH:
            lines.append(f"    {key}: {values[-1]}")
        else:
            lines.append(f"    {key}: {quote_text(values[-1])}")
    return lines
