"""Applies driver options to builder settings, and rejects options that contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model.record import replace
from ci_buildx.settings.builder import (
    IMAGE,
    ROOTLESS_IMAGE,
    BuilderSettings,
    Confinement,
    NetworkIsolation,
    Pairs,
    Reclaim,
    ReplicaRange,
    UserNamespaces,
)
from ci_buildx.settings.driver_opts import checks
from ci_buildx.settings.driver_opts.outside import ExternalInputs
from ci_buildx.settings.driver_opts.table import ENV, OPTIONS, Entries, OptionValue
from ci_buildx.settings.syntax import parse_duration


def check_combinations(builder: BuilderSettings, *, source: str) -> None:
    """Raise InputError for options that exclude each other."""
    storage = builder.storage
    if storage.memory and storage.claimed:
        raise InputError(
            "buildkit-root-volume-memory conflicts with persistent-volume-claim.requests.storage",
            source=source,
            fix="omit one: the state is either in memory or in a volume",
        )
    for name, given in (("storage-class", storage.storage_class), ("reclaim", storage.reclaim is Reclaim.RETAIN)):
        if given and not storage.claimed:
            raise InputError(
                f"{name} has no effect without a volume",
                source=source,
                fix="add persistent-volume-claim.requests.storage",
            )
    if builder.rootless and builder.user_namespaces is UserNamespaces.TRUE:
        raise InputError(
            "rootless=true conflicts with user-namespaces=true",
            source=source,
            fix=(
                "omit one: each alone avoids root on the cluster node, and rootlesskit "
                "needs IDs that a user namespace does not have"
            ),
        )
    if builder.qemu.install and builder.user_namespaces is UserNamespaces.TRUE:
        raise InputError(
            "qemu.install=true conflicts with user-namespaces=true",
            source=source,
            fix="omit one: emulators are registered with the cluster node's kernel, which requires root there",
        )
    if builder.confinement != Confinement() and not builder.rootless:
        raise InputError(
            "seccomp-profile and apparmor-profile have no effect without rootless=true",
            source=source,
            fix="add rootless=true or omit them: Kubernetes does not confine privileged containers",
        )


AUTO = "auto"
"""Image pull secret that is created from the registry's login."""


def apply_options(entries: Entries, base: BuilderSettings, outside: ExternalInputs, *, source: str) -> BuilderSettings:
    """Return the settings with the options applied to ``base``. Raises InputError."""
    fields, pod_fields = {}, dict(base.pod_fields)
    for name, option in OPTIONS.items():
        if name not in entries or not (option.field or option.pod_field):
            continue
        value = option.check_value(entries[name].value, outside, source=entries[name].source)
        if option.field:
            fields[option.field] = value
        else:
            pod_fields[option.pod_field] = value
    builder = _set_fields(base, fields)
    builder = replace(builder, pod_fields=tuple(pod_fields.items()), env=_check_env(entries, base))
    if builder.rootless and builder.image == IMAGE and "image" not in entries:
        builder = replace(builder, image=ROOTLESS_IMAGE)
    builder = _add_resources(builder, entries, source)
    builder = _add_network(builder, entries)
    builder = _add_scaling(builder, entries)
    if names := entries.get("image-pull-secrets"):
        builder = _add_pull_secrets(builder, names)
    return builder


def _set_fields(base: BuilderSettings, values: Mapping[str, Any]) -> BuilderSettings:
    """Return settings with other values of some fields; ``storage.claimed`` is field ``claimed`` of ``storage``."""
    for path, value in values.items():
        outer, _, inner = path.partition(".")
        base = replace(base, **{outer: replace(getattr(base, outer), **{inner: value}) if inner else value})
    return base


def _check_env(entries: Entries, base: BuilderSettings) -> Pairs:
    given = {
        checks.check_variable(name.removeprefix(ENV), source=entry.source): str(entry.value)
        for name, entry in entries.items()
        if name.startswith(ENV)
    }
    return tuple((dict(base.env) | given).items())


def _add_resources(builder: BuilderSettings, entries: Entries, source: str) -> BuilderSettings:
    amounts = {}
    for kind, before in (("requests", builder.requests), ("limits", builder.limits)):
        given = {
            name: checks.check_amount(str(entry.value), name, source=entry.source)
            for name in checks.RESOURCES
            if (entry := entries.get(f"{kind}.{name}"))
        }
        texts = dict(before) | given
        amounts[kind] = tuple((name, texts[name]) for name in checks.RESOURCES if name in texts)
    if (amounts["requests"], amounts["limits"]) != (builder.requests, builder.limits):
        checks.check_resources(amounts["requests"], amounts["limits"], source=source)
    return replace(builder, requests=amounts["requests"], limits=amounts["limits"])


def _add_scaling(builder: BuilderSettings, entries: Entries) -> BuilderSettings:
    wanted, idle = entries.get("replicas"), entries.get("idle-timeout")
    if wanted is not None:
        least, most = checks.parse_replicas(wanted.value, source=wanted.source)
        is_range = ".." in str(wanted.value)
        builder = replace(builder, scaling=ReplicaRange(least=least, most=most) if is_range else None)
    if idle is None:
        return builder
    if builder.scaling is None:
        fix = "add a range of replicas, such as replicas=2..20"
        raise InputError("has no effect on a fixed number of replicas", source=idle.source, fix=fix)
    seconds = parse_duration(str(idle.value), source=idle.source)
    return replace(builder, scaling=replace(builder.scaling, idle=seconds))


def _add_network(builder: BuilderSettings, entries: Entries) -> BuilderSettings:
    wanted, runners = entries.get("network-policy"), entries.get("runner-selector")
    if wanted is not None:
        builder = replace(builder, network=NetworkIsolation() if wanted.value else None)
    if runners is not None:
        selector = checks.check_selector(runners.value, source=runners.source)
        if builder.network is None:
            raise InputError(
                "has no effect without network-policy=true", source=runners.source, fix="add network-policy=true"
            )
        builder = replace(builder, network=NetworkIsolation(runners=selector))
    return builder


def _add_pull_secrets(builder: BuilderSettings, entry: OptionValue) -> BuilderSettings:
    names = tuple(checks.check_object_name(name, source=entry.source) for name in entry.value)
    return replace(builder, pull_secrets=tuple(name for name in names if name != AUTO), pull_login=AUTO in names)
