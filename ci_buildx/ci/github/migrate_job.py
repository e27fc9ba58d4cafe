"""Migration of one job: which of its steps are replaced, folded into a build, removed or left."""

from __future__ import annotations

import re

from ci_buildx.ci import inputs as offered
from ci_buildx.ci.github import bake_steps, folding
from ci_buildx.ci.github.build_edit import StepEdit
from ci_buildx.ci.github.builder_inputs import BuilderInputs, collect_platforms, convert_inputs
from ci_buildx.ci.github.workflow import Workflow, WorkflowJob, WorkflowStep, match_step
from ci_buildx.ci.migration.document import LineEdits, read_scalars, render_entry
from ci_buildx.ci.migration.report import MigrationNote, MigrationVerdict
from ci_buildx.settings.option import OptionSurface

ACTION, SETUP = "org/kube-builder@v1", "org/kube-builder/setup@v1"
_KUBECONFIG = "${{ secrets.KUBECONFIG }}"
_LOCAL = re.compile(r"(?<![/@])\b(localhost|127\.0\.0\.1):\d+")
_FOREIGN_RUNNER = re.compile(r"^['\"]?(windows|macos)", re.IGNORECASE)


class Notes:
    """Collects the report's notes; ``changed`` tells whether any step was replaced."""

    def __init__(self) -> None:
        self.found: list[MigrationNote] = []
        self.changed = False

    def add(self, verdict: MigrationVerdict, step: WorkflowStep, text: str) -> None:
        """Add a note on a step."""
        self.found.append(MigrationNote(verdict=verdict, line=step.line, text=text))


