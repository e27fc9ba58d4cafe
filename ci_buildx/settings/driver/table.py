"""The driver options: their names, and how their text is read.

Names and meaning of the first are those of buildx 0.38.2 (``driver/kubernetes/factory.go``) and of Docker's page on
the kubernetes driver.
"""

from __future__ import annotations

from enum import Enum

RESOURCES = ("cpu", "memory", "ephemeral-storage")
ENV = "env."
"""What the name of an option begins with that sets a variable of buildkitd."""


class Shape(Enum):
    """What the text of an option is; in YAML it is written as such."""

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
        """Whether commas belong to the text, so that the whole option has to be quoted."""
        return self not in (Shape.TEXT, Shape.COUNT, Shape.SWITCH)


OF_BUILDX = {
    "image": Shape.TEXT,
    "namespace": Shape.TEXT,
    "default-load": Shape.SWITCH,
    "replicas": Shape.COUNT,
    **{f"requests.{resource}": Shape.TEXT for resource in RESOURCES},
    **{f"limits.{resource}": Shape.TEXT for resource in RESOURCES},
    "nodeselector": Shape.PAIRS,
    "annotations": Shape.PAIRS,
    "labels": Shape.PAIRS,
    "tolerations": Shape.TOLERATIONS,
    "serviceaccount": Shape.TEXT,
    "schedulername": Shape.TEXT,
    "timeout": Shape.TEXT,
    "rootless": Shape.SWITCH,
    "loadbalance": Shape.TEXT,
    "qemu.install": Shape.SWITCH,
    "qemu.image": Shape.TEXT,
    "persistent-volume-claim.requests.storage": Shape.TEXT,
    "buildkit-root-volume-memory": Shape.TEXT,
}
OF_OURS = {
    "pod-template": Shape.TEMPLATE,
    "image-pull-secrets": Shape.LIST,
    "storage-class": Shape.TEXT,
    "reclaim": Shape.TEXT,
    "user-namespaces": Shape.TEXT,
    "seccomp-profile": Shape.TEXT,
    "apparmor-profile": Shape.TEXT,
    "priority-class": Shape.TEXT,
    "grace-period": Shape.TEXT,
    "proxy": Shape.SWITCH,
    "registry-mirrors": Shape.MIRRORS,
    "insecure-registries": Shape.LIST,
    "ca-certificates": Shape.FILES,
    "network-policy": Shape.SWITCH,
    "runner-selector": Shape.PAIRS,
}
SHAPES = OF_BUILDX | OF_OURS

SPELLINGS = {
    # The page's table has the first, its text and buildx have the plural.
    "annotation": "annotations",
    "label": "labels",
    "toleration": "tolerations",
}
"""Other names that are taken, by the option that they mean."""


def shape_of(name: str) -> Shape | None:
    """The shape of an option, None where there is no such option."""
    return Shape.TEXT if name.startswith(ENV) and name != ENV else SHAPES.get(name)
