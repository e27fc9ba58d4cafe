"""What a job does with its builder where the cluster, its user or a step makes trouble."""

from __future__ import annotations

import json
from pathlib import Path

from ci_buildx.builder import labels
from ci_buildx.kube.client import KubeClient
from devcluster.accounts import Account
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.integration.build.accounts import ON_OBJECTS, Accounts, rule
from tests.integration.build.held import BOTH, RECORDS_MACHINE, SLOW, until_held

FAILS = "FROM busybox\nRUN echo almost && exit 7\n"
BY_DEFAULT = "linux/amd64: by default, because no platform is set; set --platform for another\n"


def test_a_node_that_cannot_be_scheduled_is_emulated_and_that_is_said(
    product: Product, context: Path, builders: Builders, tenant: Account, namespace: str, amd64_only: str
) -> None:
    (context / "Dockerfile").write_text(RECORDS_MACHINE)
    options = ["--platform", BOTH, "--driver-opt", f"nodeselector={amd64_only}", "-o", "out", str(context)]
    run = product.build("--kubeconfig", str(tenant.kubeconfig), "--namespace", namespace, *options)
    assert run.code == 0, run.stderr
    assert "linux/arm64: native by scheduling: listing cluster nodes is not allowed\n" in run.stderr
    assert "linux/arm64: emulated on amd64: no arm64 node can be scheduled\n" in run.stderr
    assert f"pod {run.builder}-arm64-" not in run.stderr.rpartition("emulated on amd64")[2]
    assert (product.cwd / "out/linux_amd64/machine").read_text() == "x86_64\n"
    assert (product.cwd / "out/linux_arm64/machine").read_text() == "aarch64\n"
    assert builders.left() == []


def test_a_pod_that_is_deleted_in_the_middle_of_a_step_is_named(
    product: Product, context: Path, builders: Builders, kube: KubeClient
) -> None:
    (context / "Dockerfile").write_text(SLOW)
    with product.popen("--platform", BOTH, "--retries", "0", str(context)) as process:
        said = until_held(process)
        (pod,) = (pod for pod in builders.pods() if pod["metadata"]["labels"][labels.NODE] == "amd64")
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        kube.delete(f"/api/v1/namespaces/{namespace}/pods/{name}", gracePeriodSeconds=0)
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 1, said
    assert rest.splitlines()[-1].startswith(f"ERROR: pod {name} was lost: Deleted: "), rest
    assert "Traceback" not in rest
    assert builders.left() == []
    assert builders.wait_for_pods_to_go(30) == []