class JobMigration:
    """Decides on a job's steps, and adds the edits and notes."""

    def __init__(self, workflow: Workflow, job: WorkflowJob, edits: LineEdits, notes: Notes) -> None:
        self.workflow, self.job, self.edits, self.notes = workflow, job, edits, notes
        self.builds: dict[int, StepEdit] = {}
        self.gone: list[WorkflowStep] = []

    def run(self) -> None:
        """Migrate the job; without a build that can be replaced, nothing of it changes."""
        self._migrate_lists()
        for step in self.job.list_steps("build-push", "bake"):
            reason = self._explain_refusal(step)
            if reason:
                self.notes.add(MigrationVerdict.BY_HAND, step, f"{step.peer}-action stays: {reason}")
            else:
                self.builds[step.index] = StepEdit(step)
        if not self.builds:
            self._note_helpers()
            return
        self.notes.changed = True
        for step in self.job.list_steps("metadata"):
            self._migrate_metadata(step)
        self._migrate_builder()
        self._migrate_emulators()
        self._migrate_logins()
        for edit in self.builds.values():
            if edit.step.peer == "bake":
                self._migrate_bake(edit)
                continue
            self._note_build(edit.step)
            self._keep_loaded(edit)
            edit.apply(self.edits, ACTION)

    def _migrate_bake(self, edit: StepEdit) -> None:
        bake_steps.add_source(edit)
        for verdict, text in bake_steps.list_notes(edit.step, docker_driver=not self.job.list_steps("setup-buildx")):
            self.notes.add(verdict, edit.step, text)
        edit.apply(self.edits, bake_steps.ACTION)

    def _migrate_lists(self) -> None:
        """Replace the steps that list a definition's targets; they need no builder."""
        for step in self.job.steps:
            if action := bake_steps.find_list(step):
                self.edits.set_scalar(step.entries["uses"].value, action)
                self.gone.append(step)
                self.notes.add(MigrationVerdict.CARRIED, step, f"{step.title} is {action}, with its inputs and output")

    def _note_helpers(self) -> None:
        for step in self.job.list_steps("setup-buildx", "setup-qemu", "metadata", "login"):
            self.notes.add(MigrationVerdict.LEFT, step, f"{step.peer}-action stays: no step of this job was replaced")

    def _explain_refusal(self, step: WorkflowStep) -> str:
        """Return why a build stays, or an empty text."""
        baked = step.peer == "bake"
        known = {option.name for option in offered.list_inputs(OptionSurface.GITHUB)}
        known = bake_steps.list_known_inputs() if baked else known
        given = step.document.get_value(step.node, "with")
        if step.is_shared or not step.is_block:
            return "it uses YAML anchors or flow style"
        if given is not None and given.id != "mapping":
            return "its inputs are not a mapping"
        if any(entry.value.id != "scalar" for entry in step.inputs.values()):
            return "an input is not a text"
        if unknown := [name for name in step.inputs if name not in known]:
            return f"input {unknown[0]} is unknown"
        if _FOREIGN_RUNNER.match(self.job.runner):
            return f"its runner is {self.job.runner}, and kube-builder builds on Linux"
        if place := self._find_local_registry(step):
            return f"{place} is on the runner, which the cluster cannot reach"
        return bake_steps.explain_source(step) if baked else ""

    def _find_local_registry(self, step: WorkflowStep) -> str:
        """Return the address of a registry on the runner that the build may use, or an empty text."""
        document = self.job.document
        text = document.cut(step.first, step.last)
        if found := _LOCAL.search(text):
            return found[0]
        for node in (document.root, self.job.node, step.node):
            for name, value in read_scalars(document, document.get_value(node, "env")).items():
                found = _LOCAL.search(value)
                if found and re.search(rf"env\.{re.escape(name)}\b", document.cut(self.job.first, self.job.last)):
                    return found[0]
        found = _LOCAL.search(document.text)
        on_host = any("network=host" in one.read_input("driver-opts") for one in self.job.list_steps("setup-buildx"))
        return found[0] if found and on_host else self._find_registry_service()

    def _find_registry_service(self) -> str:
        services = self.job.document.read_entries(self.job.document.get_value(self.job.node, "services"))
        for name, entry in services.items():
            image = str(read_scalars(self.job.document, entry.value).get("image", ""))
            if re.search(r"(^|/)registry(:|$|@)|zot|distribution", image):
                return f"service {name}"
        return ""

    def _migrate_metadata(self, step: WorkflowStep) -> None:
        user = folding.find_metadata_user(self.job, step, [edit.step for edit in self.builds.values()])
        if isinstance(user, str):
            self.notes.add(MigrationVerdict.LEFT, step, f"metadata-action stays: {user}")
            return
        folding.fold_metadata(step, self.builds[user.index])
        self._remove(step)
        text = f"metadata-action is part of the build at line {user.line}, with the same rules"
        self.notes.add(MigrationVerdict.CARRIED, step, text)

    @property
    def _rest(self) -> list[WorkflowStep]:
        """Steps that are neither replaced nor removed."""
        away = {id(step) for step in self.gone} | {id(edit.step) for edit in self.builds.values()}
        return [step for step in self.job.steps if id(step) not in away]

    def _migrate_builder(self) -> None:
        """Replace setup-buildx by inputs of the build, or by a setup step for several builds."""
        setups = self.job.list_steps("setup-buildx")
        baked = any(step.peer == "bake" for step in self._list_builds())  # its platforms are in the definition
        shared = len(setups) == 1 and len(self.builds) > 1 and not baked
        if not setups or any(step.is_shared or not step.is_block for step in setups):
            self._build_alone(None)
        elif len(setups) > 1 or (shared and collect_platforms(self.job, setups[0], self._list_builds()) is None):
            self._build_beside(setups)
        elif shared:
            self._share_builder(setups[0])
        else:
            self._build_alone(setups[0])

    def _list_builds(self) -> list[WorkflowStep]:
        return [edit.step for edit in self.builds.values()]

    def _build_beside(self, setups: list[WorkflowStep]) -> None:
        """Give each build its own builder with its own setup's inputs; the setups stay."""
        for step in setups:
            self.notes.add(
                MigrationVerdict.LEFT, step, "setup-buildx-action stays: its builder cannot be shared as it is"
            )
        for edit in self.builds.values():
            named = [step for step in setups if step.id and f"steps.{step.id}." in edit.step.read_input("builder")]
            source = (named or [step for step in setups if step.index < edit.step.index] or setups)[-1]
            self._give_builder(edit, source)

    def _build_alone(self, setup: WorkflowStep | None) -> None:
        """Give each build a builder of its own, and remove setup-buildx unless others need it."""
        for edit in self.builds.values():
            self._give_builder(edit, setup)
        if len(self.builds) > 1:
            first = self._list_builds()[0]
            text = f"each of {len(self.builds)} builds has its own builder; {SETUP} makes one for all"
            self.notes.add(MigrationVerdict.CHANGED, first, text)
        if setup is None:
            for step in self.job.list_steps("setup-buildx"):
                self.notes.add(
                    MigrationVerdict.LEFT, step, "setup-buildx-action stays: it uses YAML anchors or flow style"
                )
            return
        reason = self._explain_buildx(setup)
        if reason:
            self._note_setup(setup, f"setup-buildx-action stays: {reason}")
        else:
            self._remove(setup)
            self.notes.add(MigrationVerdict.CARRIED, setup, "setup-buildx-action is part of the build")

    def _give_builder(self, edit: StepEdit, setup: WorkflowStep | None) -> None:
        if not self.workflow.is_action:
            edit.first.insert(0, render_entry("kubeconfig", _KUBECONFIG, edit.indent))
        if "builder" in edit.step.inputs:
            edit.drop_input("builder")
            self.notes.add(
                MigrationVerdict.CHANGED, edit.step, "input builder is removed: the step has its own builder"
            )
        if setup is None:
            return
        given = convert_inputs(setup, edit.indent, setup=False)
        given.lines.pop("platforms", None)
        edit.last += [lines for name, lines in given.lines.items() if name not in edit.step.inputs]
        edit.env |= {name: entry for name, entry in setup.env.items() if name not in edit.step.env}
        self._note_inputs(setup, given)

    def _note_inputs(self, setup: WorkflowStep, given: BuilderInputs) -> None:
        for remark in given.remarks:
            self.notes.add(MigrationVerdict.CHANGED, setup, f"setup-buildx-action: {remark}")
        for doubt in given.doubts:
            self.notes.add(MigrationVerdict.BY_HAND, setup, doubt)

    def _explain_buildx(self, setup: WorkflowStep) -> str:
        """Return why setup-buildx stays beside the builds, or an empty text."""
        own = [(setup.first, setup.last)]
        own += [
            (entry.first, entry.last)
            for edit in self.builds.values()
            for name, entry in edit.step.inputs.items()
            if name == "builder"
        ]
        line = self.job.find_reference(setup.id, without=own) if setup.id else None
        if line is not None:
            return f"line {line} uses its results"
        user = self._find_builder_user()
        return f"line {user.line} ({user.title}) may use it" if user else ""

    def _find_builder_user(self) -> WorkflowStep | None:
        return next((step for step in self._rest if step.may_build), None)

    def _share_builder(self, setup: WorkflowStep) -> None:
        """Replace setup-buildx by kube-builder's setup, or add that behind it if others need buildx."""
        reason = self._explain_buildx(setup)
        edit = StepEdit(setup)
        platforms = collect_platforms(self.job, setup, self._list_builds()) or ""
        if reason:
            self._insert_setup(setup, platforms, reason)
        else:
            self._replace_setup(edit, platforms)
        for build in self.builds.values():
            late = build.step.index < setup.index or (setup.condition and setup.condition != build.step.condition)
            if late and not self.workflow.is_action:
                build.first.insert(0, render_entry("kubeconfig", _KUBECONFIG, build.indent))
            if "builder" in build.step.inputs:
                build.drop_input("builder")
                self.notes.add(
                    MigrationVerdict.CHANGED, build.step, "input builder is removed: the setup step's builder is found"
                )
            self._pin_platform(build, platforms)

    def _make_setup_lines(self, edit: StepEdit, platforms: str) -> list[list[str]]:
        given = convert_inputs(edit.step, edit.indent, setup=True)
        self._note_inputs(edit.step, given)
        given.lines.pop("platforms", None)
        lines = [] if self.workflow.is_action else [render_entry("kubeconfig", _KUBECONFIG, edit.indent)]
        lines += [render_entry("platforms", platforms, edit.indent)] if platforms else []
        return [*lines, *given.lines.values()]

    def _replace_setup(self, edit: StepEdit, platforms: str) -> None:
        edit.first = self._make_setup_lines(edit, platforms)
        for name in edit.step.inputs:
            edit.drop_input(name)
        edit.apply(self.edits, SETUP)
        self.gone.append(edit.step)
        text = f"setup-buildx-action is {SETUP}, with the same outputs and one builder for {len(self.builds)} builds"
        self.notes.add(MigrationVerdict.CARRIED, edit.step, text)

    def _insert_setup(self, setup: WorkflowStep, platforms: str, reason: str) -> None:
        edit = StepEdit(setup)
        dash = " " * _measure_dash(setup)
        key = f"{dash}  "
        lines = [f"{dash}- uses: {SETUP}"]
        if setup.condition:
            lines += render_entry("if", setup.texts["if"], len(key))
        body = [line for one in self._make_setup_lines(edit, platforms) for line in one]
        shift = len(key) + 2 - edit.indent
        body = [(" " * shift + line if shift > 0 else line[-shift:]) for line in body]
        self.edits.insert_lines(setup.last, [*lines, *([f"{key}with:", *body] if body else [])])
        self._note_setup(setup, f"setup-buildx-action stays, {SETUP} follows it: {reason}")

    def _note_setup(self, setup: WorkflowStep, text: str) -> None:
        """Note that setup-buildx stays, by hand if other steps work on its builder."""
        used = match_step(setup.id or " ")
        others = [step for step in self._rest if step is not setup]
        workers = [one for one in others if used.search(one.document.cut(one.first, one.last)) and not _is_print(one)]
        self.notes.add(MigrationVerdict.LEFT, setup, text)
        for one in workers:
            reason = f"{one.title} works on setup-buildx-action's builder, which the build no longer uses"
            self.notes.add(MigrationVerdict.BY_HAND, one, reason)

    def _pin_platform(self, build: StepEdit, platforms: str) -> None:
        """Keep a build without platforms at one platform, though the shared builder has several."""
        if "platforms" in build.step.inputs or not ("," in platforms or "\n" in platforms or "${{" in platforms):
            return
        platform = "linux/arm64" if "arm" in self.job.runner and "${{" not in self.job.runner else "linux/amd64"
        build.first.append(render_entry("platforms", platform, build.indent))
        verdict = MigrationVerdict.BY_HAND if "${{" in self.job.runner else MigrationVerdict.CHANGED
        self.notes.add(verdict, build.step, f"platforms: {platform} is added, the runner's own platform")

    def _migrate_emulators(self) -> None:
        for step in self.job.list_steps("setup-qemu"):
            line = self.job.find_reference(step.id, without=[(step.first, step.last)]) if step.id else None
            user = next((one for one in self._rest if one.may_emulate), None)
            if line is not None:
                self.notes.add(MigrationVerdict.LEFT, step, f"setup-qemu-action stays: line {line} uses its results")
            elif user is not None:
                self.notes.add(
                    MigrationVerdict.LEFT, step, f"setup-qemu-action stays: line {user.line} ({user.title}) may use it"
                )
            elif step.is_shared or not step.is_block:
                self.notes.add(
                    MigrationVerdict.LEFT, step, "setup-qemu-action stays: it uses YAML anchors or flow style"
                )
            else:
                self._remove(step)
                gone = f" (with its {', '.join(step.inputs)})" if step.inputs else ""
                text = f"setup-qemu-action is removed{gone}: builds use the cluster's nodes or BuildKit's emulators"
                self.notes.add(MigrationVerdict.CHANGED, step, text)

    def _migrate_logins(self) -> None:
        logins = self.job.list_steps("login")
        only = next(iter(self.builds.values())) if len(self.builds) == 1 else None
        folded: list[WorkflowStep] = []
        for step in logins:
            reason = "several builds use it"
            if only is not None:
                reason = folding.explain_login(self.job, step, only.step, self.gone, alone=len(logins) == 1)
            if reason:
                text = f"login-action stays: {reason}; kube-builder reads docker's logins"
                self.notes.add(MigrationVerdict.LEFT, step, text)
            else:
                folded.append(step)
        if only is None or not folded:
            return
        folding.fold_logins(folded, only)
        for step in folded:
            self._remove(step)
            text = f"login-action is part of the build at line {only.step.line}"
            self.notes.add(MigrationVerdict.CARRIED, step, text)

    def _remove(self, step: WorkflowStep) -> None:
        self.gone.append(step)
        self.edits.remove_item(step.first, step.last)
        dropped = step.entries.keys() - {"name", "id", "uses", "with", "if", "env"}
        if dropped:
            self.notes.add(MigrationVerdict.CHANGED, step, f"{', '.join(sorted(dropped))} is removed with the step")

    def _keep_loaded(self, edit: StepEdit) -> None:
        """Load the result as the docker driver does, which is the default without setup-buildx."""
        step = edit.step
        if self.job.list_steps("setup-buildx") or {"load", "outputs"} & step.inputs.keys():
            return
        if step.read_input("push").strip() == "true":
            return
        later = [one for one in self.job.steps[step.index + 1 :] if re.search(r"\bdocker\b", one.run)]
        if not later or id(later[0]) in {id(one) for one in self.gone}:
            return
        if "push" in step.inputs and step.read_input("push").strip() != "false":
            text = f"line {later[0].line} may use the image, which docker's default builder loads: add load: true"
            self.notes.add(MigrationVerdict.BY_HAND, step, text)
            return
        edit.last.append(render_entry("load", "true", edit.indent))
        text = (
            "load: true is added because docker's default builder loads images; it needs a docker daemon on the runner"
        )
        self.notes.add(MigrationVerdict.CHANGED, step, text)

    def _note_build(self, step: WorkflowStep) -> None:
        name = f" ({step.texts['name']})" if "name" in step.texts else ""
        self.notes.add(
            MigrationVerdict.CARRIED, step, f"build-push-action{name} is {ACTION}, with its inputs and outputs"
        )
        if not step.read_input("context").strip():
            text = "context is the repository at the commit, which the cluster fetches; use context: . for the checkout"
            self.notes.add(MigrationVerdict.CHANGED, step, text)
        if step.read_input("load").strip() not in ("", "false"):
            self.notes.add(MigrationVerdict.CHANGED, step, "load needs a docker daemon on the runner")


def _is_print(step: WorkflowStep) -> bool:
    lines = [line.strip() for line in step.run.splitlines() if line.strip()]
    return bool(lines) and all(line.startswith("echo ") for line in lines)


def _measure_dash(step: WorkflowStep) -> int:
    line = step.document.lines[step.first]
    return len(line) - len(line.lstrip(" "))
