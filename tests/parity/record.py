"""What buildkitd was asked for, from its build history.

Source: BuildKit 0.34.2, ``api/services/control/control.proto``: BuildHistoryEvent and BuildHistoryRecord.
"""

from typing import NamedTuple

from ci_buildx.wire import protobuf

_RECORD = 2
_REF, _ATTRS, _EXPORTERS = 1, 3, 4


class Request(NamedTuple):
    """The part of a SolveRequest that the history keeps.

    Two things are left out: the frontend, because buildx names none and calls it itself, through the gateway, and the
    shared keys of folders, which are our own.
    """

    attrs: dict[str, str]
    exporters: list[tuple[str, dict[str, str]]]


def requests(events: list[bytes]) -> dict[str, Request]:
    """The requests by their ref."""
    records = [record for event in events for record in _all(event, _RECORD)]
    return {_all(record, _REF)[0].decode(): _request(record) for record in records}


def _request(record: bytes) -> Request:
    exporters = [(_all(exporter, 1)[0].decode(), _mapping(exporter, 2)) for exporter in _all(record, _EXPORTERS)]
    attrs = {name: text for name, text in _mapping(record, _ATTRS).items() if not name.startswith("sharedkey:")}
    return Request(attrs, exporters)


def _mapping(message: bytes, number: int) -> dict[str, str]:
    entries = ({field: value for field, _, value in protobuf.read_fields(entry)} for entry in _all(message, number))
    texts = ([entry.get(field, b"") for field in (1, 2)] for entry in entries)
    return {key.decode(): value.decode() for key, value in texts if isinstance(key, bytes) and isinstance(value, bytes)}


def _all(message: bytes, number: int) -> list[bytes]:
    return [value for field, _, value in protobuf.read_fields(message) if field == number and isinstance(value, bytes)]
