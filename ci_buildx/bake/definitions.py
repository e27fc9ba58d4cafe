"""Reads definitions: which files, in which order, and what they are: HCL, JSON or compose."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ci_buildx.bake.compose.project import ComposeFiles, make_environment
from ci_buildx.bake.document import DocumentEvaluator
from ci_buildx.bake.paths import find_base, rebase_targets
from ci_buildx.bake.targets import LINK, BakeDefinition, BakeGroup, BakeTarget, ContextBases
from ci_buildx.bake.variables import ListedVariable
from ci_buildx.errors import InputError
from ci_buildx.hcl.bodies import parse_body
from ci_buildx.hcl.json_syntax import parse_json_body
from ci_buildx.hcl.source import HclError
from ci_buildx.hcl.syntax import (
    AttributeStep,
    Block,
    Body,
    Expression,
    IndexStep,
    Literal,
    Template,
    Traversal,
    VariableReference,
)
from ci_buildx.hcl.traversal import read_static
from ci_buildx.model.record import dataclass, replace
from ci_buildx.runtime.signals import limit_time
from ci_buildx.settings.syntax import GO_TRUE, require_boolean

DEFAULT_FILES = (
    *("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"),
    *("docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl"),
)
"""Files that are read if none is named, in this order."""
FILES = "BUILDX_BAKE_FILE"
SEPARATOR = "BUILDX_BAKE_PATH_SEPARATOR"
RELATIVE = "BUILDX_BAKE_FILE_RELATIVE_PATHS"
NO_LOOKUP = "BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP"
LARGEST = 2 << 20
"""Maximum bytes of a definition (docker buildx 0.38.2, ``maxBakeDefinitionSize``)."""
LONGEST = 20
"""Seconds for the evaluation of a definition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionFile:
    """A definition's name, as typed, and its text."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionContext:
    """What definitions are read with: ``builtins`` are variables of bake itself, ``given`` those of ``--var``.

    ``readable`` are paths outside of ``cwd`` that compose files may read.
    """

    builtins: Mapping[str, str]
    given: Mapping[str, str]
    env: Mapping[str, str]
    cwd: Path
    readable: Sequence[str] = ()

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that definitions may read."""
        return {} if self.env.get(NO_LOOKUP, "") in GO_TRUE else self.env

    def look_up(self, name: str) -> str | None:
        """Return the value of a variable from outside of the definition."""
        return self.given.get(name, self.environment.get(name))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedDefinition:
    """All targets, groups and variables of the files, whose names are the ``source`` in errors."""

    definition: BakeDefinition
    source: str
    variables: tuple[ListedVariable, ...] = ()


def list_named_files(env: Mapping[str, str], cwd: Path) -> list[str]:
    """Return the files of ``BUILDX_BAKE_FILE``. Raises InputError for one that does not exist."""
    found = []
    for part in env.get(FILES, "").split(env.get(SEPARATOR) or ":"):
        name = part.strip()
        if not name:
            continue
        if name != "-" and not (cwd / name).exists():
            raise InputError(f"stat {name}: no such file or directory", source=FILES)
        found.append(name)
    return found


def parse_variables(texts: Iterable[str]) -> dict[str, str]:
    """Parse ``--var NAME=VALUE``. Raises InputError."""
    found = {}
    for text in texts:
        if not text:
            continue
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f'invalid variable "{text}", expected key=value', source="--var")
        if not name:
            raise InputError(f'invalid variable "{text}", key is empty', source="--var")
        found[name] = value
    return found


def name_files(files: Sequence[DefinitionFile]) -> str:
    """Return the names of the files, as errors about all of them show it."""
    return ", ".join(file.name for file in files)


def load_definition(files: Sequence[DefinitionFile], context: DefinitionContext) -> LoadedDefinition:
    """Evaluate definitions, merged in order: compose files first. Raises InputError with file, line and column.

    A definition may be a stranger's, so its evaluation is limited to :data:`LONGEST` seconds.
    """

    def make_error() -> InputError:
        message, fix = f"the evaluation took more than {LONGEST} seconds", "simplify its loops and regular expressions"
        return InputError(message, source=name_files(files), fix=fix)

    with limit_time(LONGEST, make_error):
        return _load_definition(files, context)


