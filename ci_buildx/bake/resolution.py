"""The targets of one call: groups are opened, inherited attributes merged, overrides applied, links followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ci_buildx.bake import entries
from ci_buildx.bake.overrides import AllowedPaths, Overrides, apply_overrides
from ci_buildx.bake.paths import rebase
from ci_buildx.bake.targets import DEFAULT, LINK, BakeDefinition, BakeGroup, BakeTarget, match_names, sanitize_name
from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass, replace

_WILDCARDS = "*?[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTargets:
    """Targets and groups by name, and the paths that overrides name."""

    targets: Mapping[str, BakeTarget]
    groups: Mapping[str, BakeGroup]
    allowed: AllowedPaths


def resolve_targets(definition: BakeDefinition, wanted: Sequence[str], overrides: Overrides) -> ResolvedTargets:
    """Return the targets of the names, groups and patterns in ``wanted``, and those that they link to.

    As in docker buildx 0.38.2 (``ReadTargets``). Raises InputError for unknown names and for links that are circular.
    """
    resolver = _Resolver(definition, overrides)
    names = [one for name in wanted for one in _match(definition, sanitize_name(name))]
    names = list(dict.fromkeys(names))
    groups: dict[str, BakeGroup] = {}
    for name in names:
        targets, inner = resolver.open_group(name, {})
        for target in dict.fromkeys(targets):
            resolver.add(target)
        for group in inner:
            found = definition.find_group(group)
            if found is not None:
                groups[group] = found
    _name_default(groups, names)
    for name in list(resolver.found):
        resolver.link(name, ())
    return ResolvedTargets(targets=resolver.found, groups=groups, allowed=resolver.allowed)


def _match(definition: BakeDefinition, pattern: str) -> list[str]:
    if not any(one in pattern for one in _WILDCARDS):
        return [pattern]
    names = [*(one.name for one in definition.groups), *(one.name for one in definition.targets)]
    found = match_names(pattern, names)
    if not found:
        raise InputError(f"could not find any target matching {pattern!r}", source="bake")
    return found


def _name_default(groups: dict[str, BakeGroup], names: Sequence[str]) -> None:
    """Put what was asked for into the group ``default``, sorted."""
    default = groups.get(DEFAULT)
    added = [name for name in names if not (name == DEFAULT and DEFAULT in groups)]
    if default is None:
        if not added:
            return
        default = BakeGroup(name=DEFAULT)
    targets = sorted({*default.targets, *added}) if names else default.targets
    groups[DEFAULT] = replace(default, targets=tuple(targets))


class _Resolver:
    """The targets found so far."""

    def __init__(self, definition: BakeDefinition, overrides: Overrides) -> None:
        self._definition = definition
        self._overrides = overrides
        self.found: dict[str, BakeTarget] = {}
        self.allowed = AllowedPaths()
        self._linked: set[str] = set()

    def open_group(self, name: str, seen: dict[str, tuple[list[str], list[str]]]) -> tuple[list[str], list[str]]:
        """Return the targets and groups below a name; a name that is not a group's is a target."""
        if name in seen:
            return seen[name]
        group = self._definition.find_group(name)
        if group is None:
            return [name], []
        seen[name] = ([], [])
        targets: list[str] = []
        groups = [name]
        for one in group.targets:
            below, inner = self.open_group(one, seen)
            targets += below or [one]
            groups += inner
        seen[name] = (targets, groups)
        return targets, groups

    def add(self, name: str) -> BakeTarget:
        """Add a target with everything that it inherits. Raises InputError."""
        if name not in self.found:
            self.found[name] = self.resolve(name)
        return self.found[name]

    def resolve(self, name: str) -> BakeTarget:
        """Return a target with everything that it inherits, and with its defaults. Raises InputError."""
        target = self._merge(name, {})
        assert target is not None
        context = target.get("context")
        if context is None:
            base = target.bases.default
            context = "." if base is None else rebase(base, ".")
        return (
            target.set("inherits", None)
            .set("context", context)
            .set("dockerfile", target.get("dockerfile") or "Dockerfile")
        )

    def _merge(self, name: str, seen: dict[str, BakeTarget | None]) -> BakeTarget | None:
        if name in seen:
            return seen[name]
        seen[name] = None
        own = self._definition.find_target(name)
        if own is None:
            raise InputError(f"failed to find target {name}", source="bake", fix="see bake --list targets")
        merged = BakeTarget(name=name)
        for parent in own.get("inherits", ()):
            inherited = self._merge(parent, seen)
            if inherited is not None:
                merged = merged.merge(inherited)
        overridden = apply_overrides(merged.merge(own), self._overrides.get(name, {}))
        self.allowed = self.allowed.add(overridden.allowed)
        seen[name] = overridden.target.normalize()
        return seen[name]

    def link(self, name: str, above: tuple[str, ...]) -> None:
        """Add the targets that a target's contexts name; it inherits their entitlements. Raises InputError."""
        above = (*above, name)
        for context in self.found[name].get("contexts", {}).values():
            if not context.startswith(LINK):
                continue
            other = context.removeprefix(LINK)
            if other == name:
                raise InputError(f"target {other} cannot link to itself", source="bake")
            if other in above:
                raise InputError(f"infinite loop from {name} to {other}", source="bake")
            if other not in self.found:
                linked = self.resolve(other).set("output", [entries.make_output("cacheonly", {})])
                self.found[other] = replace(linked, linked=True)
            if other not in self._linked:
                self.link(other, above)
            self._inherit(name, self.found[other])

        self._linked.add(name)

    def _inherit(self, name: str, linked: BakeTarget) -> None:
        target = self.found[name]
        own = list(target.get("entitlements", ()))
        more = [one for one in linked.get("entitlements", ()) if one not in own]
        if more:
            self.found[name] = target.set("entitlements", [*own, *more])
        platforms, others = target.get("platforms", ()), linked.get("platforms", ())
        if len(platforms) > 1 and len(others) > 1 and not set(platforms) <= set(others):
            shown = f"{_show(platforms)} are not a subset of {_show(others)}"
            raise InputError(
                f"target {linked.name} can't be used by {name} because its platforms {shown}", source="bake"
            )


def _show(platforms: Sequence[str]) -> str:
    return f"[{' '.join(platforms)}]"
