"""Access rights of tokens: scopes that clients request, and accounts to which they are granted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ci_buildx.model.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A requested or granted scope: `repository:team/app:pull,push`. `actions` may be empty."""

    type: str
    name: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{','.join(self.actions)}"


def parse(texts: Iterable[str]) -> tuple[Scope, ...]:
    """Parse scope parameters, each of which may hold several scopes separated by blanks.

    Names may contain colons (`host:port/name`), types a class in brackets, which grants nothing and is dropped
    (docs/spec/auth/scope.md). Raises ValueError for malformed scopes.
    """
    scopes = []
    for text in (word for line in texts for word in line.split()):
        resource, _, rest = text.partition(":")
        type_ = resource.partition("(")[0]
        name, colon, actions = rest.rpartition(":")
        if not (type_ and name and colon):
            raise ValueError(f"malformed scope {text!r}")
        listed = tuple(action for action in actions.split(",") if action)
        scopes.append(Scope(type=type_, name=name, actions=listed))
    return tuple(scopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A password and the actions that it grants, by pattern of repository names such as `team/*`."""

    password: Secret
    grants: Mapping[str, frozenset[str]]

    def cut(self, scope: Scope) -> Scope:
        """Return the part of a scope that is granted to this account."""
        allowed: set[str] = set()
        for pattern, actions in self.grants.items():
            if fnmatchcase(scope.name, pattern):
                allowed |= actions
        kept = tuple(action for action in scope.actions if action in allowed)
        return Scope(type=scope.type, name=scope.name, actions=kept)
