"""A function, its parameters, and the errors that a call raises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ci_buildx.hcl.limits import describe_excess
from ci_buildx.hcl.types.values import DYNAMIC, HclType, HclValue


class CallError(Exception):
    """A call failed; the text is the reason."""


class ParameterError(CallError):
    """An argument is invalid. ``index`` is its position, from 0."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


def check_length(characters: int) -> None:
    """Raise CallError for a text that would be too long."""
    if reason := describe_excess(characters):
        raise CallError(reason)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter; arguments are converted to its type. ``nullable`` accepts null."""

    name: str
    type: HclType = DYNAMIC
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class HclFunction:
    """A function: ``compute`` is called with converted values, which are not null unless their parameter allows it.

    ``variadic`` is the parameter of all further arguments. ``lazy`` functions receive expressions instead.
    """

    parameters: tuple[Parameter, ...]
    compute: Callable[[Sequence[HclValue]], HclValue]
    variadic: Parameter | None = None

    def find_parameter(self, index: int) -> Parameter:
        """Return the parameter of an argument."""
        if index < len(self.parameters):
            return self.parameters[index]
        assert self.variadic is not None
        return self.variadic
