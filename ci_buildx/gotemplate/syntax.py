"""The nodes of a parsed template, and the fault that names what is wrong with one."""

from __future__ import annotations

from ci_buildx.gotemplate.kinds import GoValue
from ci_buildx.model.record import dataclass


class TemplateFault(ValueError):
    """A template that is malformed, uses what is not supported, or does not fit the value. ``line`` counts from 1."""

    def __init__(self, problem: str, *, line: int = 0, fix: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.fix = fix


@dataclass(frozen=True, slots=True)
class TemplateLiteral:
    """A constant."""

    value: GoValue


@dataclass(frozen=True, slots=True)
class FieldPath:
    """Fields of a value, such as ``.Manifest.Digest``; without a ``base``, of the dot."""

    names: tuple[str, ...]
    base: Operand | None = None


@dataclass(frozen=True, slots=True)
class VariableName:
    """A variable with its dollar sign."""

    name: str


@dataclass(frozen=True, slots=True)
class FunctionName:
    """The name of a function."""

    name: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each of them operands; the result of one is the last argument of the next.

    ``variables`` receive the result: they are declared, or assigned to if ``assigns``.
    """

    commands: tuple[tuple[Operand, ...], ...]
    variables: tuple[str, ...] = ()
    assigns: bool = False
    line: int = 0


Operand = TemplateLiteral | FieldPath | VariableName | FunctionName | Pipeline


@dataclass(frozen=True, slots=True)
class LiteralText:
    """Text outside of actions."""

    text: str


@dataclass(frozen=True, slots=True)
class PipelineAction:
    """An action that prints the result of a pipeline, unless it declares a variable."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class BranchAction:
    """``if``, ``with`` or ``range``, as ``word`` names it."""

    word: str
    pipeline: Pipeline
    then: tuple[TemplateNode, ...]
    otherwise: tuple[TemplateNode, ...]


@dataclass(frozen=True, slots=True)
class LoopExit:
    """``break`` or ``continue``."""

    word: str


TemplateNode = LiteralText | PipelineAction | BranchAction | LoopExit
