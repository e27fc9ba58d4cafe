"""Targets and groups, as a definition holds them and after all merging."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ci_buildx.bake.attributes import ATTRIBUTES, BY_NAME
from ci_buildx.errors import InputError
from ci_buildx.hcl.types.values import HclValue, make_list, make_object, make_string
from ci_buildx.model.record import dataclass, field, replace

_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_SPECIAL = re.compile(r"\$\{|%\{")
DEFAULT = "default"
LINK = "target:"
"""Prefix of a named context that is another target's result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextBases:
    """Folders of the files that set a target's contexts, for ``BUILDX_BAKE_FILE_RELATIVE_PATHS``.

    ``default`` is the folder of the target's file, ``context`` that of the file that sets the context, None if none
    does; ``reference`` names the target whose context is used instead. ``named`` has the folders of named contexts.
    """

    default: str | None = None
    context: str | None = None
    reference: str = ""
    named: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeGroup:
    """A name for several targets or groups."""

    name: str
    description: str = ""
    targets: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the group as ``--print`` shows it."""
        described = {"description": self.description} if self.description else {}
        return {**described, "targets": list(self.targets)}


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeTarget:
    """A target: the attributes that are set, by name. ``linked`` is one that only another target needs."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    linked: bool = False
    bases: ContextBases = field(default_factory=ContextBases)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.values.get(name, default)

    def set(self, name: str, value: Any) -> BakeTarget:
        """Return the target with an attribute; None removes it."""
        values = {key: one for key, one in self.values.items() if key != name}
        return replace(self, values=values if value is None else {**values, name: value})

    def merge(self, later: BakeTarget) -> BakeTarget:
        """Return the target with the attributes of a later one, which override its own or are added to them."""
        values = dict(self.values)
        for name, value in later.values.items():
            if name == "description" and not value:
                continue
            values[name] = BY_NAME[name].merge(values[name], value) if name in values else value
        return replace(self, values=values, bases=_merge_bases(self.bases, later))

    def normalize(self) -> BakeTarget:
        """Return the target without duplicates; the network of the host needs its entitlement."""
        values = dict(self.values)
        if values.get("network") == "host":
            values["entitlements"] = [*values.get("entitlements", ()), "network.host"]
        return replace(self, values={name: BY_NAME[name].clean(value) for name, value in values.items()})

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as ``--print`` shows them, in the order of the table, without empty lists."""
        shown: dict[str, Any] = {}
        for attribute in ATTRIBUTES:
            value = self.values.get(attribute.name)
            if value is None or (isinstance(value, list | dict) and not value):
                continue
            if attribute.name == "description" and not value:
                continue
            found = attribute.to_json(value)
            shown[attribute.name] = _escape(found) if attribute.escaped else found
        return shown

    def to_value(self) -> HclValue:
        """Return the target as expressions see it: ``target.NAME``."""
        found = {one.name: one.to_value(self.values.get(one.name)) for one in ATTRIBUTES}
        found["description"] = make_string(self.values.get("description") or "")
        return make_object({**found, "name": make_string(self.name)})


def make_group_value(group: BakeGroup) -> HclValue:
    """Return a group as expressions see it: ``group.NAME``."""
    texts = {"name": make_string(group.name), "description": make_string(group.description)}
    return make_object({**texts, "targets": make_list(map(make_string, group.targets))})


def _merge_bases(own: ContextBases, later: BakeTarget) -> ContextBases:
    default = own.default if later.bases.default is None else later.bases.default
    context, reference = own.context, own.reference
    if "context" in later.values:
        context, reference = later.bases.context, later.bases.reference
    named = dict(own.named)
    for name in later.get("contexts", {}):
        named.pop(name, None)
        if name in later.bases.named:
            named[name] = later.bases.named[name]
    return ContextBases(default=default, context=context, reference=reference, named=named)


def _escape(value: Any) -> Any:
    """Double the sign of template sequences, so that what is printed can be read as a definition."""
    if isinstance(value, str):
        return _SPECIAL.sub(lambda match: match[0][0] + match[0], value)
    if isinstance(value, dict):
        return {name: _escape(one) for name, one in value.items()}
    return [_escape(one) for one in value]


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeDefinition:
    """All groups and targets of the files, in order."""

    groups: tuple[BakeGroup, ...] = ()
    targets: tuple[BakeTarget, ...] = ()

    def find_target(self, name: str) -> BakeTarget | None:
        """Return a target."""
        return next((one for one in self.targets if one.name == name), None)

    def find_group(self, name: str) -> BakeGroup | None:
        """Return a group."""
        return next((one for one in self.groups if one.name == name), None)

    def deduplicate(self) -> BakeDefinition:
        """Return the definition with targets of one name merged, and each target once in a group."""
        merged: dict[str, BakeTarget] = {}
        for one in self.targets:
            merged[one.name] = merged[one.name].merge(one) if one.name in merged else one
        groups = tuple(replace(one, targets=tuple(dict.fromkeys(one.targets))) for one in self.groups)
        return BakeDefinition(groups=groups, targets=tuple(merged.values()))


def check_name(name: str) -> None:
    """Raise ValueError for a name that no target may have."""
    if not _NAME.fullmatch(name):
        raise ValueError(f'invalid name "{name}": only "[a-zA-Z0-9_-]+" are allowed')


def sanitize_name(name: str) -> str:
    """Return the name of a target for that of a compose service, which may have dots."""
    return name.replace(".", "_")


def match_names(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the names that match a pattern with ``*``, ``?`` and ``[…]`` (Go's ``path.Match``). Raises InputError."""
    try:
        wanted = re.compile(_translate(pattern))
    except (re.error, IndexError):
        raise InputError(f"pattern {pattern!r} is malformed", source="bake", fix="close its bracket") from None
    return [name for name in names if wanted.fullmatch(name)]


def _translate(pattern: str) -> str:
    found, at = "", 0
    while at < len(pattern):
        one = pattern[at]
        if one == "*":
            found += "[^/]*"
        elif one == "?":
            found += "[^/]"
        elif one == "[":
            end = pattern.index("]", at + 1) if "]" in pattern[at + 1 :] else len(pattern) + 1
            inner = pattern[at + 1 : end] if end <= len(pattern) else pattern[len(pattern)]
            negated = inner.startswith("^")
            found += f"[{'^' if negated else ''}{re.escape(inner[negated:]).replace(chr(92) + '-', '-')}]"
            at = end
        elif one == "\\":
            at += 1
            found += re.escape(pattern[at])
        else:
            found += re.escape(one)
        at += 1
    return found
