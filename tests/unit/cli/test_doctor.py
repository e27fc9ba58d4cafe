"""What ``kube-builder doctor`` prints: a table with totals, JSON, or only the YAML that helps."""

from __future__ import annotations

import io
import json
from pathlib import Path

import yaml

from ci_buildx.builder.rbac import roles
from ci_buildx.cli.main import main
from ci_buildx.cli.process import ProcessContext
from tests.unit.memory_cluster import USER, MemoryCluster


def run(cluster: MemoryCluster, cwd: Path, *argv: str) -> tuple[int, str, str]:
    """Run doctor as a user of the cluster: its exit code and output."""
    file = cwd / "kubeconfig"
    file.write_text(cluster.kubeconfig)
    out, err = io.StringIO(), io.StringIO()
    around = ProcessContext(env={"KUBECONFIG": str(file)}, cwd=cwd, stdout=out, stderr=err, stdin=io.StringIO())
    return main(["doctor", *argv], around), out.getvalue(), err.getvalue()


def test_an_account_that_has_everything(memory_cluster: MemoryCluster, cwd: Path) -> None:
    code, out, _ = run(memory_cluster, cwd, "--no-probe")
    assert code == 0, "no storage class, no reaper and no user namespaces are warnings"
    assert "\nAll requirements of builds with a namespace of their own are met. Warnings: 3.\n" in out
    assert "This account cannot use" not in out
    assert "apiVersion" not in out


def test_the_table_ends_with_what_the_account_cannot_use(memory_cluster: MemoryCluster, cwd: Path) -> None:
    memory_cluster.allows = lambda asked: asked["namespace"] == "ci" and asked["group"] != "apps"
    code, out, _ = run(memory_cluster, cwd, "--no-probe", "--namespace", "ci")
    assert code == 0
    assert "All requirements of builds in the namespace ci are met." in out
    assert "apiVersion" not in out, "YAML is printed on request"
    said = out.partition("This account cannot use:\n")[2]
    assert (
        "  create, stop, scale, rm in namespace ci\n"
        "    missing: create, get, list, watch, patch, delete, deletecollection deployments.apps, statefulsets.apps\n"
        "    kube-builder doctor --mode namespace --namespace ci --fix\n"
        "  ls in all namespaces\n"
        "    missing: list deployments.apps, statefulsets.apps\n"
        "    kube-builder doctor --mode listing --fix\n"
    ) in said


def test_a_fix_is_only_yaml_for_this_account(memory_cluster: MemoryCluster, cwd: Path) -> None:
    memory_cluster.allows = lambda _: False
    code, out, err = run(memory_cluster, cwd, "--fix", "--namespace", "ci")
    assert (code, err) == (1, "")
    documents = [each for each in yaml.safe_load_all(out) if each]
    assert {each["kind"] for each in documents} == {
        *("Role", "RoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
    }
    bound = [each for each in documents if each["kind"] == "RoleBinding"]
    assert all(roles.make_account_label(USER) in each["metadata"]["name"] for each in bound)
    assert not memory_cluster.list_names("jobs"), "nothing is tried"


def test_a_fix_of_nothing_prints_nothing(memory_cluster: MemoryCluster, cwd: Path) -> None:
    code, out, err = run(memory_cluster, cwd, "--fix")
    assert (code, out) == (0, "")
    assert err == "kube-builder: warning: this account has all rights of mode jobs; there is nothing to apply\n"


def test_json_has_all_of_it(memory_cluster: MemoryCluster, cwd: Path) -> None:
    memory_cluster.allows = lambda asked: asked["verb"] not in ("bind", "delete")
    code, out, _ = run(memory_cluster, cwd, "--no-probe", "--format", "json")
    found = json.loads(out)
    assert (code, found["healthy"]) == (1, False)
    assert found["commands"][0] == {
        "commands": "build, with a namespace of its own",
        "namespace": "",
        "possible": False,
        "lack": ["bind clusterroles.rbac.authorization.k8s.io"],
    }
    assert "kind: ClusterRole" in found["fix"]
