"""A node's platforms as buildx 0.38.2 shows them (``util/platformutil/parse.go``, ``commands/ls.go``)."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.model.platform import Platform

_FIRST = tuple(f"linux/{name}" for name in ("amd64", "arm64", "arm", "ppc64le", "s390x", "riscv64", "mips64"))
_SHOWN = 4
"""Architectures that have room in a table."""


def starred(named: Sequence[Platform], runs: Sequence[Platform]) -> list[str]:
    """Each platform once: first those that the user named, with a star, then what else the node runs."""
    marked = {str(one): f"{one}*" for one in named}
    return list({**marked, **{str(one): str(one) for one in runs if str(one) not in marked}}.values())


def shortened(names: Sequence[str]) -> str:
    """At most four architectures: one that has several variants with their number, then how many are left out."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_architecture(name), []).append(name)
    order = sorted(groups, key=lambda one: (_FIRST.index(one), "") if one in _FIRST else (len(_FIRST), one))
    shown = order[:_SHOWN]
    parts = [_group(architecture, groups[architecture]) for architecture in shown]
    left = len(names) - sum(len(groups[architecture]) for architecture in shown)
    return ", ".join([*parts, f"({left} more)"] if left else parts)


def _architecture(name: str) -> str:
    return "/".join(name.removesuffix("*").split("/")[:2])


def _group(architecture: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    star = "*" if any(name.endswith("*") for name in names) else ""
    return f"{architecture}{star} (+{len(names)})"
