"""A HorizontalPodAutoscaler of the real controller on a builder's Deployment: it owns the number of pods, we use them.

The devcluster has no metrics. The controller keeps the number within its bounds without any (kubernetes 1.34,
``pkg/controller/podautoscaler/horizontal.go``, ``reconcileAutoscaler``), so the test moves the bounds.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from devcluster.layout import Cluster
from tests.integration.build.lasting import Shop, eventually

CHOSEN = re.compile(r"pod (\S+), one of \d ready, is chosen ")
BUILDS = 3


@contextmanager
def gate(address: str) -> Iterator[ThreadingHTTPServer]:
    """A port that refuses connections until its server is activated."""
    server = ThreadingHTTPServer((address, 0), Answer, bind_and_activate=False)
    server.server_bind()
    try:
        yield server
    finally:
        server.server_close()


class Answer(BaseHTTPRequestHandler):
    """Answers every request with nothing."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Be silent."""


def start(shop: Shop, context: Path, mark: str) -> subprocess.Popen[str]:
    return shop.product.popen("--builder", "one", "--build-arg", f"MARK={mark}", str(context), own_builder=False)


def test_an_autoscaler_adds_and_removes_pods_and_no_build_is_cut(
    shop: Shop, context: Path, dev_cluster: Cluster
) -> None:
    deployment = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments/one0"
    scalers = f"/apis/autoscaling/v2/namespaces/{shop.namespace}/horizontalpodautoscalers"

    def count_replicas() -> int:
        return int(shop.kube.get(deployment)["spec"]["replicas"])

    def set_bounds(least: int, most: int) -> None:
        shop.kube.patch(f"{scalers}/one0", {"spec": {"minReplicas": least, "maxReplicas": most}})

    made = shop.create("--name", "one", "--bootstrap", "--driver-opt", "replicas=1,max-builds=1")
    assert made.code == 0, made.stderr
    builds: list[subprocess.Popen[str]] = []
    with gate(str(dev_cluster.host_address)) as opened:
        address = f"http://{dev_cluster.host_address}:{opened.server_address[1]}/"
        (context / "Dockerfile").write_text(
            f"FROM busybox\nARG MARK\nRUN echo $MARK; until wget -q -O /dev/null {address}; do sleep 1; done\n"
        )
        try:
            target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "one0"}
            bounds = {"minReplicas": 2, "maxReplicas": BUILDS}
            shop.kube.create(scalers, {"metadata": {"name": "one0"}, "spec": {"scaleTargetRef": target, **bounds}})
            eventually("a second pod", lambda: count_replicas() == 2)
            builds += [start(shop, context, f"build-{number}") for number in range(BUILDS)]
            shown = [""] * BUILDS
            readers = [
                threading.Thread(target=lambda one=number: shown.__setitem__(one, builds[one].communicate()[0]))
                for number in range(BUILDS)
            ]
            for reader in readers:
                reader.start()
            eventually("a waiting build", lambda: count_leases(shop, "ticket") == 1)
            assert count_replicas() == 2, "a build has changed the number that the autoscaler owns"
            set_bounds(BUILDS, BUILDS)
            eventually("a third pod", lambda: len(shop.pods("one")) == BUILDS)
            eventually("that all build", lambda: count_leases(shop, "slot") == BUILDS)
            eventually("that none waits", lambda: count_leases(shop, "ticket") == 0)
            set_bounds(1, 1)
            eventually("that one pod stays", lambda: len(shop.pods("one")) == 1)
            assert [build.poll() for build in builds] == [None] * BUILDS, shown
            opened.server_activate()
            threading.Thread(target=opened.serve_forever, daemon=True).start()
            for reader in readers:
                reader.join(timeout=120)
            assert [build.returncode for build in builds] == [0] * BUILDS, shown
            assert "was lost" not in "".join(shown)
            assert len({CHOSEN.findall(text)[-1] for text in shown}) == BUILDS
            assert count_replicas() == 1
            opened.shutdown()
        finally:
            for build in builds:
                if build.poll() is None:
                    build.terminate()
            shop.kube.delete(f"{scalers}/one0")
            assert shop.product.run("rm", "one").code == 0
    eventually("that no Lease is left", lambda: count_leases(shop, "slot") + count_leases(shop, "ticket") == 0)


def count_leases(shop: Shop, role: str) -> int:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{shop.namespace}/leases"
    return len(shop.kube.list(path, labelSelector=f"kube-builder.dev/pool={role}")["items"])
