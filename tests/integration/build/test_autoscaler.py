"""A HorizontalPodAutoscaler of the real controller on a builder's Deployment: it owns the number of pods, we use them.

The devcluster has no metrics. The controller keeps the number within its bounds without any (kubernetes 1.34,
``pkg/controller/podautoscaler/horizontal.go``, ``reconcileAutoscaler``), so the test moves the bounds.
"""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path

from bench.lost_pods import Gate
from devcluster.layout import Cluster
from tests.integration.build.lasting import Shop, create_builder, eventually, list_holders

CHOSEN = re.compile(r"pod (\S+), one of \d ready, is chosen ")
BUILDS = 3


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

    builds: list[subprocess.Popen[str]] = []
    gate = Gate(str(dev_cluster.host_address))
    (context / "Dockerfile").write_text(
        f"FROM busybox\nARG MARK\nRUN echo $MARK; until wget -q -O /dev/null http://{gate.address}/; do sleep 1; done\n"
    )
    with create_builder(shop, "one", "--driver-opt", "replicas=1,max-builds=1"):
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
            eventually("a waiting build", lambda: len(list_holders(shop, "ticket")) == 1)
            assert count_replicas() == 2, "a build has changed the number that the autoscaler owns"
            set_bounds(BUILDS, BUILDS)
            eventually("a third pod", lambda: len(shop.pods("one")) == BUILDS)
            eventually("that all build", lambda: len(list_holders(shop, "slot")) == BUILDS)
            eventually("that none waits", lambda: len(list_holders(shop, "ticket")) == 0)
            set_bounds(1, 1)
            eventually("that one pod stays", lambda: len(shop.pods("one")) == 1)
            assert [build.poll() for build in builds] == [None] * BUILDS, shown
            with gate.opened():
                for reader in readers:
                    reader.join(timeout=120)
            assert [build.returncode for build in builds] == [0] * BUILDS, shown
            assert "was lost" not in "".join(shown)
            assert len({CHOSEN.findall(text)[-1] for text in shown}) == BUILDS
            assert count_replicas() == 1
        finally:
            for build in builds:
                if build.poll() is None:
                    build.terminate()
            shop.kube.delete(f"{scalers}/one0")
    eventually("that no Lease is left", lambda: not list_holders(shop, "slot") + list_holders(shop, "ticket"))
