"""The platforms to build for.

Names are those of containerd/platforms v1.0.0-rc.5 (``database.go``), which takes them from Go's own list. Unknown
names are rejected here; buildx would report them only after the builder is up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.platform import Platform, parse_platform
from ci_buildx.settings.names import suggest_name

LOCAL = "local"

SYSTEMS = (
    "linux",
    "windows",
    "darwin",
    "freebsd",
    "netbsd",
    "openbsd",
    "dragonfly",
    "solaris",
    "illumos",
    "aix",
    "android",
    "ios",
    "js",
    "plan9",
    "zos",
    "wasi",
    "wasip1",
)
ARCHITECTURES = (
    "amd64",
    "arm64",
    "arm",
    "386",
    "ppc64le",
    "s390x",
    "riscv64",
    "loong64",
    "mips64le",
    "mips64",
    "mips",
    "mipsle",
    "ppc64",
    "ppc",
    "riscv",
    "s390",
    "sparc",
    "sparc64",
    "armbe",
    "arm64be",
    "wasm",
)
_VARIANTS = {
    "amd64": ("v2", "v3", "v4"),
    "arm": ("v5", "v6", "v7", "v8"),
    "arm64": ("v8", "v9"),
}
_WORD = compile_lazily(r"[a-z0-9_.-]+")


def parse_platforms(texts: Iterable[str], *, source: str, machine: str = "") -> tuple[Platform, ...]:
    """Parse platforms, each text one or a comma-separated list, in order and without duplicates.

    ``local`` is Linux on the architecture of this machine; ``machine`` overrides that architecture, which otherwise
    comes from ``uname``. Raises InputError.
    """
    platforms: dict[Platform, None] = {}
    for text in texts:
        for item in text.split(","):
            name = item.strip()
            if name.lower() == LOCAL:
                name = machine or os.uname().machine
            platforms[read_platform(name, source=source)] = None
    return tuple(platforms)


def read_platform(text: str, *, source: str) -> Platform:
    """Parse one platform. Raises InputError for an unknown operating system, architecture or variant."""
    try:
        platform = parse_platform(text)
    except ValueError as error:
        raise InputError(str(error), source=source, fix="write os/architecture, such as linux/amd64") from error
    if platform.architecture in SYSTEMS:
        raise InputError(
            f"platform {text!r} has no architecture",
            source=source,
            fix=f"write it like {platform.architecture}/amd64",
        )
    if platform.os not in SYSTEMS:
        raise InputError(
            f"unknown operating system {platform.os!r} in platform {text!r}",
            source=source,
            fix=suggest_name(platform.os, SYSTEMS),
        )
    if platform.architecture not in ARCHITECTURES:
        raise InputError(
            f"unknown architecture {platform.architecture!r} in platform {text!r}",
            source=source,
            fix=suggest_name(platform.architecture, ARCHITECTURES),
        )
    _check_variant(platform, text, source)
    return platform


def _check_variant(platform: Platform, text: str, source: str) -> None:
    known = _VARIANTS.get(platform.architecture, ())
    if not platform.variant or platform.variant.partition(".")[0] in known:
        return
    if known or not _WORD.fullmatch(platform.variant):
        raise InputError(
            f"unknown variant {platform.variant!r} in platform {text!r}",
            source=source,
            fix=suggest_name(platform.variant, known) if known else "",
        )
