"""An option in the words and the YAML of a CI system's input."""

from __future__ import annotations

import json

import yaml

from ci_buildx.settings.option import Kind, Option

_SEVERAL = {Kind.LINES: "one a line", Kind.WORDS: "one a line or between commas"}


def sentence(option: Option, *, arrays: bool = False) -> str:
    """Its help on one line, with how values are written and what counts if it is not given.

    With ``arrays`` the system has types: a list is given as a list, and choices are shown beside.
    """
    text = option.as_input or option.help
    notes = []
    if option.repeatable:
        notes += [option.metavar] if arrays else [f"{option.metavar}, {_SEVERAL[option.kind]}"]
    if option.kind is Kind.CHOICE and not arrays:
        notes += [", ".join(choice for choice in option.choices if choice)]
    if option.kind is not Kind.SWITCH and (default := option.otherwise or option.default):
        notes += [f"default: {default}"]
    noted = f" ({'; '.join(notes)})" if notes else ""
    name = text.partition(" ")[0]
    return (text if "." in name else text[0].upper() + text[1:]) + noted


def scalar(text: str) -> str:
    """A YAML scalar for a text: plain where that reads back the same, in quotes elsewhere."""
    try:
        plain = yaml.safe_load(f"- key: {text}") == [{"key": text}]
    except yaml.YAMLError:
        plain = False
    return text if plain else json.dumps(text, ensure_ascii=False)
