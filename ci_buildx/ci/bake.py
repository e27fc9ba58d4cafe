"""``bake`` in the jobs of CI systems: from inputs to targets.

The definition is the author's of the commit, the inputs are the workflow's. So a definition sees neither the inputs nor
the runner's tokens, and may use files of the checkout only, unless the input ``allow`` permits more. Defaults are those
of docker/bake-action 7.1 (``src/context.ts``), which permits all files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from ci_buildx.bake import entitlements
from ci_buildx.bake import request as bake_request
from ci_buildx.bake.definitions import DEFAULT_FILES, DefinitionFile, LoadedDefinition, parse_variables
from ci_buildx.bake.entitlements import Entitlements
from ci_buildx.bake.execution import TargetExecution, parse_jobs
from ci_buildx.bake.inputs import TargetInputs, list_inputs
from ci_buildx.bake.jobs import SharedOptions
from ci_buildx.bake.remote import DefinitionBuild, read_remote_files
from ci_buildx.bake.request import BakeRequest
from ci_buildx.bake.resolution import ResolvedTargets
from ci_buildx.bake.targets import DEFAULT, BakeTarget
from ci_buildx.ci.bake_inputs import SHARED_NAMES
from ci_buildx.errors import InputError
from ci_buildx.model.plaintext import describe_pasted
from ci_buildx.model.record import dataclass, replace
from ci_buildx.settings.attributes import PROVENANCE, SBOM
from ci_buildx.settings.calls import parse_call
from ci_buildx.settings.contexts import refuse_escape
from ci_buildx.settings.option import VARIABLE_PREFIX
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.values import FrontendCall

_WITHHELD_PREFIXES = ("INPUT_", "STATE_", "ACTIONS_", "GIT_AUTH_", "BUILDX_BAKE_GIT_AUTH_", VARIABLE_PREFIX)
_WITHHELD = frozenset(
    (
        *("CI_JOB_TOKEN", "CI_BUILD_TOKEN", "CI_REGISTRY_PASSWORD", "CI_DEPENDENCY_PROXY_PASSWORD"),
        *("CI_DEPLOY_PASSWORD", "CI_REPOSITORY_URL", "DOCKER_AUTH_CONFIG", "KUBECONFIG"),
    )
)
"""Variables of the runner and of kube-builder itself, which no definition needs. Those of the workflow stay."""
_FREE = ("set", "vars")
_PATHS = ("buildkitd-config", "builder-config", "kubeconfig", "timeline")


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeCommand:
    """The inputs of a step or job: what to build, ``shared`` options of the job around it, what is ``allowed``."""

    request: BakeRequest
    shared: SharedOptions
    allowed: Entitlements
    execution: TargetExecution
    call: FrontendCall | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BakePlan:
    """The targets of a command, and the ``definition`` as ``bake --print`` shows it."""

    targets: tuple[TargetInputs, ...]
    definition: Mapping[str, Any]


AddDefaults = Callable[[ResolvedTargets], Iterable[str]]
"""Returns overrides for what the targets leave open."""


_INPUTS = {"--set": "input set", "--var": "input vars", "--file": "input files", "--jobs": "input jobs"}


def reword_flags(error: BaseException) -> None:
    """Name bake's own inputs in place of its flags, in the source and the fix of an error.

    In an error about a target, a flag is the name of its attribute.
    """
    if isinstance(error, InputError) and error.source.startswith("target "):
        error.source = error.source.replace(", --", ", ")
    elif isinstance(error, InputError):
        for flag, name in _INPUTS.items():
            error.source, error.fix = error.source.replace(flag, name), error.fix.replace(flag, name)


def is_withheld(name: str) -> bool:
    """Return whether a variable is not for definitions."""
    return name.startswith(_WITHHELD_PREFIXES) or name in _WITHHELD


def select_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that definitions may read."""
    return {name: value for name, value in env.items() if not is_withheld(name)}


def find_folder(given: RawValues, text: str, *, source: str) -> Path:
    """Return the folder that paths are relative to. Raises InputError if it does not exist or is not the checkout's."""
    folder = refuse_escape(given.cwd / text, source=source, env=given.env)
    if not folder.is_dir():
        raise InputError(f"folder {text!r} does not exist", source=source, fix="check out the repository first")
    return folder


