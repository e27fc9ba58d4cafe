"""Builders whose time is over."""

from __future__ import annotations

from ci_buildx.builder import labels
from ci_buildx.kube.client import KubeClient

PAST = "2020-01-01T00:00:00Z"


def expire(kube: KubeClient, path: str) -> None:
    kube.patch(path, {"metadata": {"annotations": {labels.EXPIRES: PAST}}})
