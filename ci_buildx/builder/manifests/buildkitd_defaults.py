"""What a lasting node's buildkitd is told besides: it serves many builds, and its disk must not fill up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from ci_buildx.model.record import replace
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.syntax import parse_quantity

_SHARE = Decimal("0.8")
"""Of the room for the state, what the cache may take: steps need some, too."""
_ENTITLEMENTS = ("--allow-insecure-entitlement", "insecure-entitlements")
_GC = ("--oci-worker-gc", "gc", "gckeepstorage", "gcpolicy", "reservedspace", "maxusedspace", "minfreespace")
"""The flag and the keys of a worker (BuildKit 0.34.2, ``cmd/buildkitd/config/config.go``, in any case of letters)."""


def add_defaults(settings: BuilderSettings) -> BuilderSettings:
    """The settings of a lasting node with what follows from them: flags of buildkitd, before the user's own.

    As buildx 0.38.2 does (``builder/builder.go``, ``parseBuildkitdFlags``), steps may ask for the pod's network unless
    entitlements are named. Where the state has a limit, buildkitd clears its cache before it is reached; else its own
    rules keep it below its share of the node's disk.
    """
    made = []
    said = set(_list_user_settings(settings))
    if said.isdisjoint(_ENTITLEMENTS):
        made.append("--allow-insecure-entitlement=network.host")
    # What is on a volume or in memory takes nothing of the node's disk.
    room = settings.storage.claimed or settings.storage.memory or dict(settings.limits).get("ephemeral-storage")
    if room and said.isdisjoint(_GC):
        most = max(1, int(parse_quantity(room, source="the state's limit") * _SHARE / 10**6))
        made.append(f"--oci-worker-gc-keepstorage={max(1, most // 8)},0,{most}")
    return replace(settings, buildkitd_flags=(*made, *settings.buildkitd_flags))


def _list_user_settings(settings: BuilderSettings) -> Iterator[str]:
    """What the user has decided: names of flags, and keys of buildkitd.toml and its workers in small letters."""
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
