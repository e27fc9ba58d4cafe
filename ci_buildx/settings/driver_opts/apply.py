"""Applies driver options to builder settings, and rejects options that contradict each other."""

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
    Confinement,
    LoadBalance,
    NetworkIsolation,
    Pairs,
    Reclaim,
    UserNamespaces,
)
from ci_buildx.settings.driver_opts import checks
from ci_buildx.settings.driver_opts.outside import ExternalInputs
from ci_buildx.settings.driver_opts.table import ENV, RESOURCES, DriverOption, Entries
from ci_buildx.settings.names import check_namespace, suggest_name
from ci_buildx.settings.syntax import parse_duration


def check_combinations(builder: BuilderSettings, *, source: str) -> None:
    """Raise InputError for options that exclude each other."""
    storage = builder.storage
    if storage.memory and storage.claimed:
        raise InputError(
            "buildkit-root-volume-memory and persistent-volume-claim.requests.storage are both given",
            source=source,
            fix="the state is in one of them: leave the other out",
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
            "rootless=true and user-namespaces=true are both given",
            source=source,
            fix="either alone keeps root of the node away: rootlesskit needs IDs that a user namespace has not",
        )
    if builder.qemu.install and builder.user_namespaces is UserNamespaces.TRUE:
        raise InputError(
            "qemu.install=true and user-namespaces=true are both given",
            source=source,
            fix="emulators are registered with the node's kernel, which needs root there",
        )
    if builder.confinement != Confinement() and not builder.rootless:
        raise InputError(
            "seccomp-profile and apparmor-profile have no effect without rootless=true",
            source=source,
            fix="Kubernetes confines no privileged container",
        )


Choice = TypeVar("Choice", bound=StrEnum)
Check = Callable[..., Any]

AUTO = "auto"
"""Image pull secret that is created from the registry's login."""


def _check_choice(kind: type[Choice]) -> Callable[..., Choice]:
    def check(text: str, *, source: str) -> Choice:
        if text not in list(kind):
            raise InputError(f"unknown value {text!r}", source=source, fix=suggest_name(text, list(kind)))
        return kind(text)

    return check


def _keep_value(value: Any, *, source: str) -> Any:  # noqa: ARG001 - a check like the others
    return value


_FIELDS: dict[str, tuple[str, Check]] = {
    "namespace": ("namespace", check_namespace),
    "image": ("image", checks.check_image),
    "replicas": ("replicas", checks.check_replicas),
    "loadbalance": ("loadbalance", _check_choice(LoadBalance)),
    "default-load": ("default_load", _keep_value),
    "nodeselector": ("nodeselector", checks.check_selector),
    "tolerations": ("tolerations", checks.check_tolerations),
    "annotations": ("annotations", checks.check_annotations),
    "labels": ("labels", checks.check_labels),
    "serviceaccount": ("serviceaccount", checks.check_object_name),
    "schedulername": ("schedulername", checks.check_object_name),
    "priority-class": ("priority_class", checks.check_object_name),
    "dns-policy": ("dns_policy", checks.check_dns_policy),
    "rootless": ("rootless", _keep_value),
    "user-namespaces": ("user_namespaces", _check_choice(UserNamespaces)),
    "timeout": ("timeout", parse_duration),
    "grace-period": ("grace_period", checks.check_seconds),
}
"""Options that set one field each: field and check."""

_STORAGE: dict[str, tuple[str, Check]] = {
    "buildkit-root-volume-memory": ("memory", checks.check_storage),
    "persistent-volume-claim.requests.storage": ("claimed", checks.check_storage),
    "storage-class": ("storage_class", checks.check_object_name),
    "reclaim": ("reclaim", _check_choice(Reclaim)),
}
_CONFINEMENT: dict[str, tuple[str, Check]] = {
    "seccomp-profile": ("seccomp", checks.check_profile),
    "apparmor-profile": ("apparmor", checks.check_profile),
}
_QEMU: dict[str, tuple[str, Check]] = {
    "qemu.install": ("install", _keep_value),
    "qemu.image": ("image", checks.check_image),
}


def apply_options(entries: Entries, base: BuilderSettings, outside: ExternalInputs, *, source: str) -> BuilderSettings:
    """Return the settings with the options applied to ``base``. Raises InputError."""
    builder = replace(
        base,
        **_check_value(entries, _FIELDS),
        storage=replace(base.storage, **_check_value(entries, _STORAGE)),
        confinement=replace(base.confinement, **_check_value(entries, _CONFINEMENT)),
        qemu=replace(base.qemu, **_check_value(entries, _QEMU)),
        env=_check_env(entries, base),
    )
    if builder.rootless and builder.image == IMAGE and "image" not in entries:
        builder = replace(builder, image=ROOTLESS_IMAGE)
    builder = _add_resources(builder, entries, source)
    builder = _add_network(builder, entries)
    return _add_outside(builder, entries, outside)


def _check_value(entries: Entries, fields: Mapping[str, tuple[str, Check]]) -> dict[str, Any]:
    found = ((field, check, entries[name]) for name, (field, check) in fields.items() if name in entries)
    return {field: check(entry.value, source=entry.source) for field, check, entry in found}


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
            for name in RESOURCES
            if (entry := entries.get(f"{kind}.{name}"))
        }
        texts = dict(before) | given
        amounts[kind] = tuple((name, texts[name]) for name in RESOURCES if name in texts)
    if (amounts["requests"], amounts["limits"]) != (builder.requests, builder.limits):
        checks.check_resources(amounts["requests"], amounts["limits"], source=source)
    return replace(builder, requests=amounts["requests"], limits=amounts["limits"])


def _add_network(builder: BuilderSettings, entries: Entries) -> BuilderSettings:
    wanted, runners = entries.get("network-policy"), entries.get("runner-selector")
    if wanted is not None:
        builder = replace(builder, network=NetworkIsolation() if wanted.value else None)
    if runners is not None:
        selector = checks.check_selector(runners.value, source=runners.source)
        if builder.network is None:
            raise InputError("has no effect without network-policy=true", source=runners.source, fix="add it")
        builder = replace(builder, network=NetworkIsolation(runners=selector))
    return builder


def _add_outside(builder: BuilderSettings, entries: Entries, outside: ExternalInputs) -> BuilderSettings:
    """Apply the options that need files, variables or lists of names."""
    registries = builder.registries
    if mirrors := entries.get("registry-mirrors"):
        registries = replace(registries, mirrors=checks.check_mirrors(mirrors.value, source=mirrors.source))
    if hosts := entries.get("insecure-registries"):
        registries = replace(registries, insecure=checks.check_hosts(hosts.value, source=hosts.source))
    if files := entries.get("ca-certificates"):
        registries = replace(registries, certificates=outside.read_certificates(files.value, source=files.source))
    if names := entries.get("image-pull-secrets"):
        builder = _add_pull_secrets(builder, names)
    if proxy := entries.get("proxy"):
        builder = replace(builder, proxy=outside.read_proxy(source=proxy.source) if proxy.value else None)
    if template := entries.get("pod-template"):
        builder = replace(builder, pod_template=outside.read_template(template.value, source=template.source))
    return replace(builder, registries=registries)


def _add_pull_secrets(builder: BuilderSettings, entry: DriverOption) -> BuilderSettings:
    names = tuple(checks.check_object_name(name, source=entry.source) for name in entry.value)
    return replace(builder, pull_secrets=tuple(name for name in names if name != AUTO), pull_login=AUTO in names)
