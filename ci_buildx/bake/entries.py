"""Entries of a target that are text or objects: caches, outputs, attestations, secrets, SSH agents, policies, limits.

Syntax and merging are those of docker buildx 0.38.2 (``util/buildflags``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from ci_buildx.hcl.types.conversion import ConversionError
from ci_buildx.hcl.types.values import (
    STRING,
    HclValue,
    make_list,
    make_map,
    make_object,
    make_string,
)
from ci_buildx.model.record import dataclass
from ci_buildx.settings.syntax import join_fields, read_boolean, split_fields


class TargetEntry(Protocol):
    """One entry of a list of a target."""

    def to_json(self) -> dict[str, Any]:
        """Return the entry as ``--print`` shows it."""
        ...

    def to_value(self) -> HclValue:
        """Return the entry as other targets see it."""
        ...

    def to_text(self) -> str:
        """Return the entry as the option of ``build`` takes it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedEntry:
    """A cache, an output or an attestation: a type and sorted attributes."""

    type: str
    attrs: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """Return an attribute, "" if it is missing."""
        return dict(self.attrs).get(name, "")

    def replace(self, name: str, value: str) -> TypedEntry:
        """Return the entry with an attribute."""
        return make_entry(self.type, {**dict(self.attrs), name: value})

    def to_json(self) -> dict[str, Any]:
        """Return type and attributes, sorted."""
        return dict(sorted((*self.attrs, ("type", self.type))))

    def to_value(self) -> HclValue:
        """Return a map."""
        return make_map({name: make_string(text) for name, text in self.to_json().items()})

    def to_text(self) -> str:
        """Return ``type=…,key=value``."""
        return join_fields([f"type={self.type}", *(f"{key}={value}" for key, value in self.attrs)])


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputEntry(TypedEntry):
    """An output. Its attribute ``dest`` is only there if it is not empty."""

    def to_value(self) -> HclValue:
        """Return a map, which always has ``dest``."""
        return make_map({name: make_string(text) for name, text in {"dest": "", **self.to_json()}.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationEntry(TypedEntry):
    """An attestation; the attribute ``disabled`` is only there if it is true."""

    def to_json(self) -> dict[str, Any]:
        """Return type and attributes; ``disabled`` is a bool."""
        return {name: True if name == "disabled" else text for name, text in TypedEntry.to_json(self).items()}

    def to_value(self) -> HclValue:
        """Return a map of strings."""
        return make_map({name: make_string(text) for name, text in (*self.attrs, ("type", self.type))})


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretEntry:
    """A build secret: a file or a variable; without both, the id is the name of one."""

    id: str = ""
    src: str = ""
    env: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are set."""
        return {name: text for name, text in (("id", self.id), ("src", self.src), ("env", self.env)) if text}

    def to_value(self) -> HclValue:
        """Return an object with all fields."""
        return make_object({name: make_string(getattr(self, name)) for name in ("id", "src", "env")})

    def to_text(self) -> str:
        """Return ``id=…,src=…``."""
        return join_fields(f"{name}={text}" for name, text in self.to_json().items())


@dataclass(frozen=True, slots=True, kw_only=True)
class SshEntry:
    """An SSH agent: the default one, or a socket or keys by their paths."""

    id: str = ""
    paths: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are set."""
        return {name: one for name, one in (("id", self.id), ("paths", list(self.paths))) if one}

    def to_value(self) -> HclValue:
        """Return an object."""
        return make_object({"id": make_string(self.id), "paths": make_list(map(make_string, self.paths), STRING)})

    def to_text(self) -> str:
        """Return ``ID=PATH,…``."""
        return f"{self.id}={','.join(self.paths)}" if self.paths else self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEntry:
    """Options of a policy in Rego, which is refused unless it is disabled."""

    fields: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields by the names of buildx's structure."""
        known = dict(self.fields)
        files = [{"Filename": text, "Data": None} for name, text in self.fields if name == "filename"]
        strict = read_boolean(known["strict"]) if "strict" in known else None
        return {
            "Files": files or None,
            "Reset": bool(read_boolean(known.get("reset", "false"))),
            "Disabled": bool(read_boolean(known.get("disabled", "false"))),
            "Strict": strict,
            "LogLevel": known.get("log-level"),
        }

    def to_value(self) -> HclValue:
        """Return a map of strings."""
        return make_map({name: make_string(text) for name, text in self.fields}, STRING)

    def to_text(self) -> str:
        """Return ``key=value,…``."""
        return join_fields(f"{name}={text}" for name, text in self.fields)


Entry = TypeVar("Entry")
_Typed = TypeVar("_Typed", bound=TypedEntry)


def make_entry(kind: str, attrs: dict[str, str]) -> TypedEntry:
    """Return a cache or, with the same rules, another typed entry."""
    return TypedEntry(type=kind, attrs=tuple(sorted(attrs.items())))


def make_output(kind: str, attrs: dict[str, str]) -> OutputEntry:
    """Return an output."""
    kept = {name: text for name, text in attrs.items() if name != "dest" or text}
    return OutputEntry(type=kind, attrs=tuple(sorted(kept.items())))


def make_attestation(kind: str, attrs: dict[str, str]) -> AttestationEntry:
    """Return an attestation. Raises ConversionError."""
    kept = {name: text for name, text in attrs.items() if name != "disabled"}
    if "disabled" in attrs and _read_go_boolean(attrs["disabled"]):
        kept["disabled"] = "true"
    return AttestationEntry(type=kind, attrs=tuple(sorted(kept.items())))


def _read_go_boolean(text: str) -> bool:
    found = read_boolean(text)
    if found is None:
        raise ConversionError(f"invalid value {text!r}: not a boolean")
    return found


def _split(text: str, *, lower: bool = True) -> dict[str, str]:
    """Split ``key=value,…``; the last value of a key wins. Raises ConversionError."""
    found: dict[str, str] = {}
    for field in split_csv(text):
        key, equals, value = field.partition("=")
        if not equals:
            raise ConversionError(f"invalid value {field}")
        plain = key.strip().lower()
        found[plain if lower or plain in ("type", "disabled") else key] = value
    return found


def split_csv(text: str) -> list[str]:
    """Split one CSV record. Raises ConversionError."""
    try:
        return split_fields(text)
    except ValueError as error:
        raise ConversionError(str(error)) from None


def parse_caches(text: str) -> list[TypedEntry]:
    """Parse a cache: ``type=…``, or references alone, each a cache of its own. Raises ConversionError."""
    if "=" not in text:
        return [make_entry("registry", {"ref": field}) for field in split_csv(text)]
    found = _split(text)
    kind = found.pop("type", "")
    if not kind:
        raise ConversionError(f'type required for "{text}"')
    return [make_entry(kind, found)]


def parse_output(text: str) -> list[OutputEntry]:
    """Parse an output: ``type=…``, a folder alone, or ``-``. Raises ConversionError."""
    if split_csv(text) == [text] and not text.startswith("type="):
        return [make_output("tar" if text == "-" else "local", {"dest": text})]
    found = _split(text)
    kind = found.pop("type", "")
    if not kind:
        raise ConversionError("type is required for output")
    return [make_output(kind, found)]


def parse_attestation(text: str) -> list[AttestationEntry]:
    """Parse an attestation: ``type=…``. Raises ConversionError."""
    found = _split(text, lower=False)
    kind = found.pop("type", "")
    if not kind:
        raise ConversionError("attestation type not specified")
    return [make_attestation(kind, found)]


def parse_secret(text: str) -> list[SecretEntry]:
    """Parse a secret: ``id=…,src=…`` or ``id=…,env=…``. Raises ConversionError."""
    kind, found = "", {"id": "", "src": "", "env": ""}
    for field in split_csv(text):
        key, equals, value = field.partition("=")
        name = key.lower()
        if not equals:
            raise ConversionError(f"invalid field '{field}' must be a key=value pair")
        if name == "type":
            if value not in ("file", "env"):
                raise ConversionError(f'unsupported secret type "{value}"')
            kind = value
        elif name in ("source", "src"):
            found["src"] = value
        elif name in found:
            found[name] = value
        else:
            raise ConversionError(f"unexpected key '{name}' in '{field}'")
    if kind == "env" and not found["env"]:
        found |= {"env": found["src"], "src": ""}
    return [SecretEntry(**found)]


def parse_ssh(text: str) -> list[SshEntry]:
    """Parse an SSH agent: ``ID`` or ``ID=PATH,…``."""
    name, equals, paths = text.partition("=")
    return [SshEntry(id=name, paths=tuple(paths.split(",")) if equals else ())]


def parse_policy(text: str) -> list[PolicyEntry]:
    """Parse options of a policy. Raises ConversionError."""
    found: list[tuple[str, str]] = []
    for field in split_csv(text):
        key, equals, value = field.partition("=")
        name = key.strip().lower()
        if not equals or name not in ("filename", "reset", "disabled", "strict", "log-level") or not value:
            raise ConversionError(f"invalid value {field}")
        if name in ("reset", "disabled", "strict"):
            _read_go_boolean(value)
        found.append((name, value))
    return [PolicyEntry(fields=tuple(found))]


def remove_equal(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries without duplicates, in the order in which buildx leaves them (``removeDupes``).

    From the back, a duplicate behind an entry changes places with the last one and is cut off.
    """
    found = list(entries)
    for at in range(len(found) - 2, -1, -1):
        for other in range(at + 1, len(found)):
            if found[at] == found[other]:
                found[other] = found[-1]
                found.pop()
                break
    return found


def replace_by_name(entries: Iterable[Entry], name: Callable[[Entry], str]) -> list[Entry]:
    """Return entries of which the last one with a name takes the place of the first one."""
    found: dict[str, Entry] = {}
    for one in entries:
        found[name(one)] = one
    return list(found.values())
