"""Expansion of variables in Dockerfile words, as in BuildKit (0.34.2, ``frontend/dockerfile/shell/lex.go``).

It is exact only for what image names can need. Words that BuildKit rejects, and those longer than any name, are
rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

LONGEST = 4096
"""Maximum characters of a word, of a value and of a pattern."""
DEEPEST = 20
"""Maximum depth of nested expansions."""

_SPECIAL = "@*#?-$!"
_ANY, _ONE = "*", "?"


class Unusable(ValueError):
    """A word that BuildKit rejects, or one that is far too long."""


def expand(word: str, values: Mapping[str, str], *, escape: str = "\\") -> str:
    """Return a word without quotes and with its variables expanded. Raises Unusable."""
    if len(word) > LONGEST:
        raise Unusable
    return _Word(word, values, escape).read()


class _Word:
    """Reads one word from left to right."""

    def __init__(self, text: str, values: Mapping[str, str], escape: str) -> None:
        self._text = text
        self._values = values
        self._escape = escape
        self._position = 0
        self._depth = 0

    def read(self, until: str = "", *, raw: bool = False) -> str:
        """Read up to and including the character ``until``; ``raw`` keeps escape characters."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise Unusable
        made: list[str] = []
        while (char := self._peek()) != until or not char:
            if not char:
                if until:
                    raise Unusable
                break
            made.append(self._read_piece(char, raw))
        if until:
            self._position += 1
        self._depth -= 1
        text = "".join(made)
        if len(text) > LONGEST:
            raise Unusable
        return text

    def _read_piece(self, char: str, raw: bool) -> str:
        if char == "$":
            return self._read_variable()
        self._position += 1
        if char == "'":
            return self._take(self._text.find("'", self._position))
        if char == '"':
            return self._read_quoted()
        if char == self._escape:
            return (char if raw else "") + self._take_char()
        return char

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _take_char(self) -> str:
        char = self._peek()
        self._position += 1
        return char

    def _take(self, end: int) -> str:
        """Return the text up to ``end``, and skip the quote there."""
        if end < 0:
            raise Unusable
        taken = self._text[self._position : end]
        self._position = end + 1
        return taken

    def _read_quoted(self) -> str:
        made: list[str] = []
        while (char := self._peek()) != '"':
            if not char:
                raise Unusable
            if char == "$":
                made.append(self._read_variable())
                continue
            self._position += 1
            if char == self._escape and self._peek() in ('"', "$", self._escape):
                char = self._take_char()
            made.append(char)
        self._position += 1
        return "".join(made)

    def _name(self) -> str:
        start = self._position
        first = self._peek()
        if first and first in _SPECIAL:
            self._position += 1
            return first
        is_part: Callable[[str], bool] = str.isdigit if first.isdigit() else lambda char: char.isalnum() or char == "_"
        while (char := self._peek()) and is_part(char):
            self._position += 1
        return self._text[start : self._position]

    def _read_variable(self) -> str:
        self._position += 1
        if self._peek() != "{":
            name = self._name()
            return self._values.get(name, "") if name else "$"
        self._position += 1
        if self._peek() in ("", "{", "}", ":"):
            raise Unusable
        name, sign = self._name(), self._take_char()
        value = self._values.get(name)
        if sign == "}":
            return value or ""
        if sign == "/":
            return self._read_replacement(value or "")
        if sign == ":":
            sign, value = self._take_char(), value or None
        if sign not in ("-", "+", "?", "#", "%"):
            raise Unusable
        word = self.read("}", raw=sign in "#%")
        if sign == "-":
            return word if value is None else value
        if sign == "+":
            return "" if value is None else word
        if sign == "?":
            if value is None:
                raise Unusable
            return value
        is_greedy = word[:1] == sign
        return _trim(value or "", word[is_greedy:], from_end=sign == "%", is_greedy=is_greedy)

    def _read_replacement(self, value: str) -> str:
        is_all = self._peek() == "/"
        self._position += is_all
        pattern = _parse_pattern(self.read("/", raw=True))
        by = self.read("}", raw=True)
        made: list[str] = []
        position = 0
        while position < len(value):
            end = max(_find_ends(pattern, value, position), default=position)
            if end == position:
                made.append(value[position])
                position += 1
                continue
            made.append(by)
            position = end
            if not is_all:
                break
        return "".join(made) + value[position:]


def _trim(value: str, pattern: str, *, from_end: bool, is_greedy: bool) -> str:
    tokens = _parse_pattern(pattern)
    text = value[::-1] if from_end else value
    ends = _find_ends(tokens[::-1] if from_end else tokens, text, 0)
    if not ends:
        return value
    kept = text[max(ends) if is_greedy else min(ends) :]
    return kept[::-1] if from_end else kept


def _parse_pattern(text: str) -> Sequence[tuple[str, bool]]:
    """Return each character of a pattern, and whether it is literal."""
    if len(text) > LONGEST:
        raise Unusable
    tokens: list[tuple[str, bool]] = []
    position = 0
    while position < len(text):
        char = text[position]
        if char == "\\":
            position += 1
            char = text[position : position + 1]
            if char not in ("*", "?", "\\", "}", "/"):
                raise Unusable
            tokens.append((char, True))
        else:
            tokens.append((char, char not in (_ANY, _ONE)))
        position += 1
    return tokens


def _find_ends(pattern: Sequence[tuple[str, bool]], text: str, start: int) -> frozenset[int]:
    """Return the positions where a match that begins at ``start`` can end, in one pass over the pattern."""
    places = {start}
    for char, is_plain in pattern:
        if not is_plain and char == _ANY:
            places = set(range(min(places), len(text) + 1))
        else:
            places = {place + 1 for place in places if place < len(text) and (not is_plain or text[place] == char)}
        if not places:
            break
    return frozenset(places)
