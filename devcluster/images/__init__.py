"""The cluster's own images, built without a daemon and pushed to its open registry.

They have the names that real users write: nodes and BuildKit look for docker.io's images in that registry.
"""

from devcluster.images.catalogue import forget_stale, push, push_all, push_runner

__all__ = ["forget_stale", "push", "push_all", "push_runner"]
