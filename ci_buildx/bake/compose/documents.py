"""YAML of compose files, with the rules of YAML 1.2: ``yes`` and ``22:22`` are text."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model.documents import MalformedDocument, parse_yaml

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


@cache
def _make_loader() -> Any:
    import yaml

    class ComposeLoader(yaml.SafeLoader):
        """Reads plain scalars as null, bool, number or text, and ``!reset`` and ``!override`` as what they mark."""

    ComposeLoader.yaml_implicit_resolvers = {}
    for tag, pattern, first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("int", _INTEGER.pattern, "-+0123456789"),
        ("float", _FLOAT.pattern, "-+0123456789."),
        ("merge", "<<", "<"),
    ):
        ComposeLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first))
    ComposeLoader.add_constructor("tag:yaml.org,2002:int", _read_integer)
    ComposeLoader.add_constructor("!reset", lambda *_: RESET)
    ComposeLoader.add_constructor("!override", _read_override)
    return ComposeLoader


class Override:
    """A value marked ``!override``: it replaces what earlier files say instead of being merged."""

    def __init__(self, value: Any) -> None:
        self.value = value


RESET = object()
"""A value marked ``!reset``: it removes what earlier files say."""


def _read_integer(_: Any, node: Any) -> Any:
    text = node.value.lower()
    if text.startswith("0o"):
        return int(text[2:], 8)
    return int(text, 16) if text.startswith("0x") else int(text)


def _read_override(loader: Any, node: Any) -> Override:
    plain = type(node)(tag=loader.resolve(type(node), node.value, (True, False)), value=node.value)
    return Override(loader.construct_object(plain, deep=True))


def read_document(text: str, file: str) -> dict[str, Any]:
    """Parse a compose file. Raises InputError with its position."""
    try:
        found = parse_yaml(text, _make_loader())
    except MalformedDocument as error:
        place = f"{file}:{error.line},{error.column}" if error.line else file
        raise InputError(f"invalid YAML: {error.problem}", source=place) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InputError("top-level object must be a mapping", source=file)
    checked: dict[str, Any] = _check_keys(found, file)
    return checked


def _check_keys(value: Any, file: str) -> Any:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"non-string key {key!r}", source=file, fix="quote it")
        return {key: _check_keys(one, file) for key, one in value.items()}
    return [_check_keys(one, file) for one in value] if isinstance(value, list) else value