def _load_definition(files: Sequence[DefinitionFile], context: DefinitionContext) -> LoadedDefinition:
    relative = bool(context.env.get(RELATIVE, "").strip()) and require_boolean(context.env[RELATIVE], source=RELATIVE)
    sorted_files = _SortedFiles(context)
    for file in files:
        sorted_files.add(file)
    known = sorted_files.read_compose()
    if relative and sorted_files.compose:
        known = _set_compose_bases(known, sorted_files.compose[0][0])
    if not sorted_files.bodies:
        return LoadedDefinition(definition=rebase_targets(known) if relative else known, source=name_files(files))
    home = context.env.get("HOME") or "/root"
    try:
        evaluator = DocumentEvaluator(sorted_files.bodies, lookup=context.look_up, builtins=context.builtins, home=home)
        evaluated = evaluator.evaluate(known)
        sources = list(evaluator.list_sources())
    except HclError as error:
        raise make_input_error(error) from None
    except RecursionError:
        message = "expressions or functions are nested too deeply"
        raise InputError(message, source=name_files(files), fix="simplify them") from None
    targets = [_set_bases(block, target) for block, target in sources]
    groups = list(evaluated.definition.groups)
    for label, names in evaluated.renamed.items():
        if names and names != (label,):
            groups.append(BakeGroup(name=label, targets=names))
    merged = BakeDefinition(groups=tuple(groups), targets=(*known.targets, *targets)).deduplicate()
    if relative:
        merged = rebase_targets(merged)
    else:
        merged = replace(merged, targets=tuple(replace(one, bases=ContextBases()) for one in merged.targets))
    return LoadedDefinition(definition=merged, source=name_files(files), variables=evaluated.variables)


def make_input_error(error: HclError) -> InputError:
    """Return an error of a definition for users."""
    return InputError(f"{error.summary}; {error.detail}", source=str(error.where) if error.where else "")


class _SortedFiles:
    """Files by their kind."""

    def __init__(self, context: DefinitionContext) -> None:
        self._context = context
        self._access = ComposeFiles(cwd=context.cwd, env=context.env, readable=context.readable)
        self.compose: list[tuple[str, str]] = []
        self.bodies: list[Body] = []

    def add(self, file: DefinitionFile) -> None:
        """Parse a file: by its ending, or as the first of compose, HCL and JSON that it is. Raises InputError."""
        lower = file.name.lower()
        if lower.endswith((".yml", ".yaml")):
            self.compose.append((file.name, file.text))
            return
        try:
            if file.name.endswith(".json"):
                self.bodies.append(parse_json_body(file.text, file.name))
                return
            if file.name.endswith(".hcl"):
                self.bodies.append(parse_body(file.text, file.name))
                return
        except HclError as error:
            raise make_input_error(error) from None
        self._guess(file)

    def _guess(self, file: DefinitionFile) -> None:
        from ci_buildx.bake.compose.services import read_services

        pair = (file.name, file.text)
        try:
            environment = make_environment(self._context.environment, self._context.given, self._access)
            read_services([pair], environment, self._access)
            self.compose.append(pair)
            return
        except InputError:
            pass
        try:
            self.bodies.append(parse_body(file.text, file.name))
            return
        except HclError as failure:
            reason = failure
        try:
            self.bodies.append(parse_json_body(file.text, file.name))
        except HclError:
            raise make_input_error(reason) from None

    def read_compose(self) -> BakeDefinition:
        """Return the targets of the compose files. Raises InputError."""
        if not self.compose:
            return BakeDefinition()
        from ci_buildx.bake.compose.services import read_services

        environment = make_environment(self._context.environment, self._context.given, self._access)
        return read_services(self.compose, environment, self._access)


def _set_compose_bases(definition: BakeDefinition, file: str) -> BakeDefinition:
    base = find_base(file)
    if base is None:
        return definition
    targets = []
    for one in definition.targets:
        named = dict.fromkeys(one.get("contexts", {}), base)
        context = base if "context" in one.values else None
        targets.append(replace(one, bases=ContextBases(default=base, context=context, named=named)))
    return replace(definition, targets=tuple(targets))


def _set_bases(block: Block, target: BakeTarget) -> BakeTarget:
    """Return a target with the folders of its file."""
    base = find_base(block.where.file) or ""
    argument = block.body.find_argument("context")
    named = {}
    if block.body.find_argument("contexts") is not None:
        named = dict.fromkeys(target.get("contexts", {}), base)
    bases = ContextBases(
        default=base,
        context=None if argument is None else base,
        reference="" if argument is None else _find_reference(argument.expression),
        named=named,
    )
    return replace(target, bases=bases)


def _find_reference(expression: Expression) -> str:
    """Return NAME of ``target.NAME.context``, "" for other expressions."""
    try:
        static = read_static(expression)
    except HclError:
        return ""
    if not isinstance(static, Traversal) or not isinstance(static.source, VariableReference):
        return ""
    if static.source.name != LINK.rstrip(":") or len(static.steps) != 2:
        return ""
    first, second = static.steps
    if not isinstance(second, AttributeStep) or second.name != "context":
        return ""
    if isinstance(first, AttributeStep):
        return first.name
    assert isinstance(first, IndexStep)
    key = first.key
    if isinstance(key, Template) and len(key.parts) == 1:
        key = key.parts[0]
    return str(key.value.raw) if isinstance(key, Literal) else ""


def is_default_file(name: str) -> bool:
    """Return whether a file is read without being named."""
    return posixpath.basename(name) in DEFAULT_FILES
