"""Platforms of images, written ``os[(version)]/architecture[/variant]``.

Normalisation follows containerd's ``platforms`` package (v1.0.0-rc.1, ``database.go``): ``x86_64`` and ``amd64/v1``
become ``amd64``, ``aarch64`` and ``arm64/v8`` become ``arm64``, ``arm`` without a variant becomes ``arm/v7``.
"""

from __future__ import annotations

from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armhf": "arm/v7",
    "armel": "arm/v6",
}

NATIVE_ARCHITECTURE = {"386": "amd64", "arm": "arm64"}
"""Architectures that run without emulation on cluster nodes of another architecture."""


_SYSTEM = compile_lazily(r"(?P<name>[^()]*)(?:\((?P<version>[A-Za-z0-9_.-]+)\))?")
"""Source: containerd/platforms v1.0.0-rc.5, ``osRe``."""


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """One normalised platform: ``Platform("linux", "arm", "v7")``. ``variant`` and ``os_version`` may be empty."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        system = f"{self.os}({self.os_version})" if self.os_version else self.os
        parts = (system, self.architecture, self.variant)
        return "/".join(part for part in parts if part)

    @property
    def node_architecture(self) -> str:
        """The ``kubernetes.io/arch`` label of the cluster nodes that run this platform natively."""
        return NATIVE_ARCHITECTURE.get(self.architecture, self.architecture)


def parse_platform(text: str) -> Platform:
    """Parse ``os[(version)]/arch[/variant]`` or ``arch`` alone (then Linux).

    Raises ValueError with a reason that names no input: the caller knows where the text came from.
    """
    parts = [part.strip().lower() for part in text.split("/")]
    if not all(parts) or len(parts) > 3:
        raise ValueError(f"malformed platform {text!r}")
    if len(parts) == 1:
        parts = ["linux", *parts]
    system, architecture, variant = (*parts, "")[:3]
    version = ""
    if "(" in text or ")" in text:
        found = _SYSTEM.fullmatch(system)
        if not found or any(mark in "".join(parts[1:]) for mark in "()"):
            raise ValueError(f"malformed platform {text!r}")
        system, version = found["name"], found["version"] or ""
    architecture, _, implied = _ARCHITECTURES.get(architecture, architecture).partition("/")
    variant = variant or implied
    if architecture == "arm" and not variant:
        variant = "v7"
    if architecture == "arm" and variant.isdigit():
        variant = f"v{variant}"
    if (architecture, variant) in (("arm64", "v8"), ("arm64", "8"), ("amd64", "v1")):
        variant = ""
    return Platform(system, architecture, variant, version)
