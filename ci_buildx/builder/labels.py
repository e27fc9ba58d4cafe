"""Labels and annotations that identify a builder in the cluster: the only record of it.

Label values follow k8s.io/apimachinery v0.34.2, ``util/validation/validation.go``: at most 63 letters, digits, ``-``,
``_`` and ``.``, with a letter or digit at both ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci_buildx.model.lazy import compile_lazily

DOMAIN = "kube-builder.dev/"

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "kube-builder"
BUILDER = f"{DOMAIN}builder"
NODE = f"{DOMAIN}node"
LIFETIME = f"{DOMAIN}lifetime"
CI_SYSTEM = f"{DOMAIN}ci"
REPOSITORY_HASH = f"{DOMAIN}repository-hash"
RUN = f"{DOMAIN}run"
JOB = f"{DOMAIN}job"

REPOSITORY = f"{DOMAIN}repository"
RUN_URL = f"{DOMAIN}run-url"
TRUST = f"{DOMAIN}trust-scope"
EXPIRES = f"{DOMAIN}expires"
PLATFORMS = f"{DOMAIN}platforms"
EMULATED = f"{DOMAIN}emulated"
REASON = f"{DOMAIN}reason"
TRANSPORT = f"{DOMAIN}transport"
LOADBALANCE = f"{DOMAIN}loadbalance"
RECLAIM = f"{DOMAIN}reclaim"
TIMEOUT = f"{DOMAIN}timeout"
DEFAULT_LOAD = f"{DOMAIN}default-load"
MAX_BUILDS = f"{DOMAIN}max-builds"
REPLICA_RANGE = f"{DOMAIN}replica-range"
IDLE_TIMEOUT = f"{DOMAIN}idle-timeout"
POOL = f"{DOMAIN}pool"
"""Label of the Leases by which builds share a lasting builder's pods: ``slot`` or ``ticket``."""
TICKET = f"{DOMAIN}ticket"
"""Annotation of a waiting build's Lease with its place in the order of creation."""
KEY = f"{DOMAIN}sticky-key"
DRIVER_OPTS = f"{DOMAIN}driver-opts"
BUILDKITD_FLAGS = f"{DOMAIN}buildkitd-flags"
REPLICAS = f"{DOMAIN}replicas"
RUNS = f"{DOMAIN}runs"
CREATOR = f"{DOMAIN}creator"
"""User whose account created a namespace and may bind its role there; set only if a policy requires it."""
NONCE = f"{DOMAIN}nonce"
"""Random text of the run that created an object: tells its own objects from others with the same name."""
CERTIFICATES_EXPIRE = f"{DOMAIN}certificates-expire"

ARCHITECTURE = "kubernetes.io/arch"
HOSTNAME = "kubernetes.io/hostname"

_LONGEST = 63
_REFUSED = compile_lazily(r"[^A-Za-z0-9_.-]+")


def sanitize(text: str) -> str:
    """Return the nearest label value, "" if no character of ``text`` is valid."""
    return _REFUSED.sub("-", text).strip("-_.")[:_LONGEST].rstrip("-_.")


def make_selector(builder: str) -> str:
    """Return the label selector that matches everything of one builder and nothing else."""
    return f"{MANAGED_BY}={MANAGER},{BUILDER}={builder}"


def belongs_to(manifest: Mapping[str, Any], builder: str) -> bool:
    """Return whether an object is labelled as part of ``builder``."""
    marks = manifest["metadata"].get("labels") or {}
    return marks.get(MANAGED_BY) == MANAGER and marks.get(BUILDER) == builder


def read_nonce(annotated: Mapping[str, Any]) -> str:
    """Return the nonce of the run that created an object, "" if it has none."""
    return str((annotated["metadata"].get("annotations") or {}).get(NONCE, ""))


def read_creator(namespace: Mapping[str, Any]) -> str:
    """Return the user who signed a namespace and binds its role there, "" if no signature was required.

    See :mod:`ci_buildx.builder.rbac.admission_policies`.
    """
    return str((namespace["metadata"].get("annotations") or {}).get(CREATOR, ""))
