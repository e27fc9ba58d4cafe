"""Translates Go's regular expressions to Python's syntax.

moby/patternmatcher turns patterns into Go expressions without escaping everything: ``\\d`` is a digit,
``[[:alpha:]]`` a class, ``\\k`` an error. Go's grammar therefore decides (Go 1.26, ``regexp/syntax/parse.go``).
Only what patternmatcher can emit is supported: literals, classes, escapes, ``.``, ``*``, ``?``, groups, ``^``, ``$``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ci_buildx.fsutil.automaton import PatternElement

Ranges = list[tuple[int, int]]

_CONTROLS = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_DIGIT: Ranges = [(0x30, 0x39)]
_UPPER: Ranges = [(0x41, 0x5A)]
_LOWER: Ranges = [(0x61, 0x7A)]
_WORD: Ranges = [*_DIGIT, *_UPPER, (0x5F, 0x5F), *_LOWER]
_PERL: dict[str, Ranges] = {"d": _DIGIT, "s": [(9, 10), (12, 13), (32, 32)], "w": _WORD}
_POSIX: dict[str, Ranges] = {
    "alnum": [*_DIGIT, *_UPPER, *_LOWER],
    "alpha": [*_UPPER, *_LOWER],
    "ascii": [(0, 0x7F)],
    "blank": [(9, 9), (32, 32)],
    "cntrl": [(0, 0x1F), (0x7F, 0x7F)],
    "digit": _DIGIT,
    "graph": [(0x21, 0x7E)],
    "lower": _LOWER,
    "print": [(0x20, 0x7E)],
    "punct": [(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)],
    "space": [(9, 13), (32, 32)],
    "upper": _UPPER,
    "word": _WORD,
    "xdigit": [*_DIGIT, (0x41, 0x46), (0x61, 0x66)],
}
_PLAIN = {"$": r"\Z", "^": r"\A", "(": "(?:", ")": ")", "*": "*", "?": "?", ".": "."}
_FOLDERS = "(.*/)?"
_ASSERTIONS = {"A": r"\A", "z": r"\Z", "b": r"(?a:\b)", "B": r"(?a:\B)"}


def translate_expression(expression: str) -> str:
    """Return the Python equivalent of a Go expression; raise ValueError with the reason if Go rejects it."""
    return _ExpressionParser(expression).parse()


def parse_elements(expression: str) -> list[PatternElement] | None:
    """Return the elements of an expression that matches a whole path; None if it contains assertions or ``\\Q``.

    Raises ValueError like :func:`translate_expression`.
    """
    return _ExpressionParser(expression).split()


class _ExpressionParser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def parse(self) -> str:
        parts = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "\\":
                parts.append(self._parse_escape())
            elif char == "[":
                parts.append(self._parse_class())
            else:
                self._at += 1
                parts.append(_PLAIN.get(char) or re.escape(char))
        return "".join(parts)

    def split(self) -> list[PatternElement] | None:
        from ci_buildx.fsutil.automaton import PatternElement, Repetition

        found: list[PatternElement] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if self._skip(_FOLDERS):
                found.append(PatternElement(".", Repetition.FOLDERS))
            elif self._skip(".*"):
                found.append(PatternElement(".", Repetition.ANY))
            elif char == "[":
                chars = self._parse_class()
                found.append(PatternElement(chars, Repetition.ANY if self._skip("*") else Repetition.ONCE))
            elif char == "\\":
                if self._text[self._at + 1 : self._at + 2] in (*_ASSERTIONS, "Q"):
                    return None
                found.append(PatternElement(self._parse_escape()))
            else:
                self._at += 1
                if char not in "^$":
                    found.append(PatternElement(re.escape(char)))
        return found

    def _parse_escape(self) -> str:
        letter = self._text[self._at + 1 : self._at + 2]
        if letter in _ASSERTIONS:
            self._at += 2
            return _ASSERTIONS[letter]
        if letter == "Q":
            literal, _, _ = self._text[self._at + 2 :].partition("\\E")
            self._at += len(literal) + (4 if "\\E" in self._text[self._at + 2 :] else 2)
            return re.escape(literal)
        ranges = self._parse_escaped_class()
        return _render_class(ranges) if ranges is not None else re.escape(self._parse_escaped_char())

    def _parse_class(self) -> str:
        self._at += 1
        negated = self._skip("^")
        ranges: Ranges = []
        first = True
        while first or not self._text.startswith("]", self._at):
            first = False
            found = self._parse_named_class()
            if found is None:
                found = self._parse_escaped_class()
            ranges += self._parse_range() if found is None else found
        self._at += 1
        return _render_class(ranges, "[^" if negated else "[")

    def _parse_range(self) -> Ranges:
        low = self._parse_class_char()
        if self._text.startswith("-", self._at) and self._text[self._at + 1 : self._at + 2] not in ("", "]"):
            self._at += 1
            high = self._parse_class_char()
            if high < low:
                raise ValueError(f"the range {low}-{high} is reversed")
            return [(ord(low), ord(high))]
        return [(ord(low), ord(low))]

    def _parse_class_char(self) -> str:
        if self._at >= len(self._text):
            raise ValueError("a [ is not closed")
        if self._text[self._at] == "\\":
            return self._parse_escaped_char()
        self._at += 1
        return self._text[self._at - 1]

    def _parse_named_class(self) -> Ranges | None:
        if not self._text.startswith("[:", self._at):
            return None
        end = self._text.find(":]", self._at + 2)
        if end < 0:
            return None
        name = self._text[self._at + 2 : end]
        ranges = _POSIX.get(name.removeprefix("^"))
        if ranges is None:
            raise ValueError(f"unknown class [:{name}:]")
        self._at = end + 2
        return _complement_ranges(ranges) if name.startswith("^") else ranges

    def _parse_escaped_class(self) -> Ranges | None:
        if self._text[self._at : self._at + 1] != "\\":
            return None
        letter = self._text[self._at + 1 : self._at + 2]
        if letter and letter in "pP":
            category = self._text[self._at + 2 : self._at + 3]
            if not category or category not in "CLMNPSZ":
                raise ValueError(f"\\{letter}{category} is not a character class")
            self._at += 3
            ranges = _find_category(category)
        elif letter and letter in "dswDSW":
            self._at += 2
            ranges = _PERL[letter.lower()]
        else:
            return None
        return _complement_ranges(ranges) if letter.isupper() else ranges

    def _parse_escaped_char(self) -> str:
        letter = self._text[self._at + 1 : self._at + 2]
        rest = self._text[self._at + 2 :]
        if letter.isdigit() and (octal := re.match("0[0-7]{0,2}|[1-7][0-7]{1,2}", letter + rest)):
            self._at += 1 + octal.end()
            return chr(int(octal[0], 8))
        if letter == "x" and (hexadecimal := re.match("[0-9A-Fa-f]{2}", rest)):
            self._at += 4
            return chr(int(hexadecimal[0], 16))
        if not letter or not letter.isascii() or (letter.isalnum() and letter not in _CONTROLS):
            raise ValueError(f"\\{letter} is not supported")
        self._at += 2
        return chr(_CONTROLS[letter]) if letter in _CONTROLS else letter

    def _skip(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found


def _complement_ranges(ranges: Sequence[tuple[int, int]]) -> Ranges:
    result = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            result.append((start, low - 1))
        start = max(start, high + 1)
    if start <= sys.maxunicode:
        result.append((start, sys.maxunicode))
    return result


def _render_class(ranges: Ranges, opening: str = "[") -> str:
    """Render a class from ranges; Python compiles a complemented one twenty times slower."""
    inside = "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)
    return f"{opening}{inside}]" if inside else "(?!)"


def _find_category(letter: str) -> Ranges:
    import unicodedata

    codes = (code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == letter)
    ranges: Ranges = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1] = (ranges[-1][0], code)
        else:
            ranges.append((code, code))
    return ranges
