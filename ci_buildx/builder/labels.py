"""The labels and annotations by which a builder is known in the cluster: its only registry.

Label values follow k8s.io/apimachinery v0.34.2, ``util/validation/validation.go``: at most 63 of letters, digits,
``-``, ``_`` and ``.``, with a letter or digit at both ends.
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
DRIVER_OPTS = f"{DOMAIN}driver-opts"
BUILDKITD_FLAGS = f"{DOMAIN}buildkitd-flags"
REPLICAS = f"{DOMAIN}replicas"
RUNS = f"{DOMAIN}runs"
CREATOR = f"{DOMAIN}creator"
"""The user whose account made a namespace and may let itself in, where a policy wants to know that."""
NONCE = f"{DOMAIN}nonce"
"""A random text of the run that made an object: by it that run knows its own from what somebody else called so."""
CERTIFICATES_EXPIRE = f"{DOMAIN}certificates-expire"

ARCHITECTURE = "kubernetes.io/arch"
HOSTNAME = "kubernetes.io/hostname"

_LONGEST = 63
_REFUSED = compile_lazily(r"[^A-Za-z0-9_.-]+")


def sanitize(text: str) -> str:
    """The nearest label value: "" where nothing of ``text`` can be kept."""
    return _REFUSED.sub("-", text).strip("-_.")[:_LONGEST].rstrip("-_.")


def make_selector(builder: str) -> str:
    """The label selector that matches everything of one builder and nothing else."""
    return f"{MANAGED_BY}={MANAGER},{BUILDER}={builder}"


def belongs_to(manifest: Mapping[str, Any], builder: str) -> bool:
    """Whether an object is marked as part of ``builder``."""
    marks = manifest["metadata"].get("labels") or {}
    return marks.get(MANAGED_BY) == MANAGER and marks.get(BUILDER) == builder


def read_nonce(annotated: Mapping[str, Any]) -> str:
    """The text by which the run that made an object knows it again; "" if it bears none."""
    return str((annotated["metadata"].get("annotations") or {}).get(NONCE, ""))


def read_creator(namespace: Mapping[str, Any]) -> str:
    """The user who signed a namespace and lets itself in, see :mod:`ci_buildx.builder.rbac.self_binding`; "" if nobody
    had to.
    """
    return str((namespace["metadata"].get("annotations") or {}).get(CREATOR, ""))
