"""The API server's clock, and the end of a builder by it."""

from __future__ import annotations

import calendar
import time

from ci_buildx.builder import labels
from ci_buildx.kube.client import KubeClient


def expire_in(kube: KubeClient, name: str, seconds: float) -> None:
    """Move a builder's end, by the API server's clock."""
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now(kube) + seconds))
    kube.patch(f"/api/v1/namespaces/{name}", {"metadata": {"annotations": {labels.EXPIRES: text}}})


def now(kube: KubeClient) -> float:
    """The API server's clock."""
    kube.get("/version")
    assert kube.server_time is not None
    return kube.server_time


def epoch(text: str) -> float:
    """Seconds of a time of the API's."""
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
