"""Parses a document in HCL's JSON syntax: objects are blocks or arguments, strings templates (HCL 2.24.0, ``json``)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ci_buildx.hcl.source import HclError, SourceRange
from ci_buildx.hcl.syntax import Argument, Block, Expression, JsonText, Literal, ObjectConstructor, TupleConstructor
from ci_buildx.hcl.types.numbers import parse_number
from ci_buildx.hcl.types.values import FALSE, NULL, TRUE, HclValue, make_number, replace_surrogates

_SPACES = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"[A-Za-z_][\w-]*")
_WORDS = {"true": TRUE, "false": FALSE, "null": NULL}
_DEEPEST = 200


class _Member(NamedTuple):
    name: str
    where: SourceRange
    value: _Node


class _Object(NamedTuple):
    members: tuple[_Member, ...]
    where: SourceRange


class _Array(NamedTuple):
    items: tuple[_Node, ...]
    where: SourceRange


class _JsonString(NamedTuple):
    text: str
    where: SourceRange


class _Constant(NamedTuple):
    value: HclValue
    where: SourceRange


_Node = _Object | _Array | _JsonString | _Constant


@dataclass(frozen=True, slots=True, eq=False)
class JsonBody:
    """An object, or several objects that count as one body."""

    members: tuple[_Member, ...]
    where: SourceRange

    def find_argument(self, name: str) -> Argument | None:
        """Return an argument. Raises HclError if it is set twice."""
        found = [one for one in self.members if one.name == name]
        if len(found) > 1:
            detail = f'The argument "{name}" was already set at {found[0].where}.'
            raise HclError("Duplicate argument", detail, found[1].where)
        return _make_argument(found[0]) if found else None

    def find_blocks(self, types: Mapping[str, int]) -> Sequence[Block]:
        """Return the blocks of some types. Raises HclError for values that are not objects."""
        found: list[Block] = []
        for one in self.members:
            if one.name in types:
                found += _list_blocks(one, one.value, types[one.name], ())
        return found

    def list_arguments(self, blocks: Mapping[str, int]) -> Mapping[str, Argument]:
        """Return all arguments; of those that are set twice, the last one."""
        return {one.name: _make_argument(one) for one in self.members if one.name not in blocks and one.name != "//"}


def parse_json_body(text: str, file: str) -> JsonBody:
    """Parse a document. Raises HclError."""
    scanner = _JsonScanner(text, file)
    root = scanner.read_value(0)
    scanner.skip_spaces()
    if scanner.at < len(text):
        raise scanner.fail("Extraneous data after value", "Extra characters appear after the JSON value.")
    if not isinstance(root, _Object | _Array):
        detail = "The root value in a JSON-based configuration must be a JSON object or an array of objects."
        raise HclError("Root value must be object", detail, root.where)
    return _make_body(root)


def _make_body(node: _Node) -> JsonBody:
    return JsonBody(tuple(_list_members(node)), node.where)


def _list_members(node: _Node) -> Iterator[_Member]:
    """Yield the members of an object, or of an array of objects; null has none. Raises HclError."""
    if isinstance(node, _Object):
        yield from node.members
        return
    if isinstance(node, _Constant) and node.value.is_null:
        return
    if not isinstance(node, _Array):
        detail = "Either a JSON object or JSON array of objects is required here."
        raise HclError("Incorrect JSON value type", detail, node.where)
    for one in node.items:
        if not isinstance(one, _Object):
            raise HclError("Incorrect JSON value type", "A JSON object is required here.", one.where)
        yield from one.members


def _list_blocks(member: _Member, node: _Node, labels: int, above: tuple[_Member, ...]) -> Iterator[Block]:
    if labels:
        for one in _list_members(node):
            yield from _list_blocks(member, one.value, labels - 1, (*above, one))
        return
    if isinstance(node, _Constant) and node.value.is_null:
        return
    if not isinstance(node, _Object | _Array):
        detail = f'A JSON object or an array is required, representing the contents of "{member.name}" blocks.'
        raise HclError("Incorrect JSON value type", detail, node.where)
    for inner in node.items if isinstance(node, _Array) else (node,):
        yield Block(
            type=member.name,
            labels=tuple(label.name for label in above),
            body=_make_body(inner),
            where=node.where,
            label_where=tuple(label.where for label in above),
        )


def _make_argument(member: _Member) -> Argument:
    where = member.where.extend(member.value.where)
    return Argument(name=member.name, expression=_make_expression(member.value), where=where, name_where=member.where)


def _make_expression(node: _Node) -> Expression:
    if isinstance(node, _JsonString):
        return JsonText(text=node.text, where=node.where)
    if isinstance(node, _Constant):
        return Literal(value=node.value, where=node.where)
    if isinstance(node, _Array):
        return TupleConstructor(items=tuple(map(_make_expression, node.items)), where=node.where)
    items: list[tuple[Expression, Expression]] = []
    known: dict[str, _Member] = {}
    for one in node.members:
        if one.name in known:
            detail = f'An attribute named "{one.name}" was already defined at {known[one.name].where}.'
            raise HclError("Duplicate object attribute", detail, one.where)
        known[one.name] = one
        items.append((JsonText(text=one.name, where=one.where), _make_expression(one.value)))
    return ObjectConstructor(items=tuple(items), where=node.where)


class _JsonScanner:
    """The text and the position in it."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.at = 0
        self.line, self.start = 1, 0

    def locate(self, begin: int, end: int) -> SourceRange:
        """Return the range of characters, which are on the line of the position."""
        return SourceRange(self.file, self.line, begin - self.start + 1, self.line, end - self.start + 1)

    def fail(self, summary: str, detail: str) -> HclError:
        """Return an error for the character here."""
        return HclError(summary, detail, self.locate(self.at, self.at + 1))

    def skip_spaces(self) -> None:
        """Go to the next token."""
        match = _SPACES.match(self.text, self.at)
        assert match is not None
        if lines := match[0].count("\n"):
            self.line += lines
            self.start = self.at + match[0].rfind("\n") + 1
        self.at = match.end()

    def take(self, pattern: re.Pattern[str]) -> tuple[str, SourceRange] | None:
        """Return the token here if it matches, with its range, and go behind it."""
        match = pattern.match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match[0], self.locate(match.start(), match.end())

    def accept(self, symbol: str) -> bool:
        """Go behind a symbol if it is the next one."""
        self.skip_spaces()
        if not self.text.startswith(symbol, self.at):
            return False
        self.at += 1
        return True

    def read_value(self, depth: int) -> _Node:
        """Read a value. Raises HclError."""
        if depth > _DEEPEST:
            raise self.fail("Invalid JSON", "Values are nested too deeply.")
        self.skip_spaces()
        begin = self.locate(self.at, self.at + 1)
        if self.accept("{"):
            members = tuple(self.read_members(depth))
            return _Object(members, begin.extend(self.locate(self.at, self.at)))
        if self.accept("["):
            items = tuple(self.read_items(depth))
            return _Array(items, begin.extend(self.locate(self.at, self.at)))
        if found := self.take(_STRING):
            return _JsonString(self.decode(*found), found[1])
        if found := self.take(_NUMBER):
            return _Constant(make_number(parse_number(found[0])), found[1])
        found = self.take(_WORD)
        if found is not None and found[0] in _WORDS:
            return _Constant(_WORDS[found[0]], found[1])
        raise HclError("Invalid JSON", "A JSON value is required here.", found[1] if found else begin)

    def decode(self, token: str, where: SourceRange) -> str:
        """Return the content of a string. Raises HclError for invalid escapes."""
        try:
            return replace_surrogates(json.loads(token))
        except ValueError:
            raise HclError("Invalid JSON string", "The string has an invalid escape.", where) from None

    def read_members(self, depth: int) -> Iterator[_Member]:
        """Read the members of an object whose brace was read."""
        if self.accept("}"):
            return
        while True:
            self.skip_spaces()
            found = self.take(_STRING)
            if found is None:
                raise self.fail("Invalid object property name", "A property name in double quotes is required here.")
            if not self.accept(":"):
                raise self.fail("Missing property value colon", "A colon must follow the name of a property.")
            yield _Member(self.decode(*found), found[1], self.read_value(depth + 1))
            if self.accept("}"):
                return
            if not self.accept(","):
                raise self.fail("Missing attribute separator", "A comma must separate the properties of an object.")

    def read_items(self, depth: int) -> Iterator[_Node]:
        """Read the elements of an array whose bracket was read."""
        if self.accept("]"):
            return
        while True:
            yield self.read_value(depth + 1)
            if self.accept("]"):
                return
            if not self.accept(","):
                raise self.fail("Missing array element separator", "A comma must separate the elements of an array.")
