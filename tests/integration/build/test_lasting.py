"""Builders that stay: one for each name, let to rest and woken, their caches, and nothing left of them."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

from ci_buildx.builder import labels
from tests.e2e.product import COMMAND
from tests.integration.build.lasting import CONFIG, Shop, eventually

TINY = "FROM busybox\nRUN uname -m > /machine\n"


def test_two_creates_of_one_name_end_with_one_builder_and_one_error(shop: Shop) -> None:
    command = [*COMMAND, "create", "--name", "twice"]
    env = {**shop.product.env, CONFIG: str(shop.product.config)}
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    ended = [(one.communicate(timeout=120), one.returncode) for one in both]
    assert sorted(code for _, code in ended) == [0, 2], ended
    (refused,) = (said[1].decode() for said, code in ended if code)
    assert refused.splitlines()[-1].startswith(
        f"kube-builder: error: --name: builder 'twice' already exists in namespace '{shop.namespace}'; add a node with "
    )
    assert shop.names("/apis/apps/v1/{}/deployments", "twice") == ["twice0"]
    assert shop.product.run("rm", "twice").code == 0
    assert shop.left("twice") == []


def test_it_rests_and_wakes_with_new_certificates_where_they_near_their_end(shop: Shop, context: Path) -> None:
    (context / "Dockerfile").write_text(TINY)
    assert shop.create("--name", "sleepy", "--use").code == 0
    used = shop.product.run("build", str(context))
    assert used.code == 0, used.stderr
    assert "answered over" in used.stderr
    assert shop.product.run("stop").code == 0
    eventually("its rest", lambda: shop.pods("sleepy") == [])
    assert shop.seen("sleepy")["Current"]
    secret = f"/api/v1/namespaces/{shop.namespace}/secrets/sleepy-keys"
    near = {labels.CERTIFICATES_EXPIRE: "2020-01-01T00:00:00Z"}
    before = shop.kube.patch(secret, {"metadata": {"annotations": near}})
    woken = shop.product.run("build", str(context))
    assert woken.code == 0, woken.stderr
    assert "starting builder sleepy" in woken.stderr
    after = shop.kube.get(secret)
    assert after["data"]["ca.pem"] != before["data"]["ca.pem"]
    assert base64.b64decode(after["data"]["ca.pem"]).startswith(b"-----BEGIN CERTIFICATE-----")
    assert shop.product.run("scale", "--replicas", "2").code == 0
    eventually("two pods", lambda: [node["Status"] for node in shop.seen("sleepy")["Nodes"]].count("running") == 2)
    shown = shop.product.run("inspect", "--format", "json")
    value = json.loads(shown.stdout)
    assert value["CertificatesExpire"] > "2030"
    assert {node["Version"] for node in value["Nodes"]} != {""}
    said = shop.product.run("logs", "--tail", "50")
    assert {line.partition(" | ")[0] for line in said.stdout.decode().splitlines()} == set(shop.pods("sleepy"))
    assert "running server on" in said.stdout.decode()
    assert shop.product.run("rm").stdout == b"sleepy removed\n"
    assert shop.left("sleepy") == []
    assert "missing builder name" in shop.product.run("inspect").stderr


def test_a_builder_that_never_booted_builds_what_it_emulates(shop: Shop, context: Path) -> None:
    """What its emulators run is known only when it has booted; until then it is neither refused nor promised."""
    (context / "Dockerfile").write_text(f"{TINY}FROM scratch\nCOPY --from=0 /machine /\n")
    only = ["--driver-opt", "nodeselector=kubernetes.io/arch=amd64"]
    assert shop.create("--name", "cold", *only).code == 0
    emulated = ["--builder", "cold", "--platform", "linux/arm64", "-o", "out", str(context)]
    run = shop.product.build(*emulated, own_builder=False)
    assert run.code == 0, run.stderr
    assert (shop.product.cwd / "out/machine").read_text() == "aarch64\n"
    assert shop.product.run("rm", "cold").code == 0
    assert shop.create("--name", "cold", *only).code == 0
    foreign = ["--builder", "cold", "--platform", "linux/mips64le", "-o", "out", str(context)]
    refused = shop.product.build(*foreign, own_builder=False)
    assert refused.code == 1, refused.stderr
    assert " does not run linux/mips64le, only linux/amd64, " in refused.stderr.splitlines()[-1]
    assert shop.product.run("rm", "cold").code == 0


def test_each_pods_cache_is_counted_and_cleared(shop: Shop, context: Path) -> None:
    (context / "Dockerfile").write_text(f"{TINY}RUN dd if=/dev/zero of=/big bs=1M count=3\n")
    assert shop.create("--name", "cached", "--bootstrap").code == 0
    built = shop.product.run("build", "--builder", "cached", str(context))
    assert built.code == 0, built.stderr
    table = shop.product.run("du", "--builder", "cached").stdout.decode().splitlines()
    assert table[0].split() == ["ID", "RECLAIMABLE", "SIZE", "LAST", "ACCESSED"]
    assert table[-1].startswith("Total:")
    records = [
        json.loads(line)
        for line in shop.product.run("du", "cached", "--filter", "type=regular", "--format", "json").stdout.splitlines()
    ]
    assert {record["Type"] for record in records} == {"regular"}
    assert any("count=3" in record["Description"] for record in records)
    assert len(table) - 3 > len(records)
    kept = shop.product.run("prune", "--force", "--filter", "until=1h", "cached")
    assert kept.stdout.decode() == "Total:  0B\n"
    cleared = shop.product.run("prune", "--force", "--all", "cached")
    assert cleared.code == 0, cleared.stderr
    assert records[0]["ID"] in cleared.stdout.decode()
    assert shop.product.run("du", "cached").stdout.decode().splitlines()[1:] == ["Reclaimable:  0B", "Total:        0B"]
    assert shop.product.run("rm", "cached").code == 0


def test_volumes_stay_when_the_state_is_kept_and_go_with_the_builder(shop: Shop) -> None:
    volume = "persistent-volume-claim.requests.storage=1Gi"
    made = shop.create("--name", "stored", "--driver-opt", volume, "--bootstrap")
    assert made.code == 0, made.stderr
    assert shop.names("/apis/apps/v1/{}/statefulsets", "stored") == ["stored0"]
    claims = shop.names("/api/v1/{}/persistentvolumeclaims", "stored")
    assert claims == ["state-stored0-0"]
    assert shop.product.run("rm", "--keep-state", "stored").code == 0
    assert shop.left("stored") == claims
    eventually("the end of its pod", lambda: not _terminating(shop, "stored"))
    again = shop.create("--name", "stored", "--driver-opt", volume, "--bootstrap")
    assert again.code == 0, again.stderr
    assert shop.names("/api/v1/{}/persistentvolumeclaims", "stored") == claims
    assert shop.product.run("rm", "stored").code == 0
    assert shop.left("stored") == []


def test_nodes_come_and_leave_and_change(shop: Shop) -> None:
    assert shop.create("--name", "crowd", "--platform", "linux/amd64").code == 0
    for _ in range(2):
        assert shop.create("--append", "--name", "crowd", "--platform", "linux/amd64").code == 0
    assert shop.names("/apis/apps/v1/{}/deployments", "crowd") == ["crowd0", "crowd1", "crowd2"]
    again = shop.create("--name", "crowd")
    assert (again.code, "already exists" in again.stderr) == (2, True)
    left = shop.product.run("create", "--leave", "--name", "crowd", "--node", "crowd1")
    assert left.code == 0, left.stderr
    changed = shop.create("--name", "crowd", "--node", "crowd2", "--driver-opt", "replicas=2,requests.cpu=10m")
    assert changed.code == 0, changed.stderr
    found = {item["metadata"]["name"]: item["spec"] for item in shop.objects("/apis/apps/v1/{}/deployments", "crowd")}
    assert {name: spec["replicas"] for name, spec in found.items()} == {"crowd0": 1, "crowd2": 2}
    (container,) = found["crowd2"]["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "10m"}}
    assert "last node" not in shop.product.run("create", "--leave", "--name", "crowd", "--node", "crowd0").stderr
    assert "is the last node" in shop.product.run("create", "--leave", "--name", "crowd", "--node", "crowd2").stderr
    assert shop.product.run("rm", "crowd").code == 0


def test_a_changed_node_is_up_when_its_new_pods_are(shop: Shop) -> None:
    assert shop.create("--name", "changed", "--bootstrap").code == 0
    before = shop.names("/api/v1/{}/pods", "changed")
    named = shop.create("--name", "changed", "--node", "changed0", "--driver-opt", "requests.cpu=11m", "--bootstrap")
    assert named.code == 0, named.stderr
    assert not any(pod in named.stderr for pod in before)
    absent = "image=moby/buildkit:absent,timeout=30s"
    failed = shop.create("--name", "changed", "--node", "changed0", "--driver-opt", absent, "--bootstrap")
    assert (failed.code, "cannot start: " in failed.stderr) == (1, True)
    assert shop.product.run("rm", "changed").code == 0


def test_what_does_not_come_up_is_explained_and_is_inactive(shop: Shop) -> None:
    failed = shop.create("--name", "broken", "--bootstrap", "--driver-opt", "image=moby/buildkit:absent,timeout=30s")
    assert failed.code == 1
    assert "cannot start: " in failed.stderr
    assert "note: builder broken was kept" in failed.stderr
    (node,) = shop.seen("broken")["Nodes"]
    assert (node["Status"], "absent" in node["Err"]) == ("error", True)
    assert shop.product.run("du", "broken").stderr.startswith("kube-builder: error: no pod of builder 'broken'")
    removed = shop.product.run("rm", "--all-inactive", "--force")
    assert "broken removed" in removed.stdout.decode()
    assert shop.left("broken") == []


def _terminating(shop: Shop, name: str) -> bool:
    path = f"/api/v1/namespaces/{shop.namespace}/pods"
    return bool(shop.kube.list(path, labelSelector=f"{labels.BUILDER}={name}")["items"])
