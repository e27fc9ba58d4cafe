"""Reads the Jobs of a job's builder."""

from __future__ import annotations

from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.pods import Object
from ci_buildx.errors import NotFound
from ci_buildx.kube.client import KubeClient

_DELETED = {"type": "Failed", "status": "True", "reason": "Deleted", "message": "the Job was deleted"}


def read_job(kube: KubeClient, location: BuilderLocation, node: str) -> Object:
    """Return the Job of a builder's node; a deleted one, which starts no pod, as failed. Raises KubeError."""
    try:
        return kube.get(f"{location.jobs_path}/{location.make_object_name(node)}")
    except NotFound:
        return {"status": {"conditions": [_DELETED]}}
