"""Builds on a lasting builder: which nodes and pods they use, and which they start."""

from __future__ import annotations

import pytest

from ci_buildx.builder import labels
from ci_buildx.errors import BuildkitError, RegistryError
from ci_buildx.manage import builders
from ci_buildx.model import platform
from ci_buildx.settings.builder import LoadBalance, Registries
from ci_buildx.settings.values import FrontendCall
from tests.unit.build.whole_build import NODES, WholeBuild
from tests.unit.lasting import PODS, create_builder, make_target
from tests.unit.memory_cluster import Manifest
from tests.unit.registry.scripted import scripted

AMD64, ARM64 = NODES
RISCV = platform.parse_platform("linux/riscv64")


def count_pods(build: WholeBuild) -> int:
    return len(build.cluster.list_names("pods"))


def test_a_stopped_builder_is_started_and_stays(build: WholeBuild) -> None:
    create_builder(build.cluster)
    builders.stop_builder(make_target(build.cluster), env={})
    assert count_pods(build) == 0
    assert build.run(builder_name="kube").namespace == "ci"
    assert "starting builder kube" in build.output
    assert "kube0 was stopped" in build.output
    assert count_pods(build) == 1
    assert not [line for line in build.list_changes() if line.startswith("DELETE")]


def test_only_the_nodes_of_the_builds_platforms_are_started(build: WholeBuild) -> None:
    create_builder(build.cluster, node="amd", platforms=(AMD64,))
    create_builder(build.cluster, node="arm", platforms=(ARM64,), append=True)
    builders.stop_builder(make_target(build.cluster), env={})
    build.options["platforms"] = (ARM64,)
    build.run(builder_name="kube")
    assert build.cluster.list_names("pods") == ["arm-0"]
    (request,) = build.cluster.script.solved
    assert request.frontend_attrs["platform"] == "linux/arm64"


def test_the_result_names_the_platform_of_a_build_without_platforms(build: WholeBuild) -> None:
    create_builder(build.cluster, node="amd", platforms=(AMD64,))
    create_builder(build.cluster, node="arm", platforms=(ARM64,), append=True)
    build.options["platforms"] = ()
    result = build.run(builder_name="kube")
    (request,) = build.cluster.script.solved
    assert "platform" not in request.frontend_attrs
    assert ("platforms", "linux/amd64") in result.list_rows()


def test_a_node_of_unknown_platforms_is_asked_once(build: WholeBuild) -> None:
    create_builder(build.cluster)
    build.cluster.platforms = ("linux/amd64", "linux/riscv64")
    builders.stop_builder(make_target(build.cluster), env={})
    build.options["platforms"] = (RISCV,)
    build.run(builder_name="kube")
    assert build.cluster.find("deployments")["metadata"]["annotations"][labels.RUNS] == "linux/amd64,linux/riscv64"
    assert "kube0: kube0-0 on node worker-amd64: ready after" in build.output
    build.run(builder_name="kube")
    assert build.output.count("ready after") == 1


def test_a_platform_that_its_only_node_does_not_run(build: WholeBuild) -> None:
    create_builder(build.cluster, bootstrap=True)
    build.options["platforms"], build.text = (RISCV,), "FROM scratch\nRUN make\n"
    with pytest.raises(BuildkitError, match="pod kube0-0 does not run linux/riscv64, only linux/amd64; add a node"):
        build.run(builder_name="kube")


def test_of_several_pods_a_repository_always_has_the_same(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=3)
    for _ in range(2):
        build.run(builder_name="kube")
    choices = [line for line in build.output.splitlines() if "is chosen by the sticky key" in line]
    chosen = {line.partition(" pod ")[2].partition(",")[0] for line in choices}
    assert (len(choices), len(chosen)) == (2, 1)
    assert "one of 3 ready" in choices[0]


def test_or_any_of_them_if_it_was_created_so(build: WholeBuild) -> None:
    create_builder(build.cluster, replicas=2, loadbalance=LoadBalance.RANDOM)
    build.run(builder_name="kube")
    assert "is chosen at random" in build.output


def test_if_the_chosen_pod_is_replaced_the_next_one_is_used(build: WholeBuild) -> None:
    """A rollout or a drained cluster node replaces pods at any time."""
    create_builder(build.cluster)
    builders.stop_builder(make_target(build.cluster), env={})
    booted: list[str] = []

    def replace_first(pod: Manifest) -> Manifest | None:
        booted.append(pod["metadata"]["name"])
        if len(booted) > 1:
            return None
        waiting = {"reason": "InvalidImageName", "message": "wrong"}
        return {"phase": "Pending", "containerStatuses": [{"name": "buildkitd", "state": {"waiting": waiting}}]}

    build.cluster.boot = replace_first
    builders.scale_builder(make_target(build.cluster), 1, "", env={})
    build.cluster.remove(f"{PODS}/kube0-0")
    build.cluster.put("/apis/apps/v1/namespaces/ci/deployments/kube0", build.cluster.find("deployments"))
    build.run(builder_name="kube")
    assert booted == ["kube0-0", "kube0-0"]


def test_registries_of_the_builders_configuration_are_used_for_merging(build: WholeBuild) -> None:
    with scripted() as registry:
        create_builder(
            build.cluster, node="amd", platforms=(AMD64,), registries=Registries(insecure=(registry.address,))
        )
        create_builder(build.cluster, node="arm", platforms=(ARM64,), append=True)
        build.options |= {"platforms": NODES, "push": True, "tags": (f"{registry.address}/app:1",)}
        with pytest.raises(RegistryError, match="404"):
            build.run(builder_name="kube")
        assert registry.asked, "the index is merged from here"


def test_its_default_load_applies_to_builds_without_an_output(build: WholeBuild) -> None:
    create_builder(build.cluster, default_load=True)
    build.env["DOCKER_HOST"] = "tcp://127.0.0.1:1"
    build.run(builder_name="kube")
    (request,) = build.cluster.script.solved
    assert [exporter.type for exporter in request.exporters] == ["docker"]
    assert "no output is set" not in build.output


def test_its_history_keeps_builds_but_no_calls(build: WholeBuild) -> None:
    create_builder(build.cluster, node="amd", platforms=(AMD64,))
    create_builder(build.cluster, node="arm", platforms=(ARM64,), append=True)
    build.options["platforms"] = NODES
    result = build.run(builder_name="kube")
    one, other = build.cluster.script.solved
    assert not (one.internal or other.internal)
    assert one.ref == other.ref
    assert result.metadata["buildx.build.ref"] == f"kube/amd/{one.ref}"
    build.options["call"] = FrontendCall(method="targets")
    build.cluster.script.call = lambda _: {"result.txt": "", "result.json": "{}", "result.statuscode": "0"}
    assert "buildx.build.ref" not in build.run(builder_name="kube").metadata
    assert build.cluster.script.solved[-1].internal
