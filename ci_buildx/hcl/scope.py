"""The names that an expression can use, and suggestions for unknown ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field

from ci_buildx.hcl.functions.signature import HclFunction
from ci_buildx.hcl.types.values import HclValue


@dataclass(slots=True, eq=False)
class Scope:
    """Variables and functions by name; names of an inner scope hide those of ``outer``."""

    variables: MutableMapping[str, HclValue] = field(default_factory=dict)
    functions: MutableMapping[str, HclFunction] = field(default_factory=dict)
    outer: Scope | None = None

    def nest(self, variables: Mapping[str, HclValue]) -> Scope:
        """Return an inner scope with variables of its own."""
        return Scope(dict(variables), {}, self)

    def _walk(self) -> Iterator[Scope]:
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    def find_variable(self, name: str) -> HclValue | None:
        """Return the value of a variable."""
        return next((scope.variables[name] for scope in self._walk() if name in scope.variables), None)

    def find_function(self, name: str) -> HclFunction | None:
        """Return a function."""
        return next((scope.functions[name] for scope in self._walk() if name in scope.functions), None)

    def list_variables(self) -> list[str]:
        """Return the names of all variables, for suggestions."""
        return sorted({name for scope in self._walk() for name in scope.variables if not name.startswith("*")})

    def list_functions(self) -> list[str]:
        """Return the names of all functions, for suggestions."""
        return sorted({name for scope in self._walk() for name in scope.functions})


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean "NAME"?``, "" if no name is similar."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f' Did you mean "{near[0]}"?' if near else ""
