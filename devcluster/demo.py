"""`make demo`: the main job, as a user would run it, with a check for leftovers."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.values import ClusterSettings
from devcluster import buildkitd, environment, layout, pushed, registry
from devcluster.errors import DevclusterError

EXAMPLE = Path(__file__).parent.parent / "examples" / "hello"
PLATFORMS = "linux/amd64,linux/arm64"


def main() -> int:
    """Run the demo; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m devcluster.demo", description=__doc__)
    parser.add_argument("--cluster", choices=("embedded", "current"), default="embedded")
    parser.add_argument("--registry", default="", help="where to push, HOST/PATH; needed with --cluster current")
    parser.add_argument("--kubernetes", default="", metavar="VERSION", help="of a new embedded cluster")
    arguments = parser.parse_args()
    try:
        if arguments.cluster == "embedded":
            embedded(arguments.kubernetes)
        else:
            current(arguments.registry)
    except DevclusterError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except subprocess.CalledProcessError as error:
        print("demo: a step failed, see above", file=sys.stderr)
        return int(error.returncode)
    return 0


def embedded(version: str = "") -> None:
    """Run the demo on the devcluster: build, read back the pushed image, check for leftovers.

    ``version`` is the minor version of Kubernetes of a new cluster, the default one if empty.
    """
    cluster = layout.cluster()
    # A separate process, because it changes to root if this one is a user's.
    chosen = ["--kubernetes", version] if version else []
    subprocess.run([sys.executable, "-m", "devcluster", "up", "--small", *chosen], check=True)
    env = {**os.environ, **environment.variables(cluster)}
    server = next(found for found in registry.registries(cluster) if found.name == "open")
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "buildkitd.toml"
        settings.write_text(buildkitd.configuration(registry.registries(cluster)))
        metadata = build(f"{server.address}/hello:demo", env, "--buildkitd-config", str(settings))
    read_back(server.url, "hello", str(metadata["containerimage.digest"]))
    look(env)
    print("\nThe devcluster is still running. Use it:")
    print('  eval "$(.venv/bin/python -m devcluster env)"      # KUBECONFIG, REGISTRY, …')
    print("  .venv/bin/python -m devcluster status")
    print("Stop it, and remove every trace from this machine: make cluster-down")


def current(target: str) -> None:
    """Run the demo on the cluster of the user's own kubeconfig."""
    if not target:
        raise DevclusterError("CLUSTER=current needs REGISTRY=host/path: where to push the image")
    build(f"{target}/hello:demo", os.environ)
    look(os.environ)


def build(reference: str, env: Mapping[str, str], *options: str) -> dict[str, Any]:
    """Run the product as a user would; return its metadata."""
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder) / "metadata.json"
        argv = ["kube-builder", "build", "--platform", PLATFORMS, "--tag", reference, "--push", *options, str(EXAMPLE)]
        print(f"\n$ {' '.join(argv)}", flush=True)
        own = ["--metadata-file", str(metadata)]
        subprocess.run([sys.executable, "-m", "ci_buildx", *argv[1:], *own], env=dict(env), check=True)
        return dict(json.loads(metadata.read_text()))


def read_back(url: str, repository: str, digest: str) -> None:
    """Read the image of every platform from the registry and show the files that its RUN steps wrote."""
    print("\nread back from the registry:")
    for platform, image in pushed.images(url, repository, digest).items():
        machine = image.files["hello/machine"].decode().strip()
        print(f"  {platform}: uname -m said {machine} ({image.digest[:19]}…)")


def look(env: Mapping[str, str]) -> None:
    """Check that no namespace of kube-builder is left; deleting one takes the cluster some seconds."""
    kube = KubeClient(config.load_cluster(ClusterSettings(), env=env))
    try:
        deadline = time.monotonic() + 60
        while (left := names(kube)) and time.monotonic() < deadline:
            time.sleep(0.5)
    finally:
        kube.close()
    print(f"\nleft on the cluster: {', '.join(left) or 'nothing'}")
    if left:
        raise DevclusterError(f"these namespaces stayed: {', '.join(left)}")


def names(kube: KubeClient) -> list[str]:
    """Return the namespaces of job builders that still exist."""
    found = kube.list("/api/v1/namespaces", labelSelector="app.kubernetes.io/managed-by=kube-builder")
    return [item["metadata"]["name"] for item in found["items"]]


if __name__ == "__main__":
    sys.exit(main())
