"""Patterns with many stars, tried in time that grows with the path alone, as Go's expressions are.

Python's expressions try all ways to share a path out between the stars: a handful of them takes longer than anybody
waits. Here all ways are followed at once, and what was found out about a character is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum

from ci_buildx.model.record import dataclass

_MOST_KEPT = 20_000


class Repetition(Enum):
    """How often an element may match."""

    ONCE = "once"
    ANY = "any"
    FOLDERS = "folders"
    """Nothing, or anything up to a slash: ``(.*/)?``."""


@dataclass(frozen=True, slots=True)
class PatternElement:
    """Part of an expression: ``chars`` is Python's expression for one character."""

    chars: str
    repeat: Repetition = Repetition.ONCE


State = tuple[int, bool]
"""The elements that have matched so far, and whether the next one, folders, is in the middle of one."""


class PatternAutomaton:
    """Whether a whole path matches ``elements``."""

    __slots__ = ("_elements", "_end", "_next", "_start", "_tests")

    def __init__(self, elements: Sequence[PatternElement]) -> None:
        self._elements = tuple(elements)
        self._tests = [re.compile(element.chars).fullmatch for element in elements]
        self._end: State = (len(elements), False)
        self._start = self._close_states([(0, False)])
        self._next: dict[tuple[frozenset[State], str], frozenset[State]] = {}

    def matches(self, path: str) -> bool:
        """Try a path."""
        states = self._start
        for char in path:
            key = (states, char)
            found = self._next.get(key)
            if found is None:
                if len(self._next) >= _MOST_KEPT:
                    self._next.clear()
                found = self._next[key] = self._advance(states, char)
            if not found:
                return False
            states = found
        return self._end in states

    def _advance(self, states: frozenset[State], char: str) -> frozenset[State]:
        reached: list[State] = []
        for place, inside in states:
            if place == len(self._elements) or not self._tests[place](char):
                continue
            match self._elements[place].repeat:
                case Repetition.ONCE:
                    reached.append((place + 1, False))
                case Repetition.ANY:
                    reached.append((place, False))
                case Repetition.FOLDERS if inside:
                    reached.append((place, True))
                    if char == "/":
                        reached.append((place + 1, False))
                case Repetition.FOLDERS:
                    pass
        return self._close_states(reached)

    def _close_states(self, states: Iterable[State]) -> frozenset[State]:
        """The states with those that are reached without a character."""
        closed: set[State] = set()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if state in closed:
                continue
            closed.add(state)
            place, inside = state
            if inside or place == len(self._elements):
                continue
            repeat = self._elements[place].repeat
            if repeat is not Repetition.ONCE:
                waiting.append((place + 1, False))
            if repeat is Repetition.FOLDERS:
                waiting.append((place, True))
        return frozenset(closed)