def test_a_pod_that_is_preempted_in_the_middle_of_a_step_is_named_with_the_cure(
    product: Product, context: Path, builders: Builders, kube: KubeClient, one_place: str
) -> None:
    (context / "Dockerfile").write_text(SLOW)
    place = {"resources": {"limits": {one_place: "1"}}}
    template = {"spec": {"containers": [{"name": "buildkitd", **place}]}}
    (product.cwd / "pod.json").write_text(json.dumps(template))
    options = ("--platform", "linux/amd64", "--retries", "0", "--driver-opt", "pod-template=pod.json")
    with product.popen(*options, str(context)) as process:
        said = until_held(process)
        (pod,) = builders.pods()
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        important = {"priorityClassName": "system-node-critical", "restartPolicy": "Never"}
        spec = {**important, "containers": [{"name": "main", "image": "busybox", **place}]}
        kube.create(f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": "important"}, "spec": spec})
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 1, said
    assert rest.splitlines()[-1] == (
        f"ERROR: pod {name} was lost: PreemptionByScheduler: it was preempted by a pod with higher priority "
        "(default-scheduler: preempting to accommodate a higher priority pod); "
        "set driver-opt priority-class, or select dedicated cluster nodes with driver-opt nodeselector"
    )
    assert builders.left() == []


def test_a_kept_builder_is_used_for_one_of_its_platforms(
    product: Product, context: Path, builders: Builders, kube: KubeClient
) -> None:
    (context / "Dockerfile").write_text(RECORDS_MACHINE)
    first = product.build("--keep", "--platform", BOTH, "--transport", "port-forward", "-o", "both", str(context))
    assert first.code == 0, first.stderr
    assert transports(kube, first.builder) == {"amd64": "port-forward", "arm64": "port-forward"}
    again = product.build(
        *("--builder", first.builder, "--platform", "linux/arm64", "-o", "one", str(context)), own_builder=False
    )
    assert again.code == 0, again.stderr
    assert "pod buildkit-arm64-" in again.stderr
    assert "buildkit-amd64-" not in again.stderr
    assert "CACHED" in again.stderr
    assert (product.cwd / "one/machine").read_text() == "aarch64\n"
    assert builders.left() == [first.builder]


def transports(kube: KubeClient, builder: str) -> dict[str, str]:
    """What the Jobs of a builder say reaches them."""
    jobs = kube.list(f"/apis/batch/v1/namespaces/{builder}/jobs")["items"]
    return {job["metadata"]["labels"][labels.NODE]: job["metadata"]["annotations"][labels.TRANSPORT] for job in jobs}


def test_a_refused_teardown_comes_after_the_builds_own_error_and_names_what_is_left(
    product: Product, context: Path, builders: Builders, accounts: Accounts
) -> None:
    (context / "Dockerfile").write_text(FAILS)
    rules = (*ON_OBJECTS, rule("", "namespaces", "get create"), rule("", "nodes", "list"))
    with accounts.with_changes("deletes-no-namespaces", *rules) as kubeconfig:
        run = product.build("--kubeconfig", str(kubeconfig), "--platform", "linux/amd64", str(context))
    assert run.code == 1
    failed, left = run.stderr.splitlines()[-2:]
    assert failed.startswith("ERROR: failed to solve: ")
    assert failed.endswith("exit code: 7")
    assert left.startswith(f"note: not removed: namespace {run.builder}: ")
    assert "delete" in left
    assert builders.left() == [run.builder]
    assert builders.wait_for_pods_to_go(30) == []


def test_a_refused_teardown_after_a_good_build_is_a_warning(
    product: Product, context: Path, builders: Builders, accounts: Accounts
) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    rules = (*ON_OBJECTS, rule("", "namespaces", "get create"), rule("", "nodes", "list"))
    with accounts.with_changes("leaves-namespaces", *rules) as kubeconfig:
        run = product.build("--kubeconfig", str(kubeconfig), "-o", "out", str(context))
    assert run.code == 0, run.stderr
    assert BY_DEFAULT in run.stderr
    assert (
        f"WARNING: the build succeeded, but its clean-up failed: not removed: namespace {run.builder}: " in run.stderr
    )
    assert (product.cwd / "out/Dockerfile").exists()


def test_a_user_of_one_namespace_removes_and_reaps_there(
    product: Product, context: Path, builders: Builders, kube: KubeClient, tenant: Account, namespace: str
) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    inside, user = ("--namespace", namespace), ("--kubeconfig", str(tenant.kubeconfig))
    run = product.build(*user, *inside, "--keep", "-o", "out", str(context))
    assert run.code == 0, run.stderr
    assert BY_DEFAULT in run.stderr, "though this account may not list nodes"
    reaped = product.run("reap", *user, "--dry-run", namespace)
    lost = product.run("reap", *user)
    missing = product.run("rm", *user, *inside, "kube-builder-none")
    removed = product.run("rm", *user, *inside, run.builder)
    assert (reaped.code, reaped.stdout) == (0, b"")
    assert reaped.stderr.startswith("kube-builder: warning: only the named namespaces were searched: user ")
    assert lost.code == 1
    assert "may not list namespaces in the whole cluster; bind a ClusterRole" in lost.stderr
    assert missing.stderr.startswith(
        "kube-builder: error: builder 'kube-builder-none' not found; check the name: found neither "
    )
    assert (removed.code, removed.stdout.decode()) == (0, f"{run.builder} removed\n"), removed.stderr
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    assert kube.list(jobs, labelSelector=f"{labels.BUILDER}={run.builder}")["items"] == []


def test_a_failing_build_leaves_a_builder_that_is_to_be_kept(
    product: Product, context: Path, builders: Builders
) -> None:
    (context / "Dockerfile").write_text(FAILS)
    first = product.build("--keep", "--platform", "linux/amd64", str(context))
    assert first.code == 1
    assert "exit code: 7" in first.stderr
    assert builders.left() == [first.builder]
    (context / "Dockerfile").write_text(RECORDS_MACHINE)
    again = product.build("--builder", first.builder, "-o", "out", str(context), own_builder=False)
    assert again.code == 0, again.stderr
    assert (product.cwd / "out/machine").read_text() == "x86_64\n"
    removed = product.run("rm", "--namespace", first.builder, first.builder)
    assert (removed.code, removed.stdout.decode()) == (0, f"{first.builder} removed\n")
    assert builders.left() == []


def test_a_job_removes_beside_its_own_work_what_an_expired_one_of_its_account_has_left(
    product: Product, context: Path, builders: Builders, kube: KubeClient
) -> None:
    """The reaper that is in every job, with all else off: nobody calls reap, and the one that is left is an hour's."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    left = product.build("--keep", "-o", "out", str(context))
    assert left.code == 0, left.stderr
    path = f"/api/v1/namespaces/{left.builder}"
    kube.patch(path, {"metadata": {"annotations": {labels.EXPIRES: "2020-01-01T00:00:00Z"}}})
    # A job takes a few of those that have expired; on a shared cluster there may be others' first.
    for _ in range(5):
        run = product.build("-o", "out", str(context))
        assert run.code == 0, run.stderr
        if left.builder not in builders.left():
            break
    assert builders.left() == []
