"""Labels and annotations that are not the user's to set: builders are found and counted by them."""

from __future__ import annotations

from collections.abc import Iterable

from ci_buildx.errors import InputError

LABELS = (
    "kube-builder.dev/",
    "app.kubernetes.io/managed-by",
    # What selects the pods of a Deployment, as buildx has it.
    "app",
    # What the controllers of Kubernetes 1.34 write and look for.
    "batch.kubernetes.io/",
    "apps.kubernetes.io/",
    "statefulset.kubernetes.io/",
    "controller-uid",
    "job-name",
    "pod-template-hash",
    "controller-revision-hash",
)
"""Names, and the prefixes (with ``/``) of whole domains."""
ANNOTATIONS = (
    "kube-builder.dev/",
    "buildx.docker.com/platform",
    "batch.kubernetes.io/",
    "deployment.kubernetes.io/",
)


def check_labels(names: Iterable[str], *, source: str) -> None:
    """Raise InputError for the first label that is reserved."""
    _check(names, LABELS, "label", source)


def check_annotations(names: Iterable[str], *, source: str) -> None:
    """Raise InputError for the first annotation that is reserved."""
    _check(names, ANNOTATIONS, "annotation", source)


def _check(names: Iterable[str], reserved: tuple[str, ...], kind: str, source: str) -> None:
    for name in names:
        for one in reserved:
            if name == one or (one.endswith("/") and name.startswith(one)):
                raise InputError(f"{kind} {name!r} is reserved", source=source, fix="choose another name")
