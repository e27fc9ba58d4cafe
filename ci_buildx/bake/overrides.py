"""``--set TARGET.KEY=VALUE``: overrides of targets, with wildcards (docker buildx 0.38.2, ``newOverrides``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ci_buildx.bake import entries
from ci_buildx.bake.attributes import BY_NAME, clean_secrets
from ci_buildx.bake.entries import OutputEntry, SecretEntry
from ci_buildx.bake.entry_values import LIMITS
from ci_buildx.bake.targets import BakeDefinition, BakeTarget, match_names
from ci_buildx.errors import InputError
from ci_buildx.hcl.types.unification import ConversionError
from ci_buildx.model.record import dataclass, field, replace
from ci_buildx.settings.syntax import GO_FALSE, GO_TRUE

FLAG = "--set"
_ALIASES = {
    "annotations": "annotation",
    "args": "arg",
    "entitlements": "entitlement",
    "extra-hosts": "extra-host",
    "labels": "label",
    "platforms": "platform",
    "resources": "resource",
    "secrets": "secret",
    "tags": "tag",
    "ulimits": "ulimit",
}
_LISTS = {
    "annotation": "annotations",
    "attest": "attest",
    "cache-from": "cache-from",
    "cache-to": "cache-to",
    "entitlement": "entitlements",
    "no-cache-filter": "no-cache-filter",
    "output": "output",
    "platform": "platforms",
    "policy": "policy",
    "secret": "secret",
    "ssh": "ssh",
    "tag": "tags",
    "ulimit": "ulimits",
}
"""Keys of lists, and the attributes that they set."""
_ADDED = ("annotation", "attest", "entitlement")
"""Lists to which an override adds, unless its value is empty."""
_MAPS = {"arg": "args", "contexts": "contexts", "label": "labels", "extra-host": "extra-hosts"}
_TEXTS = ("call", "context", "dockerfile", "network", "shm-size", "target")
_SWITCHES = ("no-cache", "pull")
_EXPORTS = ("push", "load")
_PARSERS: Mapping[str, Callable[[str], Sequence[Any]]] = {
    "attest": entries.parse_attestation,
    "cache-from": entries.parse_caches,
    "cache-to": entries.parse_caches,
    "output": entries.parse_output,
    "policy": entries.parse_policy,
    "secret": entries.parse_secret,
    "ssh": entries.parse_ssh,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOverride:
    """One key's override: a ``value``, or ``items`` of a list, which are added with ``append``.

    ``cleared`` empties the list first.
    """

    value: str = ""
    items: tuple[str, ...] = ()
    append: bool = False
    cleared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedPaths:
    """Paths that the command line itself names, which a build may then use; ``kinds`` are granted entitlements."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def add(self, other: AllowedPaths) -> AllowedPaths:
        """Return the paths of both."""
        return AllowedPaths(
            read=(*self.read, *other.read), write=(*self.write, *other.write), kinds=(*self.kinds, *other.kinds)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OverriddenTarget:
    """A target with its overrides, and the paths that these name."""

    target: BakeTarget
    allowed: AllowedPaths = field(default_factory=AllowedPaths)


Overrides = Mapping[str, Mapping[str, TargetOverride]]


def parse_overrides(texts: Iterable[str], definition: BakeDefinition, env: Mapping[str, str]) -> Overrides:
    """Parse overrides; return them by target and key. ``env`` has the values of arguments without one.

    Raises InputError.
    """
    found: dict[str, dict[str, TargetOverride]] = {}
    for text in texts:
        head, equals, value = text.partition("=")
        append, bare = head.endswith("+"), head.removesuffix("+")
        pattern, *keys = bare.split(".", 2)
        if not keys:
            raise _refuse(f"invalid override key {bare}, expected target.name")
        if keys[0] == "secrets" and len(keys) > 1:
            raise _refuse(f"invalid key {head}, secret does not support subkeys")
        keys[0] = _ALIASES.get(keys[0], keys[0])
        if not equals and keys[0] != "arg":
            raise _refuse(f"invalid override {text}, expected target.name=value")
        _check_keys(head, keys, append=append)
        if keys[0] == "arg" and not equals:
            if keys[1] not in env:
                continue
            value = env[keys[1]]
        for name in _find_targets(pattern, definition):
            known = found.setdefault(name, {})
            key = ".".join(keys)
            known[key] = _add(known.get(key, TargetOverride()), keys, value, append=append)
    return found


def _refuse(reason: str) -> InputError:
    return InputError(reason, source=FLAG, fix="write it like app.platform=linux/arm64 or *.tags=name:tag")


def _find_targets(pattern: str, definition: BakeDefinition) -> list[str]:
    names = [one.name for one in definition.targets]
    if pattern in names:
        return [pattern]
    found = match_names(pattern, names)
    if not found:
        raise InputError(f"could not find any target matching '{pattern}'", source=FLAG)
    return found


def _check_keys(head: str, keys: Sequence[str], *, append: bool) -> None:
    kind, has_name = keys[0], len(keys) > 1
    if kind in (*_MAPS, "resource"):
        if not has_name:
            raise _refuse(f"invalid key {head}, {kind} requires name")
        if kind == "resource" and append:
            raise _refuse(f"invalid key {head}, {kind} does not support append")
    elif kind == "secret":
        if has_name and append:
            raise _refuse(f"invalid key {head}, secret does not support append")
    elif kind in (*_LISTS, *_TEXTS, *_SWITCHES, *_EXPORTS):
        if has_name:
            raise _refuse(f"invalid key {head}, {kind} does not support subkeys")
    else:
        raise _refuse(f"unknown key: {kind}")


def _add(known: TargetOverride, keys: Sequence[str], value: str, *, append: bool) -> TargetOverride:
    if keys[0] not in _LISTS or len(keys) > 1:
        return replace(known, value=value)
    if not append and not value:
        known = replace(known, cleared=True, items=())
    else:
        known = replace(known, items=(*known.items, value))
    return replace(known, append=append and not known.cleared)


def apply_overrides(target: BakeTarget, overrides: Mapping[str, TargetOverride]) -> OverriddenTarget:
    """Return a target with its overrides. Raises InputError for invalid values."""
    allowed = AllowedPaths()
    late = {key: one for key, one in overrides.items() if key.startswith("secret.")}
    for key in sorted(overrides, key=lambda one: one in _EXPORTS):
        if key in late:
            continue
        kind, _, name = key.partition(".")
        try:
            target = _apply(target, kind, name, overrides[key])
        except ConversionError as error:
            raise InputError(f"invalid value for {kind}: {error}", source=f"{FLAG} {target.name}.{key}") from None
        allowed = allowed.add(_list_paths(kind, overrides[key]))
    for key, one in late.items():
        target = _update_secret(target, key.partition(".")[2], one.value)
    named = {key.partition(".")[2] for key in late}
    if "secret" in overrides:
        named |= {one.id for text in overrides["secret"].items if text for one in entries.parse_secret(text)}
    paths = tuple(one.src for one in target.get("secret", ()) if one.id in named and one.src)
    return OverriddenTarget(target=target, allowed=allowed.add(AllowedPaths(read=paths)))


def _apply(target: BakeTarget, kind: str, name: str, override: TargetOverride) -> BakeTarget:
    if kind in _MAPS:
        return target.set(_MAPS[kind], {**target.get(_MAPS[kind], {}), name: override.value})
    if kind in _TEXTS:
        return target.set(kind, override.value)
    if kind in _SWITCHES:
        return target.set(kind, _read_switch(kind, override.value))
    if kind in _EXPORTS:
        change = _set_push if kind == "push" else _set_load
        return target.set("output", change(list(target.get("output", ())), _read_switch(kind, override.value)))
    if kind == "resource":
        return target.set("resources", _set_limit(target.get("resources") or {}, name, override.value))
    return _apply_list(target, kind, override)


def _apply_list(target: BakeTarget, kind: str, override: TargetOverride) -> BakeTarget:
    attribute = BY_NAME[_LISTS[kind]]
    parse = _PARSERS.get(kind)
    given = [one for text in override.items if text for one in parse(text)] if parse else list(override.items)
    known = target.get(attribute.name)
    if kind in _ADDED:
        known = None if override.cleared else known
        merged = given if known is None else [*known, *given]
    else:
        merged = [*(known or ()), *given] if override.append else given
    return target.set(attribute.name, attribute.clean(merged) if parse else merged)


def _read_switch(kind: str, text: str) -> bool:
    if text not in GO_TRUE | GO_FALSE:
        raise _refuse(f"invalid value {text} for boolean key {kind}")
    return text in GO_TRUE


def _set_limit(limits: dict[str, str | int], name: str, value: str) -> dict[str, str | int]:
    if name not in LIMITS:
        raise _refuse(f"unknown resources key {name}")
    number: str | int = value
    if name.startswith("cpu-"):
        try:
            number = int(value)
        except ValueError:
            raise _refuse(f"invalid value {value} for int64 key resources.{name}") from None
    merged = {**limits, name: number}
    return {key: merged[key] for key in LIMITS if key in merged}


def _set_push(outputs: list[OutputEntry], push: bool) -> list[OutputEntry]:
    """Push, or do not push, what is an image; what is only loaded or missing is pushed in addition."""
    if not push:
        return _stop_pushing(outputs)
    pushed = [_mark_push(one, "true") if one.type == "image" else one for one in outputs]
    if all(one.type == "docker" for one in outputs):
        pushed.append(entries.make_output("image", {"push": "true"}))
    return pushed


def _mark_push(output: OutputEntry, value: str) -> OutputEntry:
    return entries.make_output(output.type, {**dict(output.attrs), "push": value})


def _stop_pushing(outputs: list[OutputEntry]) -> list[OutputEntry]:
    found, at = list(outputs), 0
    while at < len(found):
        if found[at].type == "registry":
            found[at] = found[-1]
            found.pop()
            continue
        if found[at].type == "image":
            found[at] = _mark_push(found[at], "false")
        at += 1
    return found


def _set_load(outputs: list[OutputEntry], load: bool) -> list[OutputEntry]:
    """Load the image into docker, unless the target makes files."""
    if not load:
        return outputs
    for one in outputs:
        if one.type == "docker" and not one.get("dest"):
            return outputs
        if one.type not in ("docker", "image", "registry", "oci"):
            return outputs
    return [*outputs, entries.make_output("docker", {})]


def _update_secret(target: BakeTarget, name: str, value: str) -> BakeTarget:
    secrets: list[SecretEntry] = list(target.get("secret", ()))
    if not name:
        raise _refuse("invalid format for secret, expecting secret.<id>=<value>")
    try:
        following = entries.parse_secret(value)[0]
    except ConversionError as error:
        raise InputError(str(error), source=f"{FLAG} {target.name}.secret.{name}") from None
    if following.id not in ("", name):
        raise _refuse(f'secret override id "{following.id}" does not match declared secret "{name}"')
    if all(one.id != name for one in secrets):
        raise _refuse(f'secret "{name}" must be declared before it can be overridden')
    changed = [replace(one, src=following.src, env=following.env) if one.id == name else one for one in secrets]
    return target.set("secret", clean_secrets(changed))


def _list_paths(kind: str, override: TargetOverride) -> AllowedPaths:
    """Return the paths that an override allows: its own, not those of the list that it adds to."""
    if kind == "entitlement":
        return AllowedPaths(kinds=override.items)
    if kind not in ("cache-from", "cache-to", "ssh", "output"):
        return AllowedPaths()
    given = [one for text in override.items if text for one in _PARSERS[kind](text)]
    if kind == "ssh":
        return AllowedPaths(read=tuple(path for one in given for path in one.paths))
    if kind == "output":
        return AllowedPaths(write=tuple(one.get("dest") for one in given if one.get("dest")))
    paths = _list_local(given, "src" if kind == "cache-from" else "dest")
    return AllowedPaths(read=paths) if kind == "cache-from" else AllowedPaths(write=paths)


def _list_local(caches: Iterable[entries.TypedEntry], name: str) -> tuple[str, ...]:
    return tuple(one.get(name) for one in caches if one.type == "local" and one.get(name))
