"""Cluster nodes that are cordoned: their pods get no new builds, because a drain usually follows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ci_buildx.errors import Forbidden, KubeError
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import debug

FRESH = 10.0
"""Seconds for which an answer is used."""
_LOG = debug.get_log("builder")


class CordonedNodes:
    """The names of the cordoned cluster nodes, asked at most every :data:`FRESH` seconds. Thread-safe.

    Without the right to list cluster nodes, none is known.
    """

    def __init__(self, kube: KubeClient, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._monotonic = monotonic
        self._names: frozenset[str] = frozenset()
        self._until = 0.0
        self._may_list = True
        self._lock = threading.Lock()

    def list_names(self) -> frozenset[str]:
        """Return the names of the cordoned cluster nodes; the last known ones if they cannot be listed now."""
        with self._lock:
            if self._may_list and self._monotonic() >= self._until:
                self._names, self._until = self._ask(), self._monotonic() + FRESH
            return self._names

    def _ask(self) -> frozenset[str]:
        """List only the cordoned ones: of a large cluster's nodes these are few.

        Nodes can be selected by this field (kubernetes 1.34, ``pkg/registry/core/node/strategy.go``).
        """
        try:
            found = self._kube.list("/api/v1/nodes", fieldSelector="spec.unschedulable=true", resourceVersion="0")
        except Forbidden:
            self._may_list = False
            return frozenset()
        except KubeError as failure:
            _LOG.debug("cordoned nodes are unknown: %s", failure)
            return self._names
        return frozenset(
            node["metadata"]["name"] for node in found["items"] if (node.get("spec") or {}).get("unschedulable")
        )
