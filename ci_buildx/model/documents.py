"""Parsers for JSON, YAML and TOML that others wrote: whatever the text is, the result is a value or MalformedDocument.

The libraries raise errors of many kinds: RecursionError for deep nesting, ValueError for a number of 5,000 digits,
KeyError for ``!!bool x``. Numbers that do not fit elsewhere are errors here, so that no caller meets an infinity.
"""

from __future__ import annotations

import json
from re import Match
from typing import TYPE_CHECKING, Any, NoReturn

from ci_buildx.model.lazy import compile_lazily

if TYPE_CHECKING:
    import yaml

DEEPEST = 100
"""Maximum nesting of YAML."""
MOST_VALUES = 100_000
"""Maximum number of values in a YAML document after its aliases are expanded."""
LONGEST_TOML = 1 << 20
"""Maximum characters of a TOML document."""
_LONGEST_INTEGER = 20
"""Digits of the largest 64-bit integer, with its sign."""
_MOST_DOTS = 1000
"""Maximum number of dots in a line of TOML: the library's time grows with the square of a key's parts."""
_NESTING = "[{-:?"
"""Characters that a YAML collection needs at least one of."""


class MalformedDocument(ValueError):
    """A document that cannot be read. ``line`` and ``column`` count from 1; 0 if unknown."""

    def __init__(self, problem: str, *, line: int = 0, column: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column


_ESCAPE = compile_lazily(
    r"(?s)\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\."
)
"""An escaped character beyond U+FFFF, half of one, or another escape of JSON."""
_LONE_ESCAPE = 6
"""Characters of an escape that has no other half."""
_SURROGATE = compile_lazily(r"[\ud800-\udfff]")


def parse_json(text: str | bytes, *, strict: bool = True) -> Any:
    """Parse JSON. Raises MalformedDocument; without ``strict``, strings may contain control characters.

    Half of a surrogate pair, which no file and no terminal could hold, becomes U+FFFD, as in Go's ``encoding/json``.
    """
    try:
        if isinstance(text, bytes):  # The library would let bytes of surrogates pass.
            text = text.decode(json.detect_encoding(text))
        return json.loads(
            _replace_lone_surrogates(text),
            strict=strict,
            parse_int=_read_integer,
            parse_float=_read_float,
            parse_constant=_refuse_constant,
        )
    except RecursionError as error:
        raise MalformedDocument("it is nested too deeply") from error
    except MalformedDocument:
        raise
    except json.JSONDecodeError as error:
        raise MalformedDocument(str(error), line=error.lineno, column=error.colno) from error
    except ValueError as error:  # not UTF-8
        raise MalformedDocument(str(error)) from error


def _replace_lone_surrogates(text: str) -> str:
    """Replace the escapes of lone surrogates in JSON."""
    if "\\ud" not in text and "\\uD" not in text:
        return text

    def write(found: Match[str]) -> str:
        return "\\ufffd" if len(found[0]) == _LONE_ESCAPE else found[0]

    return _ESCAPE.sub(write, text)


def _read_integer(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER:
        raise MalformedDocument(f"a number of {len(digits)} digits is too large")
    return int(digits)


def _read_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise MalformedDocument("a number is too large")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedDocument(f"{name} is not a JSON value")


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML. Raises MalformedDocument."""
    import tomllib

    if len(text) > LONGEST_TOML:
        raise MalformedDocument(f"it has more than {LONGEST_TOML} characters")
    if any(line.count(".") > _MOST_DOTS for line in text.splitlines() if len(line) > _MOST_DOTS):
        raise MalformedDocument(f"a line has more than {_MOST_DOTS} dots")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise MalformedDocument("it is nested too deeply") from error
    except ValueError as error:
        raise MalformedDocument(str(error)) from error


def parse_yaml(text: str | bytes, loader: Any = None) -> Any:
    """Parse YAML (or JSON) with a safe ``loader``, by default ``yaml.SafeLoader``. Raises MalformedDocument."""
    return compose_yaml(text, loader)[0]


def compose_yaml(text: str | bytes, loader: Any = None) -> tuple[Any, yaml.Node | None]:
    """Parse YAML as :func:`parse_yaml`; also return its node, None for an empty document. Raises MalformedDocument."""
    import yaml

    loader = loader or yaml.SafeLoader
    made: Any = None
    try:
        if _count_nesting(text) > DEEPEST:
            _check_depth(text, loader)
        made = loader(text)
        node = made.get_single_node()
        if node is None:
            return None, None
        _check_size(node)
        return made.construct_document(node), node
    except MalformedDocument:
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise MalformedDocument(
            problem, line=mark.line + 1 if mark else 0, column=mark.column + 1 if mark else 0
        ) from error
    except RecursionError as error:
        raise MalformedDocument("it is nested too deeply") from error
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        # The constructors of the library meet a value that does not fit its tag, such as !!timestamp x.
        # The text of the error may quote a secret.
        raise MalformedDocument("a value does not fit its type") from error
    finally:
        if made is not None and hasattr(made, "dispose"):
            made.dispose()


def _count_nesting(text: str | bytes) -> int:
    """Return at least the depth of the document, at little cost."""
    if isinstance(text, bytes):
        return sum(text.count(mark.encode()) for mark in _NESTING)
    return sum(map(text.count, _NESTING))


def _check_depth(text: str | bytes, loader: Any) -> None:
    """Reject deep nesting: the C loader, which recurses, would crash the process."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise MalformedDocument(f"it is nested deeper than {DEEPEST} levels")


def _check_size(root: yaml.Node) -> None:
    """Reject lone surrogates, aliases of themselves, and aliases that multiply a short text into a huge value."""
    sizes: dict[int, int] = {}
    waiting = [(root, False)]
    inside: set[int] = set()
    while waiting:
        node, is_measured = waiting.pop()
        below = _list_children(node)
        if is_measured:
            inside.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(one)] for one in below)
            if sizes[id(node)] > MOST_VALUES:
                raise MalformedDocument(f"it has more than {MOST_VALUES} values")
        elif id(node) in inside:
            raise MalformedDocument("an alias contains itself")
        elif not below and isinstance(node.value, str) and _SURROGATE.search(node.value):
            place = {"line": node.start_mark.line + 1, "column": node.start_mark.column + 1}
            raise MalformedDocument("a character is half of a surrogate pair", **place)
        elif id(node) not in sizes:
            inside.add(id(node))
            waiting.append((node, True))
            waiting += [(one, False) for one in below if id(one) not in sizes]


def _list_children(node: yaml.Node) -> list[yaml.Node]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
