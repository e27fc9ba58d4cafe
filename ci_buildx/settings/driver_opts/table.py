"""The table of driver options with their types."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from ci_buildx.model.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOption:
    """A parsed value; ``source`` begins errors about it: the place where it was set, and its name."""

    value: Any
    source: str


Entries = Mapping[str, DriverOption]
"""Options by name; later ones have replaced earlier ones."""


RESOURCES = ("cpu", "memory", "ephemeral-storage")
ENV = "env."
"""Prefix of options that set an environment variable of buildkitd."""


class OptionShape(Enum):
    """Syntax of an option's text; YAML uses the corresponding type."""

    TEXT = "text"
    COUNT = "a whole number"
    SWITCH = "true or false"
    LIST = "A,B"
    PAIRS = "K=V,…"
    TOLERATIONS = "key=K,value=V,operator=OP,effect=E;…"
    MIRRORS = "HOST=MIRROR;MIRROR,…"
    TEMPLATE = "a file or YAML"
    FILES = "FILE,…"

    @property
    def holds_commas(self) -> bool:
        """Whether the text may hold commas, so that the whole option must be quoted."""
        return self not in (OptionShape.TEXT, OptionShape.COUNT, OptionShape.SWITCH)


OF_BUILDX = {
    "image": OptionShape.TEXT,
    "namespace": OptionShape.TEXT,
    "default-load": OptionShape.SWITCH,
    "replicas": OptionShape.COUNT,
    **{f"requests.{resource}": OptionShape.TEXT for resource in RESOURCES},
    **{f"limits.{resource}": OptionShape.TEXT for resource in RESOURCES},
    "nodeselector": OptionShape.PAIRS,
    "annotations": OptionShape.PAIRS,
    "labels": OptionShape.PAIRS,
    "tolerations": OptionShape.TOLERATIONS,
    "serviceaccount": OptionShape.TEXT,
    "schedulername": OptionShape.TEXT,
    "timeout": OptionShape.TEXT,
    "rootless": OptionShape.SWITCH,
    "loadbalance": OptionShape.TEXT,
    "qemu.install": OptionShape.SWITCH,
    "qemu.image": OptionShape.TEXT,
    "persistent-volume-claim.requests.storage": OptionShape.TEXT,
    "buildkit-root-volume-memory": OptionShape.TEXT,
}
OF_OURS = {
    "pod-template": OptionShape.TEMPLATE,
    "image-pull-secrets": OptionShape.LIST,
    "storage-class": OptionShape.TEXT,
    "reclaim": OptionShape.TEXT,
    "user-namespaces": OptionShape.TEXT,
    "seccomp-profile": OptionShape.TEXT,
    "apparmor-profile": OptionShape.TEXT,
    "priority-class": OptionShape.TEXT,
    "dns-policy": OptionShape.TEXT,
    "grace-period": OptionShape.TEXT,
    "proxy": OptionShape.SWITCH,
    "registry-mirrors": OptionShape.MIRRORS,
    "insecure-registries": OptionShape.LIST,
    "ca-certificates": OptionShape.FILES,
    "network-policy": OptionShape.SWITCH,
    "runner-selector": OptionShape.PAIRS,
}
SHAPES = OF_BUILDX | OF_OURS

SPELLINGS = {
    # buildx's documentation has the singular in its table and the plural in its text; buildx accepts the plural.
    "annotation": "annotations",
    "label": "labels",
    "toleration": "tolerations",
}
"""Alternative names, by the option that they mean."""


def find_shape(name: str) -> OptionShape | None:
    """Return the syntax of an option, or None if the option is unknown."""
    return OptionShape.TEXT if name.startswith(ENV) and name != ENV else SHAPES.get(name)
