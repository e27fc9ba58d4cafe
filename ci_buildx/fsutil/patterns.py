"""``.dockerignore`` files: reading, compiling and matching their patterns.

Source: moby/patternmatcher v0.6.1, ``ignorefile/ignorefile.go``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, assert_never

from ci_buildx.fsutil import filepath, regexp
from ci_buildx.fsutil.entry import PatternError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass

if TYPE_CHECKING:
    from ci_buildx.fsutil.automaton import PatternAutomaton

_BYTE_ORDER_MARK = "\ufeff"


def read_ignore_file(text: str) -> list[str]:
    """Return the patterns of an ignore file, cleaned, in order.

    A byte order mark, comment lines (``#``) and empty lines are dropped. A leading slash is removed, since all patterns
    are relative to the context. Malformed patterns are only detected when they are compiled.
    """
    lines = text.removeprefix(_BYTE_ORDER_MARK).split("\n")
    return [_clean_line(line) for line in lines if not line.startswith("#") and line.strip(filepath.WHITE_SPACE)]


def _clean_line(line: str) -> str:
    pattern = line.strip(filepath.WHITE_SPACE)
    negation = "!" if pattern.startswith("!") else ""
    pattern = pattern.removeprefix("!").strip(filepath.WHITE_SPACE) if negation else pattern
    if pattern:
        pattern = filepath.clean_path(pattern)
        if len(pattern) > 1:
            pattern = pattern.removeprefix("/")
    return negation + pattern


_BOM = "\ufeff"
_STARS = compile_lazily(r"\*+")
_MANY_STARS = 4
"""Minimum number of stars for the automaton: with as many, ``re`` can take seconds for a single name."""
_ESCAPED = frozenset(".+()|{}$")


class MatchKind(enum.Enum):
    """How a pattern is matched."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    EXPRESSION = "expression"


@dataclass(frozen=True, slots=True)
class IgnorePattern:
    """A cleaned pattern; ``negated`` if it began with ``!``."""

    text: str
    negated: bool


def parse_patterns(patterns: Iterable[str]) -> list[IgnorePattern]:
    """Return ``patterns`` cleaned, without empty ones; raise PatternError if one is malformed."""
    parsed = []
    for typed in patterns:
        text = typed.strip(filepath.WHITE_SPACE)
        if not text:
            continue
        text = filepath.clean_path(text)
        negated = text.startswith("!")
        if text == "!":
            raise PatternError("!", "an exclusion requires a pattern after its !")
        text = text[1:] if negated else text
        filepath.check_pattern(text)
        parsed.append(IgnorePattern(text, negated))
    return parsed


def make_expression(text: str) -> tuple[MatchKind, str]:
    """Return how to match the cleaned pattern ``text``, and its expression in Go's syntax (``Pattern.compile``)."""
    kind = MatchKind.EXACT
    parts = ["^"]
    chars = filepath.decode_runes(text).removeprefix(_BOM)
    at = 0
    while at < len(chars):
        char = chars[at]
        first = at == 0
        at += 1
        if char == "*" and chars.startswith("*", at):
            at += 2 if chars.startswith("/", at + 1) else 1
            if at < len(chars):
                parts.append("(.*/)?")
                kind = MatchKind.EXPRESSION
            elif kind is MatchKind.EXACT:
                kind = MatchKind.PREFIX
            else:
                parts.append(".*")
                kind = MatchKind.EXPRESSION
            kind = MatchKind.SUFFIX if first else kind
        elif char == "\\" and at < len(chars):
            parts.append("\\" + chars[at])
            at += 1
            kind = MatchKind.EXPRESSION
        else:
            parts.append(_SPECIAL.get(char) or ("\\" + char if char in _ESCAPED else char))
            kind = MatchKind.EXPRESSION if char in _SPECIAL else kind
    return kind, "".join(parts) + "$"


_SPECIAL = {"*": "[^/]*", "?": "[^/]", "[": "[", "]": "]"}


class PatternGroup:
    """Consecutive patterns that are all negated or all not, matched together."""

    __slots__ = ("_automata", "_exact", "_expression", "_prefixes", "_suffixes", "broken", "negated")

    def __init__(self, patterns: Sequence[IgnorePattern], *, negated: bool) -> None:
        self.negated = negated
        self.broken: PatternError | None = None
        exact, prefixes, suffixes, alternatives = set[str](), list[str](), list[str](), list[str]()
        automata: list[PatternAutomaton] = []
        for pattern in patterns:
            kind, text = make_expression(pattern.text)
            if kind is MatchKind.EXACT:
                exact.add(pattern.text)
            elif kind is MatchKind.PREFIX:
                prefixes.append(pattern.text[:-2])
            elif kind is MatchKind.SUFFIX:
                suffixes.append(pattern.text[2:])
                exact.add(pattern.text.removeprefix("**/"))
            elif kind is MatchKind.EXPRESSION:
                try:
                    automaton = _make_automaton(text)
                    if automaton is None:
                        alternatives.append(regexp.translate_expression(text))
                    else:
                        automata.append(automaton)
                except ValueError as error:
                    # Raised only when it is tried, i.e. if no earlier pattern of the group matches.
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
        """Return whether a pattern matches ``path`` or one of its parents ``above``."""
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
            or (self._expression is not None and self._expression(filepath.decode_runes(path)) is not None)
            or any(automaton.matches(filepath.decode_runes(path)) for automaton in self._automata)
        )


def _make_automaton(text: str) -> PatternAutomaton | None:
    """Return an automaton for an expression with many stars, None if it has few or contains assertions."""
    if len(_STARS.findall(text)) < _MANY_STARS:
        return None
    from ci_buildx.fsutil.automaton import PatternAutomaton

    parts = regexp.parse_elements(text)
    return None if parts is None else PatternAutomaton(parts)


class PatternMatcher:
    """A compiled list of patterns.

    Raises PatternError when constructed, or when a path is tried against a pattern that turns out to be malformed.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(parse_patterns(patterns))
        self._groups = [
            (1 << bit, PatternGroup(list(run), negated=negated))
            for bit, (negated, run) in enumerate(groupby(self.patterns, key=lambda pattern: pattern.negated))
        ]

    @property
    def is_broken(self) -> bool:
        """Whether a pattern is malformed in a way that is only reported when it is tried."""
        return any(group.broken for _, group in self._groups)

    def matches(self, path: str) -> bool:
        """Return whether ``path`` or one of its parents matches (``MatchesOrParentMatches``)."""
        matched = False
        above = _list_parents(path)
        for _, group in self._groups:
            if group.negated == matched and group.matches(path, above):
                matched = not matched
        return matched

    def judge(self, path: str, folder: int | None) -> tuple[bool, int]:
        """Return whether ``path`` matches, and the state to pass for its children.

        ``folder`` is the state of the parent folder, a bit set of groups, or None if unknown
        (``MatchesUsingParentResults``). The result can differ from that of ``matches``: a group that was not tried for
        the folder counts as not matching it.
        """
        matched = False
        found = 0
        above = _list_parents(path) if folder is None else ()
        for bit, group in self._groups:
            inherited = folder is not None and folder & bit
            if inherited or (group.negated == matched and group.matches(path, above)):
                found |= bit
                matched = not group.negated
        return matched, found


def _list_parents(path: str) -> list[str]:
    """Return the parents of ``path``, outermost first."""
    folder = filepath.read_parent(path)
    if folder == ".":
        return []
    parts = folder.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
