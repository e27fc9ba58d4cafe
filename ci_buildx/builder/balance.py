"""Choice of the pod that runs a build, among equal pods: by rendezvous (highest random weight) hashing or at random.

Each pod's weight is a hash of the key and the pod's name; the heaviest pod wins. A key stays on its pod as long as that
pod exists, a new pod takes its fair share from all others, and clients need no shared state to agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from ci_buildx.builder.pods import PodView, compute_age

_JOINING = 15.0
"""Age in seconds up to which a pod that is not ready is waited for, so that concurrent builds see the same pods."""


def choose(key: str, pods: Iterable[str]) -> str:
    """Return the name among ``pods`` on which ``key`` builds.

    Use as ``key`` what builds with a common cache share (a repository's path), not what differs between them (a
    commit). Raises ValueError if ``pods`` is empty.
    """
    return max(pods, key=lambda pod: (_compute_weight(key, pod), pod))


def select_electable(pods: Sequence[PodView], now: float) -> tuple[PodView, ...]:
    """Return a lasting builder's pods to choose from, sorted by name; empty while more pods are worth waiting for.

    The result holds ready pods that are not terminating. A single remaining pod only has to be scheduled, because there
    is no choice to make. Pods that are not ready and only a few seconds old are waited for. ``now`` is the cluster's
    clock in epoch seconds.
    """
    staying = [pod for pod in pods if not pod.terminating]
    if len(staying) == 1:
        return tuple(pod for pod in staying if pod.host)
    ready = sorted((pod for pod in staying if pod.ready), key=lambda pod: pod.name)
    joining = any(not pod.ready and compute_age(pod.created, now) < _JOINING for pod in staying)
    return () if joining else tuple(ready)


def explain(chosen: PodView, pods: Sequence[PodView], why: str) -> str:
    """Return one log line about a choice: the chosen pod, the number of ready pods, the reason, the pods left out."""
    ready = sum(pod.ready and not pod.terminating for pod in pods)
    out = [
        f"{pod.name} {'is going' if pod.terminating else 'is not ready'}"
        for pod in sorted(pods, key=lambda pod: pod.name)
        if pod.terminating or not pod.ready
    ]
    left = f"; left out: {', '.join(out)}" if out else ""
    return f"pod {chosen.name}, one of {ready} ready, is chosen {why}{left}"


def _compute_weight(key: str, pod: str) -> bytes:
    # A git context may contain bytes that are not valid text.
    return hashlib.blake2b(f"{len(key)}:{key}{pod}".encode(errors="surrogateescape"), digest_size=16).digest()
