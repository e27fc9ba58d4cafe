"""Templates of ``--format``: parsed once, evaluated for any number of values (Go 1.26, ``text/template/exec.go``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from ci_buildx.errors import InputError
from ci_buildx.gotemplate.functions import BUILTINS, LAZY, Function, is_true
from ci_buildx.gotemplate.kinds import (
    ANY,
    INTEGER,
    NIL,
    TEXT,
    GoValue,
    ListKind,
    MapKind,
    PointerKind,
    StructKind,
    read_field,
    unwrap,
)
from ci_buildx.gotemplate.parsing import parse_nodes
from ci_buildx.gotemplate.printing import format_value
from ci_buildx.gotemplate.syntax import (
    BranchAction,
    FieldPath,
    FunctionName,
    LiteralText,
    LoopExit,
    Operand,
    Pipeline,
    PipelineAction,
    TemplateFault,
    TemplateLiteral,
    TemplateNode,
    VariableName,
)

_MISSING = GoValue(ANY, None)
"""A map's missing entry, of which any field is missing, too; compared by identity."""
MOST_ROUNDS = 1_000_000
"""Maximum number of rounds of all ``range`` actions of one evaluation."""


class GoTemplate:
    """A parsed template. ``functions`` are those besides Go's own; ``source`` names the option in errors."""

    def __init__(self, text: str, functions: Mapping[str, Function], *, source: str) -> None:
        self._functions = {**BUILTINS, **functions}
        self._source = source
        try:
            self.nodes = parse_nodes(text, self._functions)
        except TemplateFault as fault:
            self._refuse(fault)

    def execute(self, value: GoValue) -> str:
        """Return the text for a value. Raises InputError if the template does not fit it."""
        try:
            return _Evaluation(self._functions, value).evaluate_all(self.nodes)
        except TemplateFault as fault:
            self._refuse(fault)
        except RecursionError:
            self._refuse(TemplateFault("the value is nested too deeply"))

    def find_only_field(self) -> str:
        """Return the field's name if the template is one action that prints a field of the dot, else ""."""
        nodes = [one for one in self.nodes if not (isinstance(one, LiteralText) and not one.text.strip())]
        match nodes:
            case [PipelineAction(Pipeline(((FieldPath((name,), None),),), (), _, _))]:
                return name
            case _:
                return ""

    def _refuse(self, fault: TemplateFault) -> NoReturn:
        place = f" (line {fault.line} of the template)" if fault.line > 1 else ""
        raise InputError(f"{fault.problem}{place}", source=self._source, fix=fault.fix) from None


