"""Evaluates definitions in HCL and JSON: variables, functions, targets and groups that refer to each other.

As in docker buildx 0.38.2 (``bake/hclparser/hclparser.go``), a name is evaluated when it is needed, and an attribute of
another target alone if only that is needed; what depends on itself is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass as mutable_record
from dataclasses import field as mutable_field
from itertools import product
from math import prod

from ci_buildx.bake import variables
from ci_buildx.bake.attributes import BY_NAME, GROUP_ATTRIBUTES, TargetAttribute
from ci_buildx.bake.functions import make_function, read_parameters
from ci_buildx.bake.targets import BakeDefinition, BakeGroup, BakeTarget, check_name, make_group_value
from ci_buildx.bake.variables import ListedVariable, Lookup, VariableBlock
from ci_buildx.hcl.evaluation import evaluate
from ci_buildx.hcl.functions.table import UNEVALUATED, make_functions
from ci_buildx.hcl.scope import Scope
from ci_buildx.hcl.source import HclError, SourceRange
from ci_buildx.hcl.syntax import Argument, Block, Body, Expression
from ci_buildx.hcl.traversal import Reference, find_calls, find_references, find_start
from ci_buildx.hcl.types.conversion import ConversionError, convert
from ci_buildx.hcl.types.values import MAPPINGS, STRING, HclValue, make_object, make_string
from ci_buildx.model.record import dataclass

BLOCKS = {"target": 1, "group": 1, "variable": 1, "function": 1}
"""Types of blocks at the top of a definition, and their numbers of labels."""
_TYPES: Mapping[str, Mapping[str, TargetAttribute]] = {"target": BY_NAME, "group": GROUP_ATTRIBUTES}

_MOST_TARGETS = 10_000
"""Maximum number of targets of one matrix, which a definition of a stranger may have."""


class _Undefined(Exception):
    """A name is not defined; the evaluation of the expression reports it with its position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedDocument:
    """Groups and targets, the names that a matrix made of each block, and all variables."""

    definition: BakeDefinition
    renamed: Mapping[str, tuple[str, ...]]
    variables: tuple[ListedVariable, ...]


@mutable_record(slots=True, eq=False)
class _Instance:
    """One target or group of a block: a block with a matrix has several. ``values`` are those evaluated so far."""

    block: Block
    scope: Scope
    name: str
    values: dict[str, object] = mutable_field(default_factory=dict)
    done: set[str] = mutable_field(default_factory=set)
    running: set[str] = mutable_field(default_factory=set)

    def make_value(self) -> HclValue:
        """Return the instance as expressions see it."""
        if self.block.type == "target":
            return self.make_target().to_value()
        return make_group_value(self.make_group())

    def make_target(self) -> BakeTarget:
        """Return the target."""
        return BakeTarget(name=self.name, values={name: one for name, one in self.values.items() if one is not None})

    def make_group(self) -> BakeGroup:
        """Return the group."""
        targets = self.values.get("targets")
        description = self.values.get("description")
        return BakeGroup(
            name=self.name,
            description=description if isinstance(description, str) else "",
            targets=tuple(targets) if isinstance(targets, list) else (),
        )


