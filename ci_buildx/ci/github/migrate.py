"""Translation of steps with docker's actions into a kube-builder step. Pure: takes and returns a workflow's text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ci_buildx.ci import inputs as offered
from ci_buildx.ci.github.inputs import REFUSED
from ci_buildx.errors import InputError
from ci_buildx.model.documents import MalformedDocument, parse_yaml
from ci_buildx.model.record import dataclass, field
from ci_buildx.settings.option import OptionSurface

ACTION, SETUP = "org/kube-builder@v1", "org/kube-builder/setup@v1"
_PEER = re.compile(r"docker/(?P<name>login|setup-qemu|setup-buildx|metadata|build-push|bake)-action(?:@.*)?")
_OUTPUT = re.compile(r"steps\.(?P<id>[\w-]+)\.outputs\.(?P<name>[\w-]+)")
_WHOLE = re.compile(r"\$\{\{\s*steps\.[\w-]+\.outputs\.[\w-]+\s*\}\}")
_KUBECONFIG = "${{ secrets.KUBECONFIG }}"
_KEPT = ("name", "id", "if", "env", "continue-on-error", "timeout-minutes")
_RULES = {"tags": "tag-rules", "context": "metadata-context"}
_MARKS = ("labels", "annotations")
_LOGIN = ("registry", "username", "password", "scope")

Step = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class _WorkflowJob:
    """A job's steps with docker's actions, by the action's name, and notes for the user."""

    name: str
    found: dict[str, list[Step]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def list_steps(self, name: str) -> list[Step]:
        return self.found.get(name, [])

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def migrate_workflow(text: str, *, source: str) -> str:
    """Translate each job that builds. Returns the new steps as YAML, after comments on what was and was not migrated.

    Raises InputError for text that is not a workflow, and for one without steps to migrate.
    """
    jobs = [job for name, steps in _list_jobs(text, source) if (job := _read_steps(name, steps)).found]
    if not jobs:
        raise InputError(
            "no step uses one of docker's actions", source=source, fix="name a workflow that builds images"
        )
    return "\n".join(_migrate_job(job) for job in jobs)


def _list_jobs(text: str, source: str) -> list[tuple[str, list[Step]]]:
    try:
        document = parse_yaml(text)
    except MalformedDocument as error:
        where = f" at line {error.line}" if error.line else ""
        raise InputError(f"is not valid YAML{where}: {error.problem}", source=source) from error
    jobs = document.get("jobs") if isinstance(document, dict) else None
    if not isinstance(jobs, dict):
        raise InputError("has no jobs", source=source, fix="name a file of .github/workflows")
    return [(str(name), list(job.get("steps") or [])) for name, job in jobs.items() if isinstance(job, dict)]


def _read_steps(name: str, steps: Iterable[Step]) -> _WorkflowJob:
    job = _WorkflowJob(name=name)
    for step in steps:
        peer = _PEER.fullmatch(str(step.get("uses", ""))) if isinstance(step, dict) else None
        if peer:
            job.found.setdefault(peer["name"], []).append(step)
    return job


def _migrate_job(job: _WorkflowJob) -> str:
    builds = job.list_steps("build-push")
    steps: list[dict[str, Any]] = []
    if len(builds) > 1 or (job.list_steps("setup-buildx") and not builds):
        steps.append(_make_setup_step(job))
    steps += [_make_build_step(job, step, alone=len(builds) == 1) for step in builds]
    _note_rest(job, builds)
    replaced = [f"docker/{name}-action" for name, found in job.found.items() for _ in found if name != "bake"]
    head = [f"# job {job.name}: instead of {', '.join(replaced)}" if replaced else f"# job {job.name}"]
    comments = head + [f"#  - {note}" for note in job.notes]
    return "\n".join((*comments, _dump_yaml(steps))) if steps else "\n".join((*comments, ""))


def _make_setup_step(job: _WorkflowJob) -> dict[str, Any]:
    """Make the setup step: one builder for all builds of the job."""
    job.note("several steps build: one builder is set up for all of them")
    for step in job.list_steps("setup-buildx"):
        _note_outputs(job, step, "the setup step has the same outputs")
    given = _read_builder_inputs(job, {option.name for option in offered.OF_SETUP})
    step = next(iter(job.list_steps("setup-buildx")), {})
    kept = {key: step[key] for key in _KEPT if key in step and key != "name"}
    return {"name": "Set up a builder", **kept, "uses": SETUP, "with": {"kubeconfig": _KUBECONFIG, **given}}


def _read_builder_inputs(job: _WorkflowJob, known: set[str]) -> dict[str, Any]:
    """Return the inputs of setup-buildx and setup-qemu that still apply, and note the others."""
    given: dict[str, Any] = {}
    for step in job.list_steps("setup-buildx"):
        for name, value in _read_inputs(step).items():
            if name == "driver":
                job.note(f"driver {value} was removed: builders run on Kubernetes")
            elif name in known and name not in ("use", "cleanup"):
                given[name] = value
            else:
                job.note(f"setup-buildx-action's {name} was removed: {_explain_removal(name)}")
    if given.get("driver-opts"):
        job.note("driver-opts are now those of the kubernetes driver: check that each still applies")
    for step in job.list_steps("setup-qemu"):
        job.note("no emulator is installed: each architecture is built on its own node, or emulated in BuildKit")
        for name in _read_inputs(step):
            job.note(f"setup-qemu-action's {name} was removed: {_explain_removal(name)}")
    return given


def _make_build_step(job: _WorkflowJob, step: Step, *, alone: bool) -> dict[str, Any]:
    known = {option.name for option in offered.list_inputs(OptionSurface.GITHUB)}
    given: dict[str, Any] = {"kubeconfig": _KUBECONFIG} if alone else {}
    job.note(
        "kubeconfig: add the cluster's kubeconfig to the repository's secrets, or omit it on a runner in the cluster"
    )
    given |= _read_builder_inputs(job, known) if alone else {}
    inputs = _read_inputs(step)
    if "builder" in inputs:
        job.note("builder was removed: the step has its own" if alone else "builder was removed: the step finds it")
        inputs.pop("builder")
    if "context" not in inputs:
        job.note("context is still the repository at the commit, which the cluster fetches: write . for the checkout")
    given |= _read_metadata_inputs(job, inputs)
    given |= {name: value for name, value in inputs.items() if name in known}
    for name in inputs.keys() - known:
        job.note(f"build-push-action's {name} was removed: {_explain_removal(name)}")
    given |= _make_logins(job)
    kept = {key: step[key] for key in _KEPT if key in step}
    return {**kept, "uses": ACTION, "with": given}


def _read_metadata_inputs(job: _WorkflowJob, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return metadata-action's inputs if the build uses its outputs, and remove those outputs from ``inputs``."""
    used = {found["id"] for value in inputs.values() for found in _OUTPUT.finditer(str(value))}
    steps = [step for step in job.list_steps("metadata") if step.get("id") in used]
    if not steps:
        return {}
    step, given = steps[0], {}
    if len(steps) > 1:
        job.note("the build uses several metadata steps: only the first was migrated")
    for name, value in _read_inputs(step).items():
        if name == "github-token":
            job.note(f"metadata-action's {name} was removed: the metadata of the run is used")
        else:
            given[_RULES.get(name, name)] = value
    for name in ("tags", *_MARKS):
        rest = _drop_step_outputs(inputs.pop(name, ""), str(step["id"]))
        if rest:
            given[name] = f"{given.get(name, '')}\n{rest}".strip() if name in _MARKS else rest
    job.note(f"outputs of step {step['id']} are now those of the build step: steps.ID.outputs.tags, .version, .json …")
    if "annotations" not in given:
        job.note("annotations are set only if the input is set; labels always name the commit")
    return given


def _drop_step_outputs(value: Any, step: str) -> str:
    """Return the lines that are not outputs of the step."""
    lines = str(value).strip().splitlines()
    return "\n".join(line for line in lines if not (_WHOLE.fullmatch(line.strip()) and f"steps.{step}." in line))


def _make_logins(job: _WorkflowJob) -> dict[str, Any]:
    """Return the logins: a single one as separate inputs, several as a list."""
    entries = []
    for step in job.list_steps("login"):
        inputs = _read_inputs(step)
        if "registry-auth" in inputs:
            return {"registries": inputs["registry-auth"]}
        if str(inputs.get("ecr", "auto")) == "true" or ".amazonaws.com" in str(inputs.get("registry", "")):
            job.note("docker-credential-ecr-login logs in to AWS, with AWS's own variables: install it on the runner")
            inputs = {"registry": inputs.get("registry", ""), "ecr": "true"}
        if step.get("if"):
            job.note(f"the login's condition was removed: {step['if']}")
        entries.append({name: inputs[name] for name in _LOGIN if name in inputs})
    if job.list_steps("login"):
        job.note("logins apply to this step only: logout: false keeps them for later steps")
    if len(entries) == 1:
        return entries[0]
    return {"registries": _dump_yaml(entries).strip()} if entries else {}


def _note_rest(job: _WorkflowJob, builds: list[Step]) -> None:
    for step in job.list_steps("bake"):
        job.note(f"{step['uses']} was not migrated: write one step per target")
    if job.list_steps("metadata") and not builds:
        job.note("metadata-action does not build: keep it, or move its inputs to the step that builds")
    if job.list_steps("login") and not builds:
        job.note("login-action logs docker in: keep it if other steps need the login")


def _note_outputs(job: _WorkflowJob, step: Step, text: str) -> None:
    if step.get("id"):
        job.note(f"steps.{step['id']}: {text}")


def _read_inputs(step: Step) -> dict[str, Any]:
    given = step.get("with")
    return dict(given) if isinstance(given, dict) else {}


def _explain_removal(name: str) -> str:
    return REFUSED.get(name, "it is not supported").removeprefix("omit it: ")


def _dump_yaml(value: Any) -> str:
    """Write YAML as people do: block scalars for multi-line text, keys in their order."""
    import yaml

    class WorkflowDumper(yaml.SafeDumper):
        """Writes values in full, without aliases."""

        def ignore_aliases(self, _data: Any) -> bool:
            return True

    def represent_text(dumper: Any, data: str) -> Any:
        lines = "\n".join(line.rstrip() for line in data.strip().splitlines())
        several = "\n" in lines
        return dumper.represent_scalar(
            "tag:yaml.org,2002:str", f"{lines}\n" if several else lines, "|" if several else ""
        )

    WorkflowDumper.add_representer(str, represent_text)
    return str(yaml.dump(value, Dumper=WorkflowDumper, sort_keys=False, allow_unicode=True, width=1000))
