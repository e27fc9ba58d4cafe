"""The list of a cluster's images, and how they are pushed and removed from cluster nodes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from devcluster import foreign, programs, registry
from devcluster.errors import DevclusterError
from devcluster.images import base, binfmt, buildkit, nodes
from devcluster.images.image import Image
from devcluster.images.push import Pusher
from devcluster.layout import Cluster

_NATIVE = "amd64"
NATIVE_BUSYBOX = Path("/usr/bin/busybox")


def push_all(cluster: Cluster) -> None:
    """Update all images of the open registry; print a line for each pushed image.

    The programs must be built, the packages installed and the registry running. Raises DevclusterError.
    """
    push(cluster, images())


def push_runner(cluster: Cluster) -> None:
    """Push `kube-builder/runner:dev`, with Python and this checkout's product, to a running cluster.

    Raises DevclusterError.
    """
    from devcluster.images import runner

    push(cluster, [runner.image(NATIVE_BUSYBOX)])
    forget_stale(cluster)


def images() -> tuple[Image, ...]:
    """Return all images except the runner's."""
    busybox = {_NATIVE: NATIVE_BUSYBOX} | {name: foreign.busybox(name) for name in foreign.ARCHITECTURES}
    own = buildkit.Programs(
        buildkitd=programs.path("buildkitd"),
        buildctl=programs.path("buildctl") if programs.is_built("buildctl") else None,
        runc=programs.path("runc"),
        busybox=busybox[_NATIVE],
    )
    return (
        base.pause({_NATIVE: busybox[_NATIVE]}),
        base.busybox(busybox),
        buildkit.privileged(own),
        buildkit.rootless(own),
        binfmt.image(busybox[_NATIVE]),
    )


def push(cluster: Cluster, wanted: Iterable[Image]) -> None:
    """Push images, and record on disk the current digest of each reference. Raises DevclusterError."""
    import requests

    place = cluster.state / "images"
    place.mkdir(parents=True, exist_ok=True)
    (target, *_) = registry.registries(cluster)
    with requests.Session() as session:
        session.trust_env = False  # The host's proxies and netrc do not apply to the cluster's own registry.
        pusher = Pusher(session=session, url=target.url, memory=place / "layers", say=_say)
        try:
            digests = {reference: digest for image in wanted for reference, digest in _push_one(pusher, image)}
        except requests.RequestException as error:
            raise DevclusterError(f"registry {target.url} takes no images: {error}") from error
        except OSError as error:
            raise DevclusterError(f"image of {error.filename} cannot be built: {error.strerror}") from error
    known = place / "digests.json"
    fresh = place / ".digests.json.new"
    fresh.write_text(json.dumps({**_digests(cluster), **digests}, indent=2))
    fresh.replace(known)


def _push_one(pusher: Pusher, image: Image) -> Iterable[tuple[str, str]]:
    digest = pusher.push(image)
    return [(reference, digest) for reference in image.references]


def _digests(cluster: Cluster) -> dict[str, str]:
    """Return the last pushed digest of each reference; references are without a registry."""
    try:
        return dict(json.loads((cluster.state / "images" / "digests.json").read_text()))
    except (OSError, ValueError):
        return {}


def forget_stale(cluster: Cluster) -> None:
    """Remove images with outdated tags from the cluster nodes: a kubelet does not pull a tag that it already has.

    The containerds must be running; containers that use such an image continue. Raises DevclusterError.
    """
    current = _digests(cluster)
    for node in cluster.nodes:
        for name in nodes.forget(node, current):
            _say(f"node {node.name} forgets {name}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