class _LoopEnd(Exception):
    """``break`` or ``continue``."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class _Evaluation:
    def __init__(self, functions: Mapping[str, Function], value: GoValue) -> None:
        self._functions = functions
        self._variables: list[tuple[str, GoValue]] = [("$", value)]
        self._dot = value
        self._pieces: list[str] = []
        self._rounds = 0

    def evaluate_all(self, nodes: Sequence[TemplateNode]) -> str:
        """Return the text of all nodes."""
        self._visit(nodes)
        return "".join(self._pieces)

    def _visit(self, nodes: Sequence[TemplateNode]) -> None:
        for node in nodes:
            match node:
                case LiteralText(text):
                    self._pieces.append(text)
                case PipelineAction(pipeline):
                    result = self._evaluate_pipeline(pipeline)
                    if not pipeline.variables:
                        self._pieces.append("<no value>" if unwrap(result) == NIL else format_value(result))
                case BranchAction("range"):
                    self._visit_range(node)
                case BranchAction():
                    self._visit_branch(node)
                case LoopExit(word):
                    raise _LoopEnd(word)

    def _visit_branch(self, node: BranchAction) -> None:
        known, dot = len(self._variables), self._dot
        value = self._evaluate_pipeline(node.pipeline)
        holds = is_true(value)
        if holds and node.word == "with":
            self._dot = value
        self._visit(node.then if holds else node.otherwise)
        self._dot = dot
        del self._variables[known:]

    def _visit_range(self, node: BranchAction) -> None:
        known, dot = len(self._variables), self._dot
        names, line = node.pipeline.variables, node.pipeline.line
        pairs = _list_pairs(self._evaluate_commands(node.pipeline), line)
        for key, element in pairs:
            self._rounds += 1
            if self._rounds > MOST_ROUNDS:
                raise TemplateFault(f"range has more than {MOST_ROUNDS} rounds", line=line)
            given = [element] if len(names) == 1 else [key, element]
            for name, one in zip(names, given, strict=False):
                self._set_variable(name, one, assigns=node.pipeline.assigns)
            self._dot = element
            try:
                self._visit(node.then)
            except _LoopEnd as end:
                if end.word == "break":
                    break
            finally:
                del self._variables[known:]
        self._dot = dot
        if not pairs:
            self._visit(node.otherwise)
        del self._variables[known:]

    def _set_variable(self, name: str, value: GoValue, *, assigns: bool) -> None:
        if not assigns:
            self._variables.append((name, value))
            return
        place = max(place for place, (known, _) in enumerate(self._variables) if known == name)
        self._variables[place] = (name, value)

    def _evaluate_pipeline(self, pipeline: Pipeline) -> GoValue:
        result = self._evaluate_commands(pipeline)
        for name in pipeline.variables:
            self._set_variable(name, result, assigns=pipeline.assigns)
        return result

    def _evaluate_commands(self, pipeline: Pipeline) -> GoValue:
        result: GoValue | None = None
        try:
            for command in pipeline.commands:
                result = self._evaluate_command(command, () if result is None else (result,))
        except TemplateFault as fault:
            fault.line = fault.line or pipeline.line
            raise
        assert result is not None
        return result

    def _evaluate_command(self, operands: Sequence[Operand], piped: Sequence[GoValue]) -> GoValue:
        first, *others = operands
        if isinstance(first, FunctionName):
            return self._call(first.name, others, piped)
        if others or piped:
            raise TemplateFault(f"{_describe_operand(first)} is not a function and does not accept arguments")
        return self._evaluate(first)

    def _call(self, name: str, operands: Sequence[Operand], piped: Sequence[GoValue]) -> GoValue:
        if name in LAZY:
            return self._call_lazily(name, [*((lambda one=one: self._evaluate(one)) for one in operands)], piped)
        return self._functions[name]([*map(self._evaluate, operands), *piped])

    def _call_lazily(self, name: str, arguments: Sequence[Callable[[], GoValue]], piped: Sequence[GoValue]) -> GoValue:
        """Evaluate arguments of ``and`` and ``or`` until one decides the result."""
        value: GoValue | None = None
        for argument in arguments:
            value = argument()
            if is_true(value) is (name == "or"):
                return value
        value = piped[0] if piped else value
        if value is None:
            raise TemplateFault(f"{name} requires an argument")
        return value

    def _evaluate(self, operand: Operand) -> GoValue:
        match operand:
            case TemplateLiteral(value):
                return value
            case VariableName(name):
                return next(value for known, value in reversed(self._variables) if known == name)
            case Pipeline():
                return self._evaluate_pipeline(operand)
            case FunctionName(name):
                return self._call(name, (), ())
            case FieldPath(names, base):
                value = self._dot if base is None else self._evaluate(base)
                for name in names:
                    value = _read_member(value, name)
                return value


def _read_member(value: GoValue, name: str) -> GoValue:
    """Return a field of a struct or an entry of a map. Raises TemplateFault."""
    if value is _MISSING:
        return value
    value = unwrap(value)
    while isinstance(value.kind, PointerKind):
        if value.data is None:
            raise TemplateFault(f"nil pointer evaluating {value.kind.name}.{name}")
        value = unwrap(GoValue(value.kind.target, value.data))
    match value.kind:
        case StructKind() as kind:
            if not (path := kind.find(name)):
                raise _make_unknown_field(kind, name)
            return read_field(value, path)
        case MapKind(element):
            entries = value.data or {}
            return GoValue(element, entries[name]) if name in entries else _MISSING
    if value.data is None:
        raise TemplateFault(f"nil has no field {name!r}")
    raise TemplateFault(f"a value of kind {value.kind.name} has no field {name!r}")


def _make_unknown_field(kind: StructKind, name: str) -> TemplateFault:
    from ci_buildx.settings.names import suggest_name

    return TemplateFault(f"{kind.name} has no field {name!r}", fix=suggest_name(name, kind.list_names()))


def _list_pairs(value: GoValue, line: int) -> list[tuple[GoValue, GoValue]]:
    """Return the keys and elements that ``range`` visits."""
    value = unwrap(value)
    while isinstance(value.kind, PointerKind) and value.data is not None:
        value = unwrap(GoValue(value.kind.target, value.data))
    match value.kind:
        case ListKind(element):
            return [(GoValue(INTEGER, place), GoValue(element, one)) for place, one in enumerate(value.data or ())]
        case MapKind(element):
            entries = sorted((value.data or {}).items(), key=lambda item: item[0].encode())
            return [(GoValue(TEXT, key), GoValue(element, one)) for key, one in entries]
    if value.kind == INTEGER:
        if value.data > MOST_ROUNDS:
            raise TemplateFault(f"range has more than {MOST_ROUNDS} rounds", line=line)
        return [(GoValue(INTEGER, place), GoValue(INTEGER, place)) for place in range(value.data)]
    if value.kind == ANY:
        return []
    raise TemplateFault(f"range cannot iterate over a value of kind {value.kind.name}", line=line)


def _describe_operand(operand: Operand) -> str:
    match operand:
        case FieldPath(names):
            return "".join(f".{name}" for name in names) or "."
        case VariableName(name):
            return name
        case TemplateLiteral(value):
            return format_value(value)
        case _:
            return "the value"
