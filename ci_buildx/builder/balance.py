"""Which of several equal pods builds: by rendezvous (highest random weight) hashing, or at random.

Each pod's weight is a hash of the key and the pod's name; the heaviest wins. A key stays with its pod for as long as
that pod is there, a new pod takes its fair share from all others, and no state is needed to agree on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from ci_buildx.builder.pods import PodView, compute_age

_JOINING = 15.0
"""Seconds for which a new pod is waited for, so that builds which begin together choose among the same pods."""


def choose(key: str, pods: Iterable[str]) -> str:
    """The name among ``pods`` on which ``key`` builds. ValueError if there is none.

    ``key`` should be what builds with a common cache share (a repository's path), not what differs between them
    (a commit).
    """
    return max(pods, key=lambda pod: (_compute_weight(key, pod), pod))


def select_electable(pods: Sequence[PodView], now: float) -> tuple[PodView, ...]:
    """Those of a lasting builder's ``pods`` to choose from, by name; none while it is worth waiting for more.

    They are ready and stay; only a pod that is alone need not be ready yet, since nothing is there to choose. Pods
    that are younger than a few seconds are waited for. ``now`` is the cluster's clock in epoch seconds.
    """
    staying = [pod for pod in pods if not pod.terminating]
    if len(staying) == 1:
        return tuple(pod for pod in staying if pod.host)
    ready = sorted((pod for pod in staying if pod.ready), key=lambda pod: pod.name)
    joining = any(not pod.ready and compute_age(pod.created, now) < _JOINING for pod in staying)
    return () if joining else tuple(ready)


def explain(chosen: PodView, pods: Sequence[PodView], why: str) -> str:
    """One line on a choice: who, out of how many, why, and who was left out."""
    ready = sum(pod.ready and not pod.terminating for pod in pods)
    out = [
        f"{pod.name} {'is going' if pod.terminating else 'is not ready'}"
        for pod in sorted(pods, key=lambda pod: pod.name)
        if pod.terminating or not pod.ready
    ]
    left = f"; left out: {', '.join(out)}" if out else ""
    return f"pod {chosen.name}, one of {ready} ready, is chosen {why}{left}"


def _compute_weight(key: str, pod: str) -> bytes:
    # A git context may hold bytes that are no text.
    return hashlib.blake2b(f"{len(key)}:{key}{pod}".encode(errors="surrogateescape"), digest_size=16).digest()
