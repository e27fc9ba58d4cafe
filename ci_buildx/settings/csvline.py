"""CSV as buildx reads it: one line, commas between fields, double quotes around a whole field.

The rules are those of tonistiigi/go-csvvalue v0.0.0-20240814133006 (``csvvalue.go``): a quoted field doubles the
quotes inside it, and a quote elsewhere is an error. List inputs of CI systems follow other rules (`split_records`).
"""

from __future__ import annotations

from collections.abc import Iterable

from ci_buildx.model.pattern import pattern

_LINE_END = pattern(r"\r\n|\n|\r")
_QUOTED = pattern(r'"(?P<inner>[^"]*(?:""[^"]*)*)"')
_BARE = pattern(r"[^,\r\n]*")
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
    """The lines of an input whose quotes are left to buildx's reader, stripped; blank lines are dropped."""
    lines = (line.strip() for line in _LINE_END.split(text))
    return [line for line in lines if line]


def split_records(text: str, *, comments: bool = False) -> list[list[str]]:
    """The fields of each record of a list input, read as docker's actions read it.

    They use csv-parse with ``relax_quotes``, ``relax_column_count`` and ``skip_empty_lines`` (docker/actions-toolkit
    0.95.0, ``src/util.ts``, getList): quotes around a field are removed, a doubled quote inside is one, a quoted field
    may hold commas and line breaks, and quotes elsewhere are text. With ``comments`` a record that begins with ``#``
    is dropped. Raises ValueError for a quote that is not closed; the message holds nothing of the text.
    """
    records: list[list[str]] = []
    record: list[str] = []
    position, start_of_record = 0, True
    while position < len(text):
        if start_of_record and (skipped := _passed_over(text, position, comments=comments)) > position:
            position = skipped
            continue
        field, position = _read_field(text, position)
        record.append(field)
        start_of_record = False
        if text[position : position + 1] == ",":
            position += 1
            if position < len(text):
                continue
            record.append("")
        records.append(record)
        record, start_of_record = [], True
        position = _after_line_end(text, position)
    return records


def _passed_over(text: str, position: int, *, comments: bool) -> int:
    """The position after an empty line or a comment that begins at ``position``."""
    if comments and text[position] == "#":
        found = _LINE_END.search(text, position)
        return found.end() if found else len(text)
    return _after_line_end(text, position)


def _after_line_end(text: str, position: int) -> int:
    found = _LINE_END.match(text, position)
    return found.end() if found else position


def _read_field(text: str, position: int) -> tuple[str, int]:
    """The field at ``position``, and where it ends. After a closing quote in its middle, the quotes are text."""
    value = ""
    if text[position] == '"':
        quoted = _QUOTED.match(text, position)
        if not quoted:
            raise ValueError("a quote is not closed")
        value, position = quoted["inner"].replace('""', '"'), quoted.end()
        if position == len(text) or text[position] in ",\r\n":
            return value, position
        value = f'"{value}"'
    rest = _BARE.match(text, position)
    assert rest is not None
    return value + rest[0], rest.end()