class DocumentEvaluator:
    """The state of one evaluation. ``bodies`` are the files in order; ``builtins`` cannot be overridden."""

    def __init__(self, bodies: Sequence[Body], *, lookup: Lookup, builtins: Mapping[str, str], home: str) -> None:
        self._lookup = lookup
        self._builtins = builtins
        known = {name: make_string(text) for name, text in builtins.items()}
        self._scope = Scope(known | {kind: make_object({}) for kind in _TYPES}, make_functions(home))
        blocks = [block for body in bodies for block in body.find_blocks(BLOCKS)]
        reserved = {*_TYPES, *builtins}
        self._variables: dict[str, VariableBlock] = {}
        self._functions: dict[str, Block] = {}
        for block in blocks:
            if block.type == "variable" and block.labels[0] not in reserved:
                self._variables[block.labels[0]] = variables.read_variable(block)
            elif block.type == "function" and block.labels[0] not in reserved:
                self._functions[block.labels[0]] = block
        self._blocks = [block for block in blocks if block.type in _TYPES]
        self._arguments: dict[str, Argument] = {}
        for body in bodies:
            self._arguments |= {name: one for name, one in body.list_arguments(BLOCKS).items() if name not in reserved}
        self._instances: dict[Block, list[_Instance]] = {}
        self._named: dict[str, dict[str, list[Block]]] = {}
        self._running_values: set[str] = set()
        self._running_functions: set[str] = set()

    def evaluate(self, known: BakeDefinition) -> EvaluatedDocument:
        """Evaluate everything; targets and groups are merged into those ``known``. Raises HclError."""
        for name, variable in self._variables.items():
            self._resolve_value(name, variable.block.where)
        listed = [variables.list_variable(one, self._scope.variables[name]) for name, one in self._variables.items()]
        for variable in self._variables.values():
            for rule in variable.block.body.find_blocks({"validation": 0}):
                for name in ("condition", "error_message"):
                    if argument := rule.body.find_argument(name):
                        self._load(argument.expression, self._scope)
            variables.check_variable(variable, self._scope)
        for name, block in self._functions.items():
            self._resolve_function(name, block.where)
        renamed = self._name_blocks()
        for block in self._blocks:
            self._resolve_block(block, None)
        for name, argument in self._arguments.items():
            self._resolve_value(name, argument.where)
        return EvaluatedDocument(definition=self._collect(known), renamed=renamed, variables=tuple(listed))

    def list_sources(self) -> Iterable[tuple[Block, BakeTarget]]:
        """Yield the targets with the blocks that define them, in order."""
        for block in self._blocks:
            if block.type == "target":
                yield from ((block, one.make_target()) for one in self._instances[block])

    def _collect(self, known: BakeDefinition) -> BakeDefinition:
        groups = {one.name: one for one in known.groups}
        for block in self._blocks:
            if block.type == "group":
                groups |= {one.name: one.make_group() for one in self._instances[block]}
        return BakeDefinition(groups=tuple(groups.values()), targets=known.targets)

    def _name_blocks(self) -> dict[str, tuple[str, ...]]:
        """Determine the names of all targets and groups; return those of each label."""
        named: dict[str, dict[str, list[Block]]] = {}
        renamed: dict[tuple[str, str], list[str]] = {}
        for block in self._blocks:
            where = block.label_where[0]
            try:
                check_name(block.labels[0])
                instances = self._open(block)
                for one in instances:
                    one.name = self._read_name(block, one.scope)
                    check_name(one.name)
            except ValueError as error:
                raise HclError("Invalid name", str(error), where) from None
            names = [one.name for one in instances]
            for name, count in Counter(names).items():
                if count > 1:
                    raise HclError("Invalid name", f'duplicate name "{name}"', where)
                named.setdefault(block.type, {}).setdefault(name, []).append(block)
            renamed.setdefault((block.type, block.labels[0]), []).extend(names)
        self._named = named
        return {label: tuple(dict.fromkeys(names)) for (_, label), names in renamed.items()}

    def _open(self, block: Block) -> list[_Instance]:
        """Return the instances of a block: one for each combination of its matrix."""
        if block in self._instances:
            return self._instances[block]
        matrix = block.body.find_argument("matrix")
        scopes = [self._scope]
        if matrix is not None:
            if block.type == "group":
                raise ValueError("matrix is not supported for groups")
            scopes = [self._scope.nest(names) for names in self._read_matrix(matrix)]
        instances = [_Instance(block, scope, block.labels[0]) for scope in scopes]
        self._instances[block] = instances
        return instances

    def _read_matrix(self, matrix: Argument) -> list[dict[str, HclValue]]:
        self._load(matrix.expression, self._scope)
        value = evaluate(matrix.expression, self._scope)
        if value.is_null or not value.type.is_one_of(*MAPPINGS):
            raise ValueError("matrix must be a map")
        axes: list[list[tuple[str, HclValue]]] = []
        for name, one in value.mapping.items():
            if not one.is_iterable:
                raise ValueError("matrix values must be a list")
            axes.append([(name, item) for _, item in one.iterate()])
        if prod(map(len, axes)) > _MOST_TARGETS:
            raise ValueError(f"matrix must not make more than {_MOST_TARGETS} targets")
        return [dict(reversed(row)) for row in product(*reversed(axes))]

    def _read_name(self, block: Block, scope: Scope) -> str:
        argument = block.body.find_argument("name")
        if argument is None:
            return block.labels[0]
        if block.type == "group":
            raise ValueError("name is not supported for groups")
        if block.body.find_argument("matrix") is None:
            raise ValueError("name requires matrix")
        self._load(argument.expression, scope)
        try:
            return convert(evaluate(argument.expression, scope), STRING).text
        except (ConversionError, AssertionError):
            raise ValueError("the name must be a string") from None

    def _load(self, expression: Expression, scope: Scope, own: Sequence[str] = (), *, strict: bool = False) -> None:
        """Evaluate the names that an expression uses, except its ``own``.

        Undefined names are left to the evaluation, unless ``strict``.
        """
        for call in find_calls(expression):
            try:
                self._resolve_function(call.name, call.where, scope)
            except _Undefined:
                if strict:
                    detail = f'function "{call.name}" does not exist'
                    raise HclError("Invalid expression", detail, call.name_where) from None
        for reference in find_references(expression):
            if reference.name in own:
                continue
            if reference.name in _TYPES:
                self._load_block(reference)
                continue
            try:
                self._resolve_value(reference.name, reference.where, scope)
            except _Undefined:
                if strict:
                    detail = f'variable "{reference.name}" does not exist'
                    raise HclError("Invalid expression", detail, reference.where) from None

    def _load_block(self, reference: Reference) -> None:
        kind = reference.name
        if not reference.steps:
            raise HclError("Invalid expression", f"cannot access {kind} as a variable", reference.where)
        name, *attributes = reference.steps
        if name is None:
            raise HclError("Invalid expression", f"cannot traverse {kind} without attribute", reference.where)
        wanted = attributes[0] if attributes else None
        for block in self._named.get(kind, {}).get(name, ()):
            self._resolve_block(block, None if wanted is None else wanted, reference.where)

    def _resolve_function(self, name: str, where: SourceRange, scope: Scope | None = None) -> None:
        if name in UNEVALUATED or (scope or self._scope).find_function(name) is not None:
            return
        block = self._functions.get(name)
        if block is None:
            raise _Undefined
        if name in self._running_functions:
            raise HclError("Invalid expression", f"function cycle not allowed for {name}", where)
        self._running_functions.add(name)
        parameters = read_parameters(block)
        self._load(parameters.result, self._scope, parameters.all_names, strict=True)
        self._scope.functions[name] = make_function(parameters, self._scope)

    def _resolve_value(self, name: str, where: SourceRange, scope: Scope | None = None) -> None:
        if (scope or self._scope).find_variable(name) is not None:
            return
        variable, argument = self._variables.get(name), self._arguments.get(name)
        if variable is None and argument is None:
            raise _Undefined
        if name in self._running_values:
            raise HclError("Invalid expression", f"variable cycle not allowed for {name}", where)
        self._running_values.add(name)
        try:
            self._scope.variables[name] = self._compute(name, variable, argument, scope or self._scope)
        except ConversionError as error:
            source = argument.where if argument else variable.block.body.where if variable else where
            if argument is None:
                source = source._replace(end_line=source.line, end_column=source.column)
            raise HclError("Invalid value", str(error), source) from None

    def _compute(self, name: str, variable: VariableBlock | None, argument: Argument | None, scope: Scope) -> HclValue:
        """Return the value of an argument at the top, or of a variable; its default is evaluated outside of blocks."""
        default = argument
        if argument is None:
            assert variable is not None
            default, scope = variable.default, self._scope
        value = None
        if default is not None:
            self._load(default.expression, scope)
            value = evaluate(default.expression, scope)
        if variable is None:
            assert value is not None
            return value
        typed = (
            variable
            if argument is None
            else VariableBlock(name=name, block=variable.block, type=None, default=argument, description="")
        )
        return variables.make_value(typed, value, self._find_override(name, typed))

    def _find_override(self, name: str, variable: VariableBlock) -> tuple[str, bool] | None:
        def is_known(other: str) -> bool:
            return other in self._variables or other in self._builtins

        return variables.find_override(name, self._lookup, is_known, prefer_json=variable.type is not None)

    def _resolve_block(self, block: Block, wanted: str | None, where: SourceRange | None = None) -> None:
        """Evaluate a block, or only the attribute ``wanted``, for all of its instances."""
        known = _TYPES[block.type]
        for one in self._open(block):
            if wanted is None:
                names = [name for name in known if name not in one.done]
            else:
                if wanted in one.done:
                    return
                if wanted in one.running:
                    detail = f"reference cycle not allowed for {block.type}.{one.name}.{wanted}"
                    raise HclError("Invalid expression", detail, where or block.where)
                one.running.add(wanted)
                names = [wanted] if wanted in known else []
            self._fill(one, known, names)
            one.done |= {wanted} if wanted else set()
            self._publish(one)

    def _fill(self, one: _Instance, known: Mapping[str, TargetAttribute], names: Sequence[str]) -> None:
        """Evaluate attributes of an instance."""
        found = [argument for name in names if (argument := one.block.body.find_argument(name)) is not None]
        if one.block.type == "group" and "targets" in names and not any(each.name == "targets" for each in found):
            detail = 'The argument "targets" is required, but no definition was found.'
            body = one.block.body.where
            where = body._replace(end_line=body.line, end_column=body.column)
            raise HclError("Missing required argument", detail, where)
        for argument in found:
            self._load(argument.expression, one.scope)
        for argument in found:
            value = evaluate(argument.expression, one.scope)
            try:
                one.values[argument.name] = known[argument.name].read(value)
            except ConversionError as error:
                detail = f"Unsuitable value: {error}"
                raise HclError("Unsuitable value type", detail, find_start(argument.expression)) from None
            one.done.add(argument.name)

    def _publish(self, one: _Instance) -> None:
        """Make an instance known to expressions."""
        kind = one.block.type
        others = self._scope.variables.get(kind)
        siblings = dict(others.mapping) if others is not None else {}
        self._scope.variables[kind] = make_object({**siblings, one.name: one.make_value()})
