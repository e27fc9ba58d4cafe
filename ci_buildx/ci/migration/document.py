"""YAML text with the positions of its values, and edits of whole lines.

Edits keep comments, quotes and order, which dumping the values would lose. Positions are PyYAML's marks: lines
count from 0, and the end of a block ends before trailing comments and blank lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model.documents import MalformedDocument, parse_yaml

LARGEST = 1 << 20
"""Characters. GitHub refuses workflows of more than 512 KiB."""
_LINE = re.compile(r"[^\r\n\x85\u2028\u2029]*(?:\r\n|[\r\n\x85\u2028\u2029]|\Z)")
_COMMENT = re.compile(r"\s*#")
_SAFE = re.compile(r"[A-Za-z0-9./_$][^#'\"&*!|>%@`\[\]]*")
_TYPED = re.compile(r"(?i)(~|null|true|false|yes|no|on|off|y|n|[-+.]?\d[\d_.:eE+-]*|0[xo][\da-f]+)")

Node = Any
"""A node of PyYAML, which has no types."""


class Entry:
    """A key of a mapping with its value, and the range of its lines."""

    def __init__(self, document: YamlDocument, key: Node, value: Node) -> None:
        self.document = document
        self.value = value
        self.first = int(key.start_mark.line)
        self.column = int(key.start_mark.column)
        self.last = max(document.find_end(value), self.first + 1)


class YamlDocument:
    """One YAML document. Raises InputError for text that is not YAML.

    ``origin`` has the numbers of the lines in the file, if the text was edited since it was read.
    """

    def __init__(self, text: str, source: str, origin: Sequence[int] | None = None) -> None:
        self.text, self.source, self.origin = text, source, origin
        self.lines = [found[0] for found in _LINE.finditer(text) if found[0]]
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.root, self.shared = _parse(text, source)

    @cached_property
    def shared_lines(self) -> frozenset[int]:
        """Lines with anchors, aliases and merge keys."""
        return frozenset(self.shared)

    def read_entries(self, node: Node) -> dict[str, Entry]:
        """Return the entries of a mapping by key; a node that is not a mapping has none."""
        if node is None or node.id != "mapping":
            return {}
        return {str(key.value): Entry(self, key, value) for key, value in node.value if key.id == "scalar"}

    def get_value(self, node: Node, *path: str) -> Node:
        """Return the node at a path of keys, or None."""
        for name in path:
            entry = self.read_entries(node).get(name)
            if entry is None:
                return None
            node = entry.value
        return node

    def find_end(self, node: Node) -> int:
        """Return the line after the last one of a node's content."""
        if node.id == "scalar":
            return self._find_scalar_end(node)
        if node.flow_style:
            return int(node.end_mark.line) + 1
        children = [child for pair in node.value for child in pair] if node.id == "mapping" else node.value
        return max((self.find_end(child) for child in children), default=int(node.end_mark.line) + 1)

    def _find_scalar_end(self, node: Node) -> int:
        first, end = int(node.start_mark.line), int(node.end_mark.line)
        if node.style not in ("|", ">"):
            return end + 1
        end = min(end + 1 if node.end_mark.column else end, len(self.lines))  # a last line without its line break
        content = [line for line in self.lines[first + 1 : end] if line.strip()]
        indent = _measure_indent(content[0]) if content else 0
        while end > first + 1 and _is_outside(self.lines[end - 1], indent):
            end -= 1
        return end

    def find_dash(self, node: Node) -> int:
        """Return the line of the dash before an item of a block sequence."""
        line = int(node.start_mark.line)
        if "-" in self.lines[line][: node.start_mark.column]:
            return line
        while line > 0 and not self.lines[line - 1].strip().startswith("-"):
            line -= 1
        return line - 1

    def find_comments(self, first: int) -> int:
        """Return the first line of the comments directly above a line, or the line itself."""
        indent = _measure_indent(self.lines[first])
        while first > 0 and _COMMENT.match(self.lines[first - 1]) and _measure_indent(self.lines[first - 1]) == indent:
            first -= 1
        return first

    def locate(self, line: int) -> int:
        """Return a line's number in the file, from 1."""
        return (self.origin[line] if self.origin is not None and line < len(self.origin) else line) + 1

    def cut(self, first: int, last: int) -> str:
        """Return the text of a range of lines."""
        return "".join(self.lines[first:last])


def _parse(text: str, source: str) -> tuple[Node, set[int]]:
    """Return the root node, and the lines with anchors, aliases and merge keys."""
    import yaml

    if len(text) > LARGEST:
        raise InputError("is larger than 1 MiB", source=source, fix="name a CI file")
    try:
        parse_yaml(text)
    except MalformedDocument as error:
        where = f" at line {error.line}" if error.line else ""
        raise InputError(f"is not valid YAML{where}: {error.problem}", source=source, fix="correct it first") from error
    root = yaml.compose(text, Loader=yaml.SafeLoader)  # Not the node of parse_yaml, which has merged its << keys.
    events = list(yaml.parse(text, Loader=yaml.SafeLoader))
    return root, {int(event.start_mark.line) for event in events if getattr(event, "anchor", None) and event.start_mark}


