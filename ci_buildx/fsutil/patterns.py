"""Ignore and include patterns, with the semantics of moby/patternmatcher.

Source: moby/patternmatcher v0.6.1, ``patternmatcher.go``. Later patterns win, ``!`` takes back, ``**`` is any number of
folders, and what matches a folder matches all below it. Where that implementation has oddities (which patterns
become expressions, what is escaped, that a malformed one is refused only when it is tried), they are kept: the
builder's view of the context depends on them.

Patterns of the same sign that follow each other form a group that is tried at once. That changes nothing: within a
group it does not matter which pattern matches.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, assert_never

from ci_buildx.fsutil import expressions, globs, paths
from ci_buildx.fsutil.errors import PatternError
from ci_buildx.model.record import dataclass

if TYPE_CHECKING:
    from ci_buildx.fsutil.automaton import Automaton

_BOM = "\ufeff"
_STARS = re.compile(r"\*+")
_MANY_STARS = 4
"""With as many, Python's expressions may take seconds for a single name."""
_ESCAPED = frozenset(".+()|{}$")


class Kind(enum.Enum):
    """How a pattern is tried."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    EXPRESSION = "expression"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A cleaned pattern; ``negated`` where it began with ``!``."""

    text: str
    negated: bool


def parse(patterns: Iterable[str]) -> list[Pattern]:
    """Return ``patterns`` cleaned, the empty ones dropped; PatternError where one is malformed."""
    parsed = []
    for typed in patterns:
        text = typed.strip(paths.WHITE_SPACE)
        if not text:
            continue
        text = paths.clean(text)
        negated = text.startswith("!")
        if text == "!":
            raise PatternError("!", "an exclusion needs a pattern behind its !")
        text = text[1:] if negated else text
        globs.check(text)
        parsed.append(Pattern(text, negated))
    return parsed


def expression(text: str) -> tuple[Kind, str]:
    """Return how the cleaned pattern ``text`` is tried, and its expression in Go's syntax (``Pattern.compile``)."""
    kind = Kind.EXACT
    parts = ["^"]
    chars = globs.runes(text).removeprefix(_BOM)
    at = 0
    while at < len(chars):
        char = chars[at]
        first = at == 0
        at += 1
        if char == "*" and chars.startswith("*", at):
            at += 2 if chars.startswith("/", at + 1) else 1
            if at < len(chars):
                parts.append("(.*/)?")
                kind = Kind.EXPRESSION
            elif kind is Kind.EXACT:
                kind = Kind.PREFIX
            else:
                parts.append(".*")
                kind = Kind.EXPRESSION
            kind = Kind.SUFFIX if first else kind
        elif char == "\\" and at < len(chars):
            parts.append("\\" + chars[at])
            at += 1
            kind = Kind.EXPRESSION
        else:
            parts.append(_SPECIAL.get(char) or ("\\" + char if char in _ESCAPED else char))
            kind = Kind.EXPRESSION if char in _SPECIAL else kind
    return kind, "".join(parts) + "$"


_SPECIAL = {"*": "[^/]*", "?": "[^/]", "[": "[", "]": "]"}


class Group:
    """Patterns of one sign in a row, tried together."""

    __slots__ = ("_automata", "_exact", "_expression", "_prefixes", "_suffixes", "broken", "negated")

    def __init__(self, patterns: Sequence[Pattern], *, negated: bool) -> None:
        self.negated = negated
        self.broken: PatternError | None = None
        exact, prefixes, suffixes, alternatives = set[str](), list[str](), list[str](), list[str]()
        automata: list[Automaton] = []
        for pattern in patterns:
            kind, text = expression(pattern.text)
            if kind is Kind.EXACT:
                exact.add(pattern.text)
            elif kind is Kind.PREFIX:
                prefixes.append(pattern.text[:-2])
            elif kind is Kind.SUFFIX:
                suffixes.append(pattern.text[2:])
                exact.add(pattern.text.removeprefix("**/"))
            elif kind is Kind.EXPRESSION:
                try:
                    automaton = _automaton(text)
                    if automaton is None:
                        alternatives.append(expressions.translate(text))
                    else:
                        automata.append(automaton)
                except ValueError as error:
                    # Refused when it is tried: when nothing before it in the group matched.
                    self.broken = PatternError(pattern.text, str(error))
                    break
            else:
                assert_never(kind)
        self._exact = frozenset(exact)
        self._prefixes = tuple(prefixes)
        self._suffixes = tuple(suffixes)
        self._automata = tuple(automata)
        self._expression = re.compile("|".join(alternatives)).match if alternatives else None

    def matches(self, path: str, above: Sequence[str] = ()) -> bool:
        """Whether a pattern matches ``path`` or one of the folders ``above``."""
        if self._match(path) or any(map(self._match, above)):
            return True
        if self.broken is not None:
            raise self.broken
        return False

    def _match(self, path: str) -> bool:
        return (
            path in self._exact
            or path.startswith(self._prefixes)
            or path.endswith(self._suffixes)
            or (self._expression is not None and self._expression(globs.runes(path)) is not None)
            or any(automaton.matches(globs.runes(path)) for automaton in self._automata)
        )


def _automaton(text: str) -> Automaton | None:
    """For an expression with many stars, unless it asks for more than characters."""
    if len(_STARS.findall(text)) < _MANY_STARS:
        return None
    from ci_buildx.fsutil.automaton import Automaton

    parts = expressions.elements(text)
    return None if parts is None else Automaton(parts)


class Matcher:
    """A list of patterns, compiled.

    Raises PatternError when made, or when a path is tried against a pattern that turns out to be malformed.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(parse(patterns))
        self._groups = [
            (1 << bit, Group(list(run), negated=negated))
            for bit, (negated, run) in enumerate(groupby(self.patterns, key=lambda pattern: pattern.negated))
        ]

    @property
    def is_broken(self) -> bool:
        """Whether a pattern is malformed in the way that is refused only when it is tried."""
        return any(group.broken for _, group in self._groups)

    def matches(self, path: str) -> bool:
        """Whether ``path`` matches, by itself or by a folder above it (``MatchesOrParentMatches``)."""
        matched = False
        above = _above(path)
        for _, group in self._groups:
            if group.negated == matched and group.matches(path, above):
                matched = not matched
        return matched

    def judge(self, path: str, folder: int | None) -> tuple[bool, int]:
        """Whether ``path`` matches, given what was found for its folder, and what to pass for what is in it.

        ``folder`` is a set of groups as bits, None where nothing is known (``MatchesUsingParentResults``). The result
        can differ from that of ``matches``: a group that was not tried for the folder counts as not matching it.
        """
        matched = False
        found = 0
        above = _above(path) if folder is None else ()
        for bit, group in self._groups:
            inherited = folder is not None and folder & bit
            if inherited or (group.negated == matched and group.matches(path, above)):
                found |= bit
                matched = not group.negated
        return matched, found


def _above(path: str) -> list[str]:
    """Return the folders above ``path``, outermost first."""
    folder = paths.folder(path)
    if folder == ".":
        return []
    parts = folder.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
