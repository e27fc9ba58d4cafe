"""Which of several equal pods builds: by rendezvous (highest random weight) hashing.

Each pod's weight is a hash of the key and the pod's name; the heaviest wins. A key stays with its pod for as long as
that pod is there, a new pod takes its fair share from all others, and no state is needed to agree on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def choose(key: str, pods: Iterable[str]) -> str:
    """The name among ``pods`` on which ``key`` builds. ValueError if there is none.

    ``key`` should be what builds with a common cache share (a repository's path), not what differs between them
    (a commit).
    """
    return max(pods, key=lambda pod: (_weight(key, pod), pod))


def _weight(key: str, pod: str) -> bytes:
    return hashlib.blake2b(f"{len(key)}:{key}{pod}".encode(), digest_size=16).digest()
