"""Default flags of a lasting node's buildkitd: it serves many builds, and its disk must not fill up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from ci_buildx.model.record import replace
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.syntax import parse_quantity

_SHARE = Decimal("0.8")
"""Share of the state's space that the cache may use; steps need some, too."""
_ENTITLEMENTS = ("--allow-insecure-entitlement", "insecure-entitlements")
_GC = ("--oci-worker-gc", "gc", "gckeepstorage", "gcpolicy", "reservedspace", "maxusedspace", "minfreespace")
"""Flag and worker keys of the GC (BuildKit 0.34.2, ``cmd/buildkitd/config/config.go``, keys are case-insensitive)."""


def add_defaults(settings: BuilderSettings) -> BuilderSettings:
    """Return a lasting node's settings with default flags of buildkitd, before the user's own.

    As in buildx 0.38.2 (``builder/builder.go``, ``parseBuildkitdFlags``), steps may request the pod's network unless
    entitlements are configured. If the state has a size limit, buildkitd prunes its cache before reaching it; otherwise
    its own rules keep it below its share of the cluster node's disk.
    """
    made = []
    said = set(_list_user_settings(settings))
    if said.isdisjoint(_ENTITLEMENTS):
        made.append("--allow-insecure-entitlement=network.host")
    # State on a volume or in memory uses none of the cluster node's disk.
    room = settings.storage.claimed or settings.storage.memory or dict(settings.limits).get("ephemeral-storage")
    if room and said.isdisjoint(_GC):
        most = max(1, int(parse_quantity(room, source="the state's limit") * _SHARE / 10**6))
        made.append(f"--oci-worker-gc-keepstorage={max(1, most // 8)},0,{most}")
    return replace(settings, buildkitd_flags=(*made, *settings.buildkitd_flags))


def _list_user_settings(settings: BuilderSettings) -> Iterator[str]:
    """Yield what the user has configured: names of flags, and lower-case keys of buildkitd.toml and its workers."""
    for flag in settings.buildkitd_flags:
        name = flag.partition("=")[0]
        yield "--oci-worker-gc" if name == "--oci-worker-gc-keepstorage" else name
    import tomllib

    config = tomllib.loads(settings.buildkitd_config)
    yield from _list_keys(config)
    workers = config.get("worker")
    for worker in workers.values() if isinstance(workers, dict) else ():
        yield from _list_keys(worker)


def _list_keys(table: Mapping[str, Any] | Any) -> Iterator[str]:
    return (key.lower() for key in table) if isinstance(table, Mapping) else iter(())
