"""Changing an object that others change, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ci_buildx.errors import Conflict
from ci_buildx.kube.client import KubeClient

_TRIES = 5


def amend(kube: KubeClient, path: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> dict[str, Any]:
    """Merge into an object what ``change`` makes of it, None for nothing; the object then.

    It is read and changed anew where somebody else was faster, whose change would be lost: the API server compares
    resourceVersion (Kubernetes API conventions, "Concurrency Control and Consistency"). Raises KubeError.
    """
    for left in reversed(range(_TRIES)):
        found = kube.get(path)
        changes = change(found)
        if changes is None:
            return found
        version = {"resourceVersion": found["metadata"]["resourceVersion"]}
        try:
            return kube.patch(path, {**changes, "metadata": {**changes.get("metadata", {}), **version}})
        except Conflict:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")
