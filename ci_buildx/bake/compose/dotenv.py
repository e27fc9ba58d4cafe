"""Files of variables: ``.env`` and ``env_file`` (compose-go 2.16.1, ``dotenv``)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ci_buildx.bake.compose.interpolation import InvalidTemplate, substitute

_KEY = re.compile(r"(?:export[ \t]+)?([\w.\-\[\]]+)[ \t]*([=:]|(?=\n)|\Z)[ \t]*")
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:[abcfnrtv$\"\\]|0[0-7]{0,3})")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}


def read_variables(text: str, env: Mapping[str, str]) -> dict[str, str]:
    """Parse a file of variables; ``env`` is known to its values, and names alone are taken from it.

    Raises InvalidTemplate with the line.
    """
    found: dict[str, str] = {}
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at >= len(text):
            return found
        if text[at] == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        line = text.count("\n", 0, at) + 1
        key = _KEY.match(text, at)
        if key is None:
            raise InvalidTemplate(f"line {line}: unexpected character in variable name")
        at = key.end()
        if not key[2]:
            if key[1] in env:
                found[key[1]] = env[key[1]]
            continue
        found[key[1]], at = _read_value(text, at, line, {**found, **env})


def _read_value(text: str, at: int, line: int, env: Mapping[str, str]) -> tuple[str, int]:
    if text[at : at + 1] in ('"', "'"):
        match = _QUOTED.match(text, at)
        if match is None:
            raise InvalidTemplate(f"line {line}: unterminated quoted value")
        if match[1] is None:
            return match[2].replace("\\'", "'"), match.end()
        return substitute(_unescape(match[1]), env), match.end()
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    bare = text[at:end].partition(" #")[0].rstrip()
    return substitute(bare, env), end


def _unescape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        letter = match[0][1:]
        if letter == "$":
            return "$$"
        if letter[0] == "0":
            return chr(int(letter, 8) % 256)
        return _ESCAPES.get(letter, match[0])

    return _ESCAPE.sub(replace, text)
