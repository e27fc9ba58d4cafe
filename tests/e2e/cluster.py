"""What a test sees of its own builders on a cluster that other tests use at the same time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.kube.client import KubeClient

OURS = f"{labels.MANAGED_BY}={labels.MANAGER}"


@dataclass(frozen=True)
class Builders:
    """The builders of one repository: locally that is the name of the context's folder."""

    kube: KubeClient
    repository: str

    def namespaces(self) -> list[dict[str, Any]]:
        """All that the API server still knows, those that are being deleted included."""
        found = self.kube.list("/api/v1/namespaces", labelSelector=OURS)["items"]
        return [
            item for item in found if item["metadata"].get("annotations", {}).get(labels.REPOSITORY) == self.repository
        ]

    def left(self) -> list[str]:
        """The names of those whose deletion nobody asked for."""
        return [item["metadata"]["name"] for item in self.namespaces() if not item["metadata"].get("deletionTimestamp")]

    def pods(self) -> list[dict[str, Any]]:
        """The pods in them, also those that are ending."""
        names = [item["metadata"]["name"] for item in self.namespaces()]
        return [pod for name in names for pod in self.kube.list(f"/api/v1/namespaces/{name}/pods")["items"]]

    def wait_for_pods_to_go(self, seconds: float) -> list[str]:
        """The names of pods that are still there after ``seconds``; looks until none is."""
        deadline = time.monotonic() + seconds
        while (names := [pod["metadata"]["name"] for pod in self.pods()]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return names

    def wait_for_pods_to_end(self, seconds: float) -> list[str]:
        """The names of pods that still run after ``seconds``; looks until none does."""
        deadline = time.monotonic() + seconds
        while True:
            pods = self.pods()
            names = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") in ("Pending", "Running")]
            if not names or time.monotonic() >= deadline:
                return names
            time.sleep(0.2)
