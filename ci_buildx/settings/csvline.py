"""CSV as buildx reads it: one line, commas between fields, double quotes around a whole field.

The rules are those of tonistiigi/go-csvvalue v0.0.0-20240814133006 (``csvvalue.go``): a quoted field doubles the
quotes inside it, and a quote elsewhere is an error. The text of a list input holds one such value a line.
"""

from __future__ import annotations

from collections.abc import Iterable

from ci_buildx.model.pattern import pattern

_FIELD = pattern(r'"(?P<quoted>(?:[^"]|"")*)"(?=,|\Z)|(?P<bare>[^,"]*)(?=,|\Z)')


def split_fields(text: str) -> list[str]:
    """The fields of one value; an empty text has none. Raises ValueError for misplaced quotes."""
    if not text:
        return []
    fields = []
    position = 0
    while True:
        match = _FIELD.match(text, position)
        if not match:
            raise ValueError(f"misplaced quote in {text[position:]!r}")
        quoted = match["quoted"]
        fields.append(match["bare"] if quoted is None else quoted.replace('""', '"'))
        if match.end() == len(text):
            return fields
        position = match.end() + 1


def join_fields(fields: Iterable[str]) -> str:
    """The fields as one value; what holds a comma or a quote is quoted (buildx 0.38.2 ``csvBuilder``)."""
    quoted = ('"' + field.replace('"', '""') + '"' if "," in field or '"' in field else field for field in fields)
    return ",".join(quoted)


def split_pairs(text: str) -> list[tuple[str, str]]:
    """The fields as ``key=value``, keys stripped and lower-case. Raises ValueError for a field without ``=`` or key."""
    pairs = []
    for field in split_fields(text):
        key, equals, value = field.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{field!r} is not key=value")
        pairs.append((key.strip().lower(), value))
    return pairs


def split_lines(text: str) -> list[str]:
    """The values of a list input: one a line, blank lines dropped, a quoted one may go over several lines."""
    values: list[str] = []
    pending = ""
    for line in text.splitlines():
        pending = f"{pending}\n{line}" if pending else line.strip()
        if pending.startswith('"') and pending.count('"') % 2:
            continue
        if pending:
            values.append(pending)
        pending = ""
    return [*values, pending] if pending else values
