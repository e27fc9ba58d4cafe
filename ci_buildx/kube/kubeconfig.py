"""Kubeconfig files: reading, merging and lookup, without interpretation.

Merging follows client-go v0.34.2, ``tools/clientcmd/loader.go``: missing files are skipped, the first file to name a
cluster, user or context wins as a whole, the first non-empty ``current-context`` wins, and each entry remembers its
file because relative paths are relative to that file's folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model.documents import MalformedDocument, parse_json, parse_yaml
from ci_buildx.model.record import dataclass

_LARGEST = 16 << 20
"""Maximum bytes of a file; enough for the certificates and tokens of a thousand clusters."""
TEXT = Path("/text of the kubeconfig")
"""The origin of a kubeconfig passed as text. Its relative paths resolve against the root, as it has no folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeconfigEntry:
    """One named cluster, user or context: ``kind`` is that word, ``origin`` the file that contains it."""

    kind: str
    name: str
    body: Mapping[str, Any]
    origin: Path

    def read_text(self, key: str) -> str:
        """Return a string field, "" if it is absent. Raises InputError for other types."""
        value = self.body.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.make_error(f"{key} must be a string")
        return value

    def read_flag(self, key: str) -> bool:
        """Return a boolean field, False if it is absent. Raises InputError for other types."""
        value = self.body.get(key)
        if not isinstance(value, bool | None):
            raise self.make_error(f"{key} must be true or false")
        return bool(value)

    def read_path(self, key: str) -> Path | None:
        """Return the path in a field, relative to the kubeconfig's folder; None if it is absent."""
        text = self.read_text(key)
        return self.origin.absolute().parent / text if text else None

    def read_content(self, key: str) -> bytes:
        """Return the base64 content of ``KEY-data``, else the content of the file in ``KEY``, else ``b""``.

        Raises InputError for invalid base64 or an unreadable file.
        """
        encoded = self.read_text(f"{key}-data")
        if encoded:
            import binascii

            try:
                return binascii.a2b_base64("".join(encoded.split()), strict_mode=True)
            except (binascii.Error, ValueError) as cause:
                raise self.make_error(f"{key}-data is not base64") from cause
        path = self.read_path(key)
        return (
            read_file(path, source=f"{describe_file(self.origin)}: {self.kind} {self.name!r}: {key}") if path else b""
        )

    def make_error(self, reason: str, *, fix: str = "") -> InputError:
        """Make an InputError that names this entry and its file."""
        return InputError(f"{self.kind} {self.name!r}: {reason}", source=describe_file(self.origin), fix=fix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubeconfig:
    """The merged content of ``files`` (those that exist)."""

    files: tuple[Path, ...]
    current_context: str
    contexts: Mapping[str, KubeconfigEntry]
    clusters: Mapping[str, KubeconfigEntry]
    users: Mapping[str, KubeconfigEntry]

    @property
    def source(self) -> str:
        """The files as error messages name them."""
        return ", ".join(describe_file(file) for file in self.files)

    def find_context(self, name: str) -> KubeconfigEntry:
        """Return the context ``name``, or the current one if it is "". Raises InputError that lists the contexts."""
        name = name or self.current_context
        if not name:
            raise InputError("no current-context is set", source=self.source, fix=self._list_choices())
        if name not in self.contexts:
            raise InputError(f"context {name!r} does not exist", source=self.source, fix=self._list_choices())
        return self.contexts[name]

    def find_referred(self, context: KubeconfigEntry, kind: str) -> KubeconfigEntry:
        """Return the cluster or user (``kind``) that a context names. Raises InputError if it does not exist."""
        name = context.read_text(kind)
        there_are = self.clusters if kind == "cluster" else self.users
        if name not in there_are:
            known = ", ".join(sorted(there_are)) or "none"
            raise context.make_error(f"{kind} {name!r} does not exist", fix=f"known {kind}s: {known}")
        return there_are[name]

    def _list_choices(self) -> str:
        names = ", ".join(sorted(self.contexts))
        return f"choose one of these contexts: {names}" if names else "add a context: the file has none"


def read_kubeconfigs(files: Sequence[Path]) -> Kubeconfig | None:
    """Merge the existing ones of ``files``; return None if none exists.

    Raises InputError naming the faulty file.
    """
    found = tuple(file for file in dict.fromkeys(files) if file.exists())
    if not found:
        return None
    return _merge({file: _parse_file(read_file(file, source="kubeconfig"), file) for file in found})


def read_text(content: bytes) -> Kubeconfig:
    """Parse a kubeconfig passed as text. Raises InputError, which shows only names from it."""
    return _merge({TEXT: _parse_file(content, TEXT)})


def describe_file(file: Path) -> str:
    """Return how error messages name the origin of an entry."""
    return TEXT.name if file == TEXT else str(file)


def _merge(documents: Mapping[Path, Mapping[str, Any]]) -> Kubeconfig:
    merged: dict[str, dict[str, KubeconfigEntry]] = {"context": {}, "cluster": {}, "user": {}}
    current = ""
    for file, document in documents.items():
        for kind, entries in merged.items():
            for entry in _read_entries(document, kind, file):
                entries.setdefault(entry.name, entry)
        current = current or str(document.get("current-context") or "")
    return Kubeconfig(
        files=tuple(documents),
        current_context=current,
        contexts=merged["context"],
        clusters=merged["cluster"],
        users=merged["user"],
    )


def read_file(path: Path, *, source: str) -> bytes:
    """Read a file. Raises InputError with the system's reason, or if the file is larger than 16 MiB."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as cause:
        raise InputError(f"cannot read {path}: {cause.strerror}", source=source) from cause
    if len(content) > _LARGEST:
        raise InputError(f"{path} is larger than {_LARGEST >> 20} MiB", source=source)
    return content


def _parse_file(content: bytes, file: Path) -> Mapping[str, Any]:
    document = _parse_json(content) if content.lstrip().startswith(b"{") else None
    if document is None:
        document = _parse_yaml(content, file)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InputError("not a kubeconfig: the top of the file must be a mapping", source=describe_file(file))
    return document


def _parse_json(content: bytes) -> object:
    """Parse JSON, a hundred times faster than YAML; return None if it is not JSON, as it may be YAML's flow style."""

    try:
        return parse_json(content)
    except ValueError:
        return None


def _parse_yaml(content: bytes, file: Path) -> object:
    import yaml

    try:
        # Both loaders are safe; the C one is ten times as fast but not always available.
        return parse_yaml(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except MalformedDocument as cause:
        # The parser's own words may quote the file.
        reason = f"malformed YAML in line {cause.line}" if cause.line else cause.problem
        raise InputError(f"not a kubeconfig: {reason}", source=describe_file(file)) from cause


def _read_entries(document: Mapping[str, Any], kind: str, file: Path) -> list[KubeconfigEntry]:
    items = document.get(f"{kind}s") or []
    if not isinstance(items, list):
        raise InputError(f"{kind}s must be a list", source=describe_file(file))
    entries: dict[str, KubeconfigEntry] = {}
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        body = (item.get(kind) or {}) if isinstance(item, dict) else None
        if not isinstance(name, str) or not isinstance(body, dict):
            raise InputError(f"each of {kind}s needs a name and a {kind}", source=describe_file(file))
        if name in entries:
            raise InputError(f"{kind} {name!r} is defined twice", source=describe_file(file))
        entries[name] = KubeconfigEntry(kind=kind, name=name, body=body, origin=file)
    return list(entries.values())
