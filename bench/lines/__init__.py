"""The benchmarks, one module per line; each yields comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.arena import Arena
from bench.lines import action, bake, before, boot, cached, cluster, cold, memory, native, upload, whole
from bench.series import Comparison

Line = Callable[[Arena], Iterator[Comparison]]

LINES: dict[str, Line] = {
    "whole": whole.compare,
    "boot": boot.compare,
    "cached": cached.compare,
    "upload": upload.compare,
    "memory": memory.compare,
    "native": native.compare,
    "bake": bake.compare,
    "action": action.compare,
    "cold": cold.compare,
    "before": before.compare,
    "cluster": cluster.compare,
}