def read_command(given: RawValues, env: Mapping[str, str], folder: Path, *, remote: str = "") -> BakeCommand:
    """Read the inputs. ``remote`` is the URL of a definition in git, "" for one in ``folder``. Raises InputError."""
    _refuse_pasted(given)
    overrides = list(given.read_texts("set"))
    overrides += [f"*.{name}=true" for name in ("push", "load", "no-cache", "pull") if given.switch(name)]
    method = given.read_text("call")
    call = parse_call(method, source=given.find_source("call")) if method else None
    if call is not None:
        overrides += bake_request.make_call_overrides(method, source=given.find_source("call"))
    for kind in (SBOM, PROVENANCE):
        if text := given.read_text(kind):
            overrides.append(bake_request.make_attestation_override(kind, text))
    request = BakeRequest(
        targets=tuple(given.read_texts("targets")) or (DEFAULT,),
        remote=remote,
        files=tuple(given.read_texts("files")),
        overrides=tuple(overrides),
        variables=parse_variables(given.read_texts("vars")),
    )
    shared = SharedOptions(
        values={name: value for name, value in _place_paths(given).values.items() if name in SHARED_NAMES},
        sources=given.sources,
        env=env,
        cwd=folder,
    )
    return BakeCommand(
        request=request,
        shared=shared,
        allowed=entitlements.parse_entitlements(given.read_texts("allow")),
        execution=parse_jobs(given.read_text("jobs")),
        call=call,
    )


def _refuse_pasted(given: RawValues) -> None:
    """Check the values; those of overrides and variables are free text. Raises InputError."""
    replace(given, values={name: one for name, one in given.values.items() if name not in _FREE}).check_values()


def _place_paths(given: RawValues) -> RawValues:
    """Return the inputs with absolute paths: they are relative to the job's folder, not to the definition's."""
    found = {name: given.read_text(name) for name in _PATHS}
    placed = {
        name: str(given.cwd / text)
        for name, text in found.items()
        if text and not describe_pasted(text, is_path=True) and (name == "timeline" or (given.cwd / text).is_file())
    }
    return given.replace_values(**placed)


def load_definition(
    request: BakeRequest, files: list[DefinitionFile], env: Mapping[str, str], folder: Path
) -> LoadedDefinition:
    """Read the definition's local files and evaluate all, without the runner's variables. Raises InputError."""
    names = request.local_files
    if names is not None:
        for name in names or DEFAULT_FILES:
            refuse_escape(folder / name, source="input files", env=env)
        files = [*files, *bake_request.read_local_files(names, cwd=folder, stdin=None, report=lambda *_: None)]
    if not files:
        raise InputError(
            "couldn't find a bake definition", source="input files", fix=f"add docker-bake.hcl to {folder}"
        )
    return bake_request.load_files(files, request, env=select_environment(env), cwd=folder)


def plan_targets(
    command: BakeCommand,
    display_stream: TextIO,
    *,
    workspace: Path,
    add_defaults: AddDefaults = lambda _: (),
    build: DefinitionBuild | None = None,
) -> BakePlan:
    """Read the definition and return the targets with what they are allowed; files of ``workspace`` always are.

    ``build`` is for a definition in git, which the cluster fetches. Raises the KubeBuilderError tree.
    """
    request, shared = command.request, command.shared
    files = []
    if request.remote:
        files = read_remote_files(request.remote, request.remote_files, shared, display_stream, build)
    loaded = load_definition(request, files, shared.env, shared.cwd)
    resolved = bake_request.select_targets(loaded, request, shared.env)
    if added := tuple(add_defaults(resolved)):
        resolved = bake_request.select_targets(
            loaded, replace(request, overrides=(*request.overrides, *added)), shared.env
        )
    _check_secrets(resolved.targets.values(), shared.env)
    bake_request.check_files(resolved, shared.env, shared.cwd)
    targets = tuple(list_inputs(resolved.targets, request.remote, shared.env))
    _check_requests(targets, resolved, command, workspace)
    return BakePlan(targets=targets, definition=bake_request.describe_targets(resolved, request.remote))


def _check_secrets(targets: Iterable[BakeTarget], env: Mapping[str, str]) -> None:
    """Refuse secrets of targets that are variables of the runner. Raises InputError."""
    for target in targets:
        for secret in target.get("secret", ()):
            name = secret.env or ("" if secret.src else secret.id)
            if is_withheld(name) and name in env:
                fix = "pass the value on in a variable of the step"
                raise InputError(f"variable {name} is not for definitions", source=f"target {target.name}", fix=fix)


def _check_requests(
    targets: Iterable[TargetInputs], resolved: ResolvedTargets, command: BakeCommand, workspace: Path
) -> None:
    """Refuse what a definition requests and the inputs do not permit. Raises InputError."""
    env, cwd = command.shared.env, command.shared.cwd
    granted = entitlements.grant_paths(command.allowed, resolved.allowed, cwd)
    if cwd.is_relative_to(workspace):
        granted = entitlements.grant_paths(granted, resolved.allowed, workspace)
    missing = entitlements.make_request(entitlements.find_missing(targets, granted, cwd), cwd)
    missing = entitlements.drop_unchecked(missing, env, remote=bool(command.request.remote))
    if missing.is_empty:
        return
    wanted = ", ".join(line.removeprefix(" - ") for line in (*missing.lines, *missing.file_lines))
    flags = ",".join((*missing.flags, *missing.file_flags))
    raise InputError(
        f"the definition requests more than it may use: {wanted}", source="input allow", fix=f"set allow: {flags}"
    )
