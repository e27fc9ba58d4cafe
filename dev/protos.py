"""Writes the tables of protobuf messages from our .proto files.

    python -m dev.protos           # write
    python -m dev.protos --check   # exits with 1 and one line for each module whose tables are not those of its .proto

In a module below ``ci_buildx`` they stand between ``# Tables of NAME.proto, ...`` and ``# End of the tables.``; the
.proto file is beside the module. protoc reads it, so its syntax is checked, too. By default message ``FooBar``
becomes ``FOO_BAR = MessageSchema(FooBar, ...)``. A comment before the message says otherwise::

    // python: _NAME: Annotation = builder      name, its annotation (optional), and what builds a value
    // python: no table                         it is written by hand
    // python: NAME is imported                 the module takes the table from another one

After a field, ``// python: TEXT`` replaces its type.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ci_buildx"

_REGION = re.compile(
    r"(?P<head># Tables of (?P<proto>\w+\.proto), [^\n]*\n).*?(?P<end># End of the tables\.\n)", re.DOTALL
)
_NOTE = re.compile(r"^\s*python: (.+?)\s*$", re.MULTILINE)
_TABLE = re.compile(r"(?P<name>\w+)(?:: (?P<annotation>.+?))? = (?P<builder>\w+)")
_IMPORTED = re.compile(r"(?P<name>\w+) is imported")
_BY_HAND = "no table"
_LINE = 120
_MESSAGES, _FIELDS = 4, 2
"""Where messages stand in a FileDescriptorProto, and fields in a DescriptorProto: parts of a comment's place."""


class Message(NamedTuple):
    """A message and its table: ``name`` is "" if it has none, ``builder`` "" if it is imported."""

    descriptor: Any
    notes: dict[int, str]
    name: str
    annotation: str
    builder: str


def main() -> int:
    """Write or check the tables of all modules."""
    parser = argparse.ArgumentParser(prog="python -m dev.protos", description="tables of messages from .proto files")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if something would change")
    check = parser.parse_args().check
    changed = list(render(PACKAGE))
    for path, text in changed:
        if check:
            print(f"{path.relative_to(ROOT)}: the tables are not those of its .proto; run python -m dev.protos")
        else:
            path.write_text(text)
    return int(check and bool(changed))


def render(package: Path) -> Iterator[tuple[Path, str]]:
    """Yield each module whose tables differ from its .proto file, with the text that it should have."""
    for path in sorted(package.rglob("*.py")):
        text = path.read_text()
        if found := _REGION.search(text):
            tables = "".join(write_tables(path.with_name(found["proto"])))
            new = text[: found.start()] + found["head"] + tables + found["end"] + text[found.end() :]
            if new != text:
                yield path, new


def write_tables(proto: Path) -> Iterator[str]:
    """Yield the table of each message in ``proto``, those that others need first."""
    file = _compile(proto)
    messages = {f".{file.package}.{one.name}": _read(file, index) for index, one in enumerate(file.message_type)}
    written: set[str] = set()

    def write(name: str) -> Iterator[str]:
        if name not in messages or name in written:
            return
        written.add(name)
        message = messages[name]
        if message.name and message.builder:
            for field in message.descriptor.field:
                yield from write(_value(message.descriptor, field).type_name)
            yield _format(message, [_field(messages, message, index) for index in range(len(message.descriptor.field))])

    for name in messages:
        yield from write(name)


def _compile(proto: Path) -> Any:
    """Return the file's descriptor with its comments."""
    import grpc_tools
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "set")
        known = resources.files(grpc_tools) / "_proto"
        command = ["protoc", f"-I{proto.parent}", f"-I{known}", "--include_source_info", f"--descriptor_set_out={out}"]
        if protoc.main([*command, proto.name]):
            raise SystemExit(f"{proto}: protoc refuses it")
        (file,) = FileDescriptorSet.FromString(out.read_bytes()).file
    return file


def _read(file: Any, index: int) -> Message:
    """Return a message with what its comments say."""
    descriptor = file.message_type[index]
    note, notes = "", {}
    for location in file.source_code_info.location:
        place = list(location.path)
        if place == [_MESSAGES, index] and (found := _NOTE.search(location.leading_comments)):
            note = found[1]
        elif place[:3] == [_MESSAGES, index, _FIELDS] and (found := _NOTE.search(location.trailing_comments)):
            notes[place[3]] = found[1]
    if note == _BY_HAND:
        return Message(descriptor, notes, "", "", "")
    if imported := _IMPORTED.fullmatch(note):
        return Message(descriptor, notes, imported["name"], "", "")
    if not note:
        upper = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", descriptor.name).upper()
        return Message(descriptor, notes, upper, "", descriptor.name)
    table = _TABLE.fullmatch(note)
    if table is None:
        raise SystemExit(f"{file.name}: cannot read the comment 'python: {note}'")
    return Message(descriptor, notes, table["name"], table["annotation"] or "", table["builder"])


def _value(message: Any, field: Any) -> Any:
    """Return the field, or that of the values if it is a map."""
    for entry in message.nested_type:
        if field.type_name.endswith(f".{message.name}.{entry.name}") and entry.options.map_entry:
            return entry.field[1]
    return field


def _field(messages: dict[str, Message], message: Message, index: int) -> str:
    field = message.descriptor.field[index]
    value = _value(message.descriptor, field)
    kind = message.notes.get(index) or _kind(messages, value)
    if value is not field:
        return f'make_map_field({field.number}, "{field.name}"{"" if kind == "TEXT" else f", {kind}"})'
    shape = "make_repeated_field" if field.label == field.LABEL_REPEATED else "make_field"
    return f'{shape}({field.number}, "{field.name}", {kind})'


def _kind(messages: dict[str, Message], field: Any) -> str:
    if field.type == field.TYPE_MESSAGE:
        return "TIME" if field.type_name == ".google.protobuf.Timestamp" else messages[field.type_name].name
    kinds = {
        field.TYPE_STRING: "TEXT",
        field.TYPE_BYTES: "BYTES",
        field.TYPE_BOOL: "BOOLEAN",
        **dict.fromkeys((field.TYPE_INT32, field.TYPE_INT64, field.TYPE_UINT32, field.TYPE_ENUM), "INTEGER"),
    }
    if field.type not in kinds:
        raise SystemExit(f"{field.name}: our wire format has no such type")
    return kinds[field.type]


def _format(message: Message, fields: list[str]) -> str:
    """Return the table as ruff formats it."""
    annotation = f": {message.annotation}" if message.annotation else ""
    head = f"{message.name}{annotation} = MessageSchema("
    arguments = ", ".join([message.builder, *fields])
    if len(head) + len(arguments) + 1 <= _LINE:
        return f"{head}{arguments})\n"
    if len(arguments) + 4 <= _LINE:
        return f"{head}\n    {arguments}\n)\n"
    return f"{head}\n" + "".join(f"    {one},\n" for one in [message.builder, *fields]) + ")\n"


if __name__ == "__main__":
    sys.exit(main())
