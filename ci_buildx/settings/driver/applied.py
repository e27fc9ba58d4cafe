"""From the options to a builder's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from ci_buildx.errors import InputError
from ci_buildx.model.record import replace
from ci_buildx.settings.builder import (
    IMAGE,
    ROOTLESS_IMAGE,
    BuilderSettings,
    LoadBalance,
    NetworkFence,
    Pairs,
    Reclaim,
    UserNamespaces,
)
from ci_buildx.settings.driver import checks
from ci_buildx.settings.driver.entry import Entries, Entry
from ci_buildx.settings.driver.outside import Outside
from ci_buildx.settings.driver.table import ENV, RESOURCES
from ci_buildx.settings.durations import parse_duration
from ci_buildx.settings.names import check_namespace
from ci_buildx.settings.nearest import suggest

Choice = TypeVar("Choice", bound=StrEnum)
Check = Callable[..., Any]

AUTO = "auto"
"""The image pull secret that is made from the registry's login."""


def _choice(kind: type[Choice]) -> Callable[..., Choice]:
    def check(text: str, *, source: str) -> Choice:
        if text not in list(kind):
            raise InputError(f"unknown value {text!r}", source=source, fix=suggest(text, list(kind)))
        return kind(text)

    return check


def _as_is(value: Any, *, source: str) -> Any:  # noqa: ARG001 - a check like the others
    return value


_FIELDS: dict[str, tuple[str, Check]] = {
    "namespace": ("namespace", check_namespace),
    "image": ("image", checks.check_image),
    "replicas": ("replicas", checks.check_replicas),
    "loadbalance": ("loadbalance", _choice(LoadBalance)),
    "default-load": ("default_load", _as_is),
    "nodeselector": ("nodeselector", checks.check_selector),
    "tolerations": ("tolerations", checks.check_tolerations),
    "annotations": ("annotations", checks.check_annotations),
    "labels": ("labels", checks.check_labels),
    "serviceaccount": ("serviceaccount", checks.check_object_name),
    "schedulername": ("schedulername", checks.check_object_name),
    "priority-class": ("priority_class", checks.check_object_name),
    "rootless": ("rootless", _as_is),
    "user-namespaces": ("user_namespaces", _choice(UserNamespaces)),
    "timeout": ("timeout", parse_duration),
    "grace-period": ("grace_period", checks.check_seconds),
}
"""Options that become a field by themselves."""

_STORAGE: dict[str, tuple[str, Check]] = {
    "buildkit-root-volume-memory": ("memory", checks.check_storage),
    "persistent-volume-claim.requests.storage": ("claimed", checks.check_storage),
    "storage-class": ("storage_class", checks.check_object_name),
    "reclaim": ("reclaim", _choice(Reclaim)),
}
_CONFINEMENT: dict[str, tuple[str, Check]] = {
    "seccomp-profile": ("seccomp", checks.check_profile),
    "apparmor-profile": ("apparmor", checks.check_profile),
}
_QEMU: dict[str, tuple[str, Check]] = {
    "qemu.install": ("install", _as_is),
    "qemu.image": ("image", checks.check_image),
}


def apply(entries: Entries, base: BuilderSettings, outside: Outside, *, source: str) -> BuilderSettings:
    """The settings with the options applied to ``base``. Raises InputError."""
    builder = replace(
        base,
        **_checked(entries, _FIELDS),
        storage=replace(base.storage, **_checked(entries, _STORAGE)),
        confinement=replace(base.confinement, **_checked(entries, _CONFINEMENT)),
        qemu=replace(base.qemu, **_checked(entries, _QEMU)),
        env=_env(entries, base),
    )
    if builder.rootless and builder.image == IMAGE and "image" not in entries:
        builder = replace(builder, image=ROOTLESS_IMAGE)
    builder = _with_resources(builder, entries, source)
    builder = _with_network(builder, entries)
    return _with_outside(builder, entries, outside)


def _checked(entries: Entries, fields: Mapping[str, tuple[str, Check]]) -> dict[str, Any]:
    found = ((field, check, entries[name]) for name, (field, check) in fields.items() if name in entries)
    return {field: check(entry.value, source=entry.source) for field, check, entry in found}


def _env(entries: Entries, base: BuilderSettings) -> Pairs:
    given = {
        checks.check_variable(name.removeprefix(ENV), source=entry.source): str(entry.value)
        for name, entry in entries.items()
        if name.startswith(ENV)
    }
    return tuple((dict(base.env) | given).items())


def _with_resources(builder: BuilderSettings, entries: Entries, source: str) -> BuilderSettings:
    amounts = {}
    for kind, before in (("requests", builder.requests), ("limits", builder.limits)):
        given = {
            name: checks.check_amount(str(entry.value), name, source=entry.source)
            for name in RESOURCES
            if (entry := entries.get(f"{kind}.{name}"))
        }
        texts = dict(before) | given
        amounts[kind] = tuple((name, texts[name]) for name in RESOURCES if name in texts)
    if (amounts["requests"], amounts["limits"]) != (builder.requests, builder.limits):
        checks.check_resources(amounts["requests"], amounts["limits"], source=source)
    return replace(builder, requests=amounts["requests"], limits=amounts["limits"])


def _with_network(builder: BuilderSettings, entries: Entries) -> BuilderSettings:
    wanted, runners = entries.get("network-policy"), entries.get("runner-selector")
    if wanted is not None:
        builder = replace(builder, network=NetworkFence() if wanted.value else None)
    if runners is not None:
        selector = checks.check_selector(runners.value, source=runners.source)
        if builder.network is None:
            raise InputError("has no effect without network-policy=true", source=runners.source, fix="add it")
        builder = replace(builder, network=NetworkFence(runners=selector))
    return builder


def _with_outside(builder: BuilderSettings, entries: Entries, outside: Outside) -> BuilderSettings:
    """With what takes files, variables or lists of names."""
    registries = builder.registries
    if mirrors := entries.get("registry-mirrors"):
        registries = replace(registries, mirrors=checks.check_mirrors(mirrors.value, source=mirrors.source))
    if hosts := entries.get("insecure-registries"):
        registries = replace(registries, insecure=checks.check_hosts(hosts.value, source=hosts.source))
    if files := entries.get("ca-certificates"):
        registries = replace(registries, certificates=outside.certificates(files.value, source=files.source))
    if names := entries.get("image-pull-secrets"):
        builder = _with_pull_secrets(builder, names)
    if proxy := entries.get("proxy"):
        builder = replace(builder, proxy=outside.proxy(source=proxy.source) if proxy.value else None)
    if template := entries.get("pod-template"):
        builder = replace(builder, pod_template=outside.template(template.value, source=template.source))
    return replace(builder, registries=registries)


def _with_pull_secrets(builder: BuilderSettings, entry: Entry) -> BuilderSettings:
    names = tuple(checks.check_object_name(name, source=entry.source) for name in entry.value)
    return replace(builder, pull_secrets=tuple(name for name in names if name != AUTO), pull_login=AUTO in names)