def _measure_indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _is_outside(line: str, indent: int) -> bool:
    return not line.strip() or (bool(_COMMENT.match(line)) and _measure_indent(line) < indent)


class LineEdits:
    """Edits of a document's lines, applied at once. Ranges must not overlap."""

    def __init__(self, document: YamlDocument) -> None:
        self.document = document
        self._edits: list[tuple[int, int, int, list[str]]] = []
        self._removed: set[tuple[int, int]] = set()

    def replace_lines(self, first: int, last: int, lines: Iterable[str] = ()) -> None:
        """Replace the lines from ``first`` up to, but not including, ``last``."""
        self._edits.append((first, last, len(self._edits), list(lines)))

    def insert_lines(self, at: int, lines: Iterable[str]) -> None:
        """Insert lines before line ``at``."""
        self.replace_lines(at, at, lines)

    def remove_item(self, first: int, last: int) -> None:
        """Remove an item of a list with the comments directly above it, and one of two blank lines around it."""
        self._removed.add((self.document.find_comments(first), last))
        self.replace_lines(self.document.find_comments(first), last)

    def set_scalar(self, node: Node, text: str) -> None:
        """Replace a value of one line, and a comment behind it that names a version."""
        line = self.document.lines[node.start_mark.line]
        rest = line[node.end_mark.column :]
        if re.match(r"\s+#.*\d", rest):
            rest = re.sub(r"\s+#[^\r\n]*", "", rest)
        self.replace_lines(
            node.start_mark.line, node.start_mark.line + 1, [line[: node.start_mark.column] + text + rest]
        )

    def apply(self) -> str:
        """Return the new text."""
        return "".join(line for line, _ in self.apply_lines())

    def apply_lines(self) -> list[tuple[str, int]]:
        """Return the new lines, each with the number from 0 of the old line that it comes from or follows."""
        out: list[tuple[str, int]] = []
        old, at = self.document.lines, 0
        for first, last, _, lines in sorted(self._edits, key=lambda edit: (edit[0], edit[1] != edit[0], edit[2])):
            out += [(old[number], number) for number in range(at, first)]
            if out and lines and not out[-1][0].endswith("\n"):
                out[-1] = (out[-1][0] + self.document.newline, out[-1][1])
            out += [(line if line.endswith("\n") else line + self.document.newline, first) for line in lines]
            at = max(at, last)
            if (first, last) in self._removed and self._has_two_blanks(out, at):
                at += 1
        return out + [(old[number], number) for number in range(at, len(old))]

    def _has_two_blanks(self, out: list[tuple[str, int]], at: int) -> bool:
        above = out[-1][0].strip() if out else ""
        lines = self.document.lines
        return (not above or above.endswith("steps:")) and at < len(lines) and not lines[at].strip()


def render_entry(name: str, value: str, indent: int) -> list[str]:
    """Return the lines of a key with a text as its value."""
    pad = " " * indent
    if "\n" in value.strip():
        body = [f"{pad}  {line.rstrip()}" if line.strip() else "" for line in value.strip().splitlines()]
        return [f"{pad}{name}: |", *body]
    text = value.strip()
    return [f"{pad}{name}: {text if text in ('true', 'false') else quote_text(text)}"]


def quote_text(value: str) -> str:
    """Return a text of one line as YAML, in quotes if it needs them."""
    safe = _SAFE.fullmatch(value) or re.fullmatch(r"\$\{\{[^}]*\}\}[^#:]*", value)
    if safe and ": " not in value and not value.endswith((":", " ")) and not _TYPED.fullmatch(value):
        return value
    return "'" + value.replace("'", "''") + "'"


def move_entry(document: YamlDocument, entry: Entry, name: str, indent: int) -> list[str]:
    """Return the lines of an entry under another name and with another indentation, comments included."""
    if document.lines[entry.first][: entry.column].strip(" -"):
        return render_entry(name, str(entry.value.value), indent)  # the mapping is in flow style
    lines = [line.rstrip("\r\n") for line in document.lines[entry.first : entry.last]]
    head = lines[0][entry.column :]
    lines[0] = " " * indent + name + head[head.index(":") :]
    shift = indent - entry.column
    return [lines[0], *(_shift_line(line, shift) for line in lines[1:])]


def _shift_line(line: str, shift: int) -> str:
    if not line.strip():
        return ""
    return " " * shift + line if shift >= 0 else line[min(-shift, _measure_indent(line)) :]


def read_scalars(document: YamlDocument, node: Node) -> Mapping[str, str]:
    """Return the entries of a mapping whose values are scalars, as texts."""
    return {name: str(one.value.value) for name, one in document.read_entries(node).items() if one.value.id == "scalar"}


def list_items(node: Node) -> Iterator[Node]:
    """Yield the items of a sequence; a node that is not a sequence has none."""
    if node is not None and node.id == "sequence":
        yield from node.value
