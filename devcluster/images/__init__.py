"""The cluster's own images, built without a daemon and pushed to its open registry.

They use the names that real users write: cluster nodes and BuildKit fetch docker.io's images from that registry.
"""

from devcluster.images.catalogue import forget_stale, push, push_all, push_runner

__all__ = ["forget_stale", "push", "push_all", "push_runner"]
