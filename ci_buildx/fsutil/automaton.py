"""Match patterns with many stars in time linear in the path's length, as Go's regular expressions do.

Python's ``re`` backtracks: it tries every way of dividing the path among the stars, which can take minutes for a
handful of them. This automaton follows all alternatives at once and caches the transition of each character.
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
    """Zero characters, or any number up to and including a slash: ``(.*/)?``."""


@dataclass(frozen=True, slots=True)
class PatternElement:
    """One element of an expression; ``chars`` is a Python expression that matches a single character."""

    chars: str
    repeat: Repetition = Repetition.ONCE


State = tuple[int, bool]
"""Number of elements that have matched, and whether the next one (``FOLDERS``) is partly matched."""


class PatternAutomaton:
    """A sequence of elements that is matched against whole paths."""

    __slots__ = ("_elements", "_end", "_next", "_start", "_tests")

    def __init__(self, elements: Sequence[PatternElement]) -> None:
        self._elements = tuple(elements)
        self._tests = [re.compile(element.chars).fullmatch for element in elements]
        self._end: State = (len(elements), False)
        self._start = self._close_states([(0, False)])
        self._next: dict[tuple[frozenset[State], str], frozenset[State]] = {}

    def matches(self, path: str) -> bool:
        """Return whether the whole of ``path`` matches."""
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
        """Return ``states`` plus all states that are reachable from them without consuming a character."""
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
