"""`kube-builder doctor` as users with more and fewer rights run it."""

from __future__ import annotations

import json
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx.builder import labels
from ci_buildx.builder.rbac import rights, roles
from ci_buildx.errors import Forbidden
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.config import ClusterAccess
from ci_buildx.manage import trial_builder
from devcluster import accounts, layout, namespaces, versions
from devcluster.accounts import Account
from tests.e2e.cluster import OURS
from tests.e2e.product import Product

NEVER = "0 0 31 2 *"
NOWHERE = "198.18.255.255:1"
REACHES = ("direct", "port-forward", "exec")


@pytest.fixture
def nobody(kube: KubeClient, cluster: ClusterAccess, namespace: str, tmp_path: Path) -> Iterator[Account]:
    """An account that may do nothing."""
    with accounts.outsider(kube, cluster, namespace, f"nobody-{secrets.token_hex(4)}", tmp_path) as account:
        yield account


class Report:
    """What doctor printed as JSON."""

    def __init__(self, product: Product, *options: str) -> None:
        run = product.run("doctor", "--format", "json", "--buildkitd-config", str(product.config), *options)
        assert run.stdout, run.stderr
        shown = json.loads(run.stdout)
        self.code = run.code
        self.healthy: bool = shown["healthy"]
        self.apply: str = shown["apply"]
        self.findings: list[dict[str, Any]] = shown["findings"]

    def status(self, check: str, subject: str = "", said: str = "") -> list[str]:
        """The statuses of a check, in order."""
        return [
            each["status"]
            for each in self.findings
            if each["check"] == check and subject in each["subject"] and said in each["detail"]
        ]


@contextmanager
def enforcing(kube: KubeClient, namespace: str) -> Iterator[None]:
    """Do what a network that enforces policies does for the one of doctor: nothing comes through to the closed pod."""
    cluster = layout.cluster()
    rules: list[list[str]] = []
    stop = threading.Event()

    def firewall(action: str, rule: list[str]) -> None:
        command = [*namespaces.enter(cluster), "iptables", "--wait", action, "FORWARD", *rule]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def close() -> None:
        pods = f"/api/v1/namespaces/{namespace}/pods"
        deadline, closed = time.monotonic() + 120, f"{trial_builder.ROLE}={trial_builder.CLOSED}"
        for event in kube.watch(pods, deadline=deadline, stop=stop, labelSelector=closed):
            address = (event.object.get("status") or {}).get("podIP")
            if address and not rules:
                rules.append(["--destination", address, "--jump", "DROP"])
                firewall("--insert", rules[0])

    thread = threading.Thread(target=close, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        for rule in rules:
            firewall("--delete", rule)


def take_away(kube: KubeClient, account: Account, *namespaces: str) -> None:
    """Delete what is one account's own, as docs/rbac/README.md says; in ``namespaces``, too."""
    own = f"{roles.ACCOUNT_LABEL}={roles.make_account_label(account.user)}"
    admission = "/apis/admissionregistration.k8s.io/v1"
    for path in (
        *(f"{accounts.RBAC}/namespaces/{name}/rolebindings" for name in namespaces),
        f"{accounts.RBAC}/clusterrolebindings",
        f"{admission}/validatingadmissionpolicybindings",
        f"{admission}/validatingadmissionpolicies",
    ):
        kube.delete(path, labelSelector=own)


def is_held(kube: KubeClient, namespace: str) -> bool:
    """Whether both policies of an account's sheet are in force: they refuse by name what they should."""
    pod = {"containers": [{"name": "main", "image": "busybox"}], "restartPolicy": "Never"}
    for metadata, spec, said in (
        ({"name": "tried"}, {**pod, "hostPID": True}, "hostPID"),
        ({"name": "tried", "finalizers": ["a.example/b"]}, pod, "finalizers"),
    ):
        body = {"metadata": metadata, "spec": {"template": {"spec": spec}}}
        try:
            kube.create(f"/apis/batch/v1/namespaces/{namespace}/jobs", body, dryRun="All")
        except Forbidden as refusal:
            if said in refusal.message:
                continue
        return False
    return True


def wait_until_let_in(account: Account, namespace: str) -> None:
    """A Role, its binding and each policy reach the API server's memory one by one."""
    accounts.wait(lambda: account.has(rights.RightsMode.NAMESPACE, namespace))
    accounts.wait(lambda: account.has(rights.RightsMode.LOOKING))
    with account.client() as client:
        accounts.wait(lambda: is_held(client, namespace))


def left(kube: KubeClient, account: Account) -> list[str]:
    """Namespaces that doctors of this account have left to the cluster."""
    found = kube.list("/api/v1/namespaces", labelSelector=OURS)["items"]
    return [
        item["metadata"]["name"]
        for item in found
        if labels.read_creator(item) == account.user
        and item["metadata"]["annotations"].get(labels.REPOSITORY) == "doctor"
        and not item["metadata"].get("deletionTimestamp")
    ]


def test_a_jobs_account_has_all_that_a_build_needs(product: Product, kube: KubeClient, job_account: Account) -> None:
    good = product.env["REGISTRY"]
    report = Report(product, good)
    assert (report.code, report.healthy) == (0, True), report.findings
    assert set(report.status("rights")) == {"ok"}
    assert report.status("policy") == ["ok"]
    assert report.status("opt-outs", said="you have unconfined (privileged pods") == ["ok"]
    version = versions.read(layout.cluster())
    verb = "get" if int(version.partition(".")[2]) < 35 else "create"
    assert report.status("server", said=f"{version}, tunnels require the verb {verb}") == ["ok"]
    assert report.status("architectures", said="amd64 on 1 node, arm64 on 1 node") == ["ok"]
    assert report.status("user namespaces") == ["ok"]
    assert report.status("runtime handlers", said="runc on 2 nodes, the default on 2 nodes") == ["ok"]
    assert report.status("pod security", said="enforce=privileged by the job") == ["ok"]
    assert report.status("storage classes", said="standard (default)") == ["ok"]
    assert report.status("builder", said="was ready after") == ["ok"]
    assert report.status("isolation", said="root in the pod is an unprivileged user on its cluster node") == ["ok"]
    assert [report.status("transport", each) for each in REACHES] == [["ok"]] * 3
    assert report.status("registry", good, "from here") == report.status("registry", good, "from a pod") == ["ok"]
    # The devcluster's bridge enforces nothing; that it would be noticed is shown below.
    assert report.status("network policy", said="not enforced") == ["warning"]
    assert left(kube, job_account) == []


def test_the_reaper_is_seen_and_its_yaml_is_printed_where_there_is_none(
    product: Product, kube: KubeClient, namespace: str
) -> None:
    def report() -> Report:
        return Report(product, "--no-probe")

    without = report()
    assert without.status("reaper", said="not installed: only each job's own sweep") == ["warning"]
    assert without.apply == accounts.sheet("reaper") + accounts.sheet("reaper-cronjob")
    schedules = f"/apis/batch/v1/namespaces/{roles.SYSTEM}/cronjobs"
    manifest = yaml.safe_load(accounts.sheet("reaper-cronjob").replace("*/5 * * * *", NEVER))
    kube.create(schedules, manifest)
    try:
        installed = report()
        assert installed.status("reaper", said=f'in namespace {roles.SYSTEM} runs at "{NEVER}"') == ["ok"]
        assert installed.apply == ""
        kube.patch(f"{schedules}/{rights.REAPER}", {"spec": {"suspend": True}})
        assert report().status("reaper", said="it is suspended") == ["warning"]
    finally:
        kube.delete(f"{schedules}/{rights.REAPER}")


@pytest.fixture
def overseer(kube: KubeClient, cluster: ClusterAccess, namespace: str, tmp_path: Path) -> Iterator[Account]:
    """An account that may read what an administrator's doctor reads, and what each account may do."""
    name = f"overseer-{secrets.token_hex(4)}"
    admission = "admissionregistration.k8s.io"
    rules = [
        ("", ["namespaces"], ["get"]),
        ("batch", ["cronjobs"], ["list"]),
        (rights.RBAC_GROUP, ["rolebindings"], ["list"]),
        (rights.RBAC_GROUP, ["roles", "clusterroles"], ["get"]),
        (admission, ["validatingadmissionpolicies"], ["get"]),
        ("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
    ]
    made = [{"apiGroups": [group], "resources": names, "verbs": verbs} for group, names, verbs in rules]
    role = {"apiGroup": rights.RBAC_GROUP, "kind": "ClusterRole", "name": name}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    with accounts.outsider(kube, cluster, namespace, name, tmp_path) as account:
        kube.create(f"{accounts.RBAC}/clusterroles", {"metadata": {"name": name}, "rules": made})
        binding = {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]}
        kube.create(f"{accounts.RBAC}/clusterrolebindings", binding)
        try:
            accounts.wait(lambda: account.may("create", "authorization.k8s.io", "subjectaccessreviews", ""))
            yield account
        finally:
            kube.delete(f"{accounts.RBAC}/clusterrolebindings/{name}")
            kube.delete(f"{accounts.RBAC}/clusterroles/{name}")


@contextmanager
def squatted(kube: KubeClient, namespace: str, subject: str) -> Iterator[None]:
    """A stranger is administrator of one namespace."""
    path = f"{accounts.RBAC}/namespaces/{namespace}/rolebindings"
    role = {"apiGroup": rights.RBAC_GROUP, "kind": "ClusterRole", "name": "admin"}
    who = {"apiGroup": rights.RBAC_GROUP, "kind": "User", "name": subject}
    kube.create(path, {"metadata": {"name": subject}, "roleRef": role, "subjects": [who]})
    try:
        yield
    finally:
        kube.delete(f"{path}/{subject}")


def test_who_acts_as_jobs_accounts_is_shown_to_an_administrator(
    product: Product, kube: KubeClient, overseer: Account, job_account: Account
) -> None:
    looking = product.with_env(KUBECONFIG=str(overseer.kubeconfig))
    stranger = f"mallory-{secrets.token_hex(4)}"
    assert Report(looking, "--no-probe").status("accounts", roles.ACCOUNTS, "no RoleBinding lets anyone") == ["ok"]
    with squatted(kube, roles.ACCOUNTS, stranger):
        found = Report(looking, "--no-probe")
        assert found.status("accounts", roles.ACCOUNTS, f"RoleBinding {stranger} lets User {stranger} ") == ["warning"]
        # Accounts of jobs cannot read it.
        assert Report(product, "--no-probe").status("accounts") == ["unknown"]


def test_a_reaper_elsewhere_is_placed_checked_and_believed_only_if_it_deletes(
    product: Product, kube: KubeClient, overseer: Account, job_account: Account
) -> None:
    space, stranger = f"reaper-{secrets.token_hex(4)}", f"mallory-{secrets.token_hex(4)}"
    looking = product.with_env(KUBECONFIG=str(overseer.kubeconfig))
    sheets = [product.run("doctor", "--roles", name, "--namespace", space) for name in ("reaper", "reaper-cronjob")]
    assert [each.code for each in sheets] == [0, 0]
    objects, (schedule,) = (list(yaml.safe_load_all(each.stdout)) for each in sheets)
    schedules = f"/apis/batch/v1/namespaces/{space}/cronjobs"
    schedule["spec"]["schedule"] = NEVER
    unable = schedule["metadata"] | {"namespace": space}
    kube.create("/api/v1/namespaces", {"metadata": {"name": space}})
    try:
        kube.create(schedules, {**schedule, "metadata": unable})
        said = f"CronJob {space}/{rights.REAPER} deletes nothing"
        assert Report(looking, "--no-probe").status("reaper", said=said) == ["warning"]
        assert Report(product, "--no-probe").status("reaper", said="anyone could have made it there") == ["unknown"]
        # The policy and the role of the reaper in kube-system stay as they are: others' tests need them.
        (binding,) = (each for each in objects if each["kind"] == "ClusterRoleBinding")
        accounts.apply(kube, yaml.safe_dump_all([each for each in objects if each["kind"] == "ClusterRole"]))
        own = {**binding, "metadata": {"name": space}}
        kube.create(f"{accounts.RBAC}/clusterrolebindings", own)
        try:
            user = f"system:serviceaccount:{space}:{rights.REAPER}"
            accounts.wait(lambda: accounts.may(kube, user, "delete", "", "namespaces", ""))
            said = f'in namespace {space} runs at "{NEVER}"'
            assert Report(looking, "--no-probe").status("reaper", said=said) == ["ok"]
            with squatted(kube, space, stranger):
                found = Report(looking, "--mode", "reaper", "--namespace", space)
                assert found.status("accounts", space, f"RoleBinding {stranger} lets User {stranger} ") == ["warning"]
            found = Report(looking, "--mode", "reaper", "--namespace", space)
            assert found.status("accounts", space, "no RoleBinding lets anyone") == ["ok"]
        finally:
            kube.delete(f"{accounts.RBAC}/clusterrolebindings/{space}")
    finally:
        kube.delete(f"{schedules}/{rights.REAPER}")
        kube.delete(f"/api/v1/namespaces/{space}")


@pytest.mark.parametrize("mode", ["reaper", "reaper-cronjob"])
def test_the_reaper_is_not_placed_where_jobs_may_create_namespaces(product: Product, mode: str) -> None:
    refused = product.run("doctor", "--roles", mode, "--namespace", "kube-builder-system")
    assert (refused.code, refused.stdout) == (2, b"")
    assert "'kube-builder-system' is not safe for the reaper" in refused.stderr


@pytest.mark.parametrize("mode", ["reaper", "reaper-cronjob"])
def test_the_namespace_of_builds_is_not_the_reapers(product: Product, mode: str) -> None:
    printed = product.with_env(KUBE_BUILDER_NAMESPACE="ci-builds").run("doctor", "--roles", mode)
    assert printed.stdout.decode() == accounts.sheet(mode)


def test_a_registry_that_is_not_reached_is_missed_from_here_and_from_a_pod(
    product: Product, kube: KubeClient, job_account: Account
) -> None:
    shown = product.run("doctor", "--buildkitd-config", str(product.config), NOWHERE, "nowhere.invalid")
    assert shown.code == 1
    lines = [line for line in shown.stdout.decode().splitlines() if line.startswith("registry ")]
    assert [line.split()[1] for line in lines] == ["missing"] * 4
    assert "nowhere.invalid: from here: no answer from nowhere.invalid" in lines[1]
    assert "nowhere.invalid: from a pod: bad address 'nowhere.invalid'" in lines[3]
    assert b"\n\nMissing: 4. Warnings: 2.\n" in shown.stdout
    server = f"server           ok       Kubernetes {versions.read(layout.cluster())}"
    assert shown.stdout.startswith(f"CHECK            STATUS   DETAIL\n{server}".encode())
    assert left(kube, job_account) == []


def test_what_is_missing_is_said_and_the_yaml_gives_it(
    product: Product, nobody: Account, kube: KubeClient, namespace: str
) -> None:
    user = product.with_env(KUBECONFIG=str(nobody.kubeconfig))
    before = Report(user, "--namespace", namespace)
    assert (before.code, before.healthy) == (1, False)
    assert "missing" in before.status("rights", "jobs.batch", "not create, get, list, patch, delete, deletecollection")
    assert before.status("rights", "pods/portforward, pods/exec", "not get, create: tunnels") == ["missing"]
    assert before.status("rights", "configmaps cluster-autoscaler-status", "not get") == ["warning"]
    assert before.status("builder") == []
    accounts.apply(kube, before.apply)
    try:
        wait_until_let_in(nobody, namespace)
        after = Report(user, "--namespace", namespace)
    finally:
        take_away(kube, nobody, namespace)
        kube.delete(f"{accounts.RBAC}/clusterroles/{roles.LOOKING}")
    assert (after.code, after.healthy) == (0, True), after.findings
    assert set(after.status("rights")) == {"ok"}
    assert after.status("opt-outs", said=f"doctor --roles unconfined --namespace {namespace}") == ["ok"]
    assert after.status("architectures", said="amd64 on 1 node") == ["ok"]
    assert after.status("isolation", said="root in the pod is an unprivileged user on its cluster node") == ["ok"]
    assert after.apply == accounts.sheet("reaper") + accounts.sheet("reaper-cronjob")
    for path in (f"/apis/batch/v1/namespaces/{namespace}/jobs", f"/api/v1/namespaces/{namespace}/secrets"):
        assert kube.list(path, labelSelector=OURS)["items"] == []


def test_a_build_that_is_refused_leads_to_doctor_and_doctor_to_the_roles(
    product: Product, nobody: Account, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    user = product.with_env(KUBECONFIG=str(nobody.kubeconfig))
    run = user.build("-o", "out", str(tmp_path))
    assert run.code == 1
    assert run.stderr.splitlines()[-1] == (
        f'ERROR: user "{nobody.user}" may not create namespaces in the whole cluster; bind a ClusterRole with the verb '
        '"create" on namespaces to that user; kube-builder doctor shows all that is missing'
    )
    report = Report(user)
    assert report.code == 1
    assert report.status("rights", "namespaces", "not create, get") == ["missing"]
    assert f'request.userInfo.username == "{nobody.user}"' in " ".join(report.apply.split())


@pytest.mark.parametrize("first", [0, 1])
def test_accounts_side_by_side_have_rights_of_their_own(
    first: int,
    product: Product,
    nobody: Account,
    kube: KubeClient,
    cluster: ClusterAccess,
    namespace: str,
    tmp_path: Path,
) -> None:
    with accounts.outsider(kube, cluster, namespace, f"second-{secrets.token_hex(4)}", tmp_path) as second:
        pair = [nobody, second]
        users = {each.name: product.with_env(KUBECONFIG=str(each.kubeconfig)) for each in pair}
        try:
            for each in (pair[first], pair[1 - first]):
                accounts.apply(kube, Report(users[each.name], "--no-probe").apply)
            for each in pair:
                accounts.wait(lambda each=each: each.may("create", "", "namespaces", ""))  # type: ignore[misc]
                accounts.wait(each.is_fenced)
                report = Report(users[each.name], "--no-probe")
                assert (report.code, report.status("policy")) == (0, ["ok"]), report.findings
            take_away(kube, pair[0])
            accounts.wait(lambda: not pair[0].may("create", "", "namespaces", ""))
            assert pair[1].is_fenced()
            kept = Report(users[pair[1].name])
            assert (kept.code, kept.status("builder")) == (0, ["ok"]), kept.findings
        finally:
            for each in pair:
                take_away(kube, each)


def test_accounts_side_by_side_in_one_namespace(
    product: Product, nobody: Account, kube: KubeClient, cluster: ClusterAccess, namespace: str, tmp_path: Path
) -> None:
    """The second one's YAML takes nothing from the first, and the end of one takes nothing from the other."""
    with accounts.outsider(kube, cluster, namespace, f"second-{secrets.token_hex(4)}", tmp_path) as second:
        pair = [nobody, second]
        users = {each.name: product.with_env(KUBECONFIG=str(each.kubeconfig)) for each in pair}

        def report(account: Account) -> Report:
            return Report(users[account.name], "--no-probe", "--namespace", namespace)

        try:
            for each in pair:
                accounts.apply(kube, report(each).apply)
            for each in pair:
                wait_until_let_in(each, namespace)
                assert report(each).code == 0
            take_away(kube, nobody, namespace)
            accounts.wait(lambda: not nobody.may("create", "batch", "jobs", namespace))
            wait_until_let_in(second, namespace)
            assert report(second).code == 0
        finally:
            for each in pair:
                take_away(kube, each, namespace)
            kube.delete(f"{accounts.RBAC}/clusterroles/{roles.LOOKING}")


def test_a_namespace_that_admits_no_privileged_pods_is_named(
    product: Product, kube: KubeClient, job_account: Account
) -> None:
    name = f"tests-{secrets.token_hex(4)}"
    levels = {"pod-security.kubernetes.io/enforce": "baseline"}
    kube.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": levels}})
    try:
        job_account.let_into(name)
        report = Report(product, "--namespace", name)
    finally:
        kube.delete(f"/api/v1/namespaces/{name}")
    assert report.code == 1
    assert report.status("pod security", name, "enforces baseline") == ["missing"]
    assert report.status("builder", said='PodSecurity: pods "') == ["missing"]


def test_an_account_that_no_policy_holds_is_noticed(product: Product, stray: Account) -> None:
    report = Report(product.with_env(KUBECONFIG=str(stray.kubeconfig)), "--no-probe")
    assert report.code == 1
    assert report.status("policy", said="you can create any namespace") == ["missing"]
    assert f'request.userInfo.username == "{stray.user}"' in " ".join(report.apply.split())


def test_a_network_that_enforces_policies_is_noticed(
    product: Product, kube: KubeClient, tenant: Account, namespace: str
) -> None:
    with enforcing(kube, namespace):
        report = Report(product.with_env(KUBECONFIG=str(tenant.kubeconfig)), "--namespace", namespace)
    assert report.code == 0, report.findings
    assert report.status("network policy", said="enforced: an isolated pod was not reached (timed out)") == ["ok"]


def test_a_reapers_account_has_what_it_needs_and_no_more(product: Product, reaper_account: Account) -> None:
    user = product.with_env(KUBECONFIG=str(reaper_account.kubeconfig))
    report = Report(user, "--mode", "reaper")
    assert (report.code, report.status("builder"), report.status("architectures")) == (0, [], [])
    assert set(report.status("rights")) == {"ok"}
    assert Report(user, "--no-probe").code == Report(product, "--mode", "reaper").code == 1


def test_only_asking_makes_nothing(product: Product, kube: KubeClient) -> None:
    report = Report(product, "--no-probe")
    assert (report.code, report.status("builder"), report.status("transport")) == (0, [], [])
    missing = product.run("doctor", "--no-probe", "--namespace", "never-was")
    assert missing.code == 1


def test_roles_are_printed_for_the_namespace_that_is_named(product: Product) -> None:
    for name in sorted(path.stem for path in accounts.SHEETS.glob("*.yaml")):
        assert product.run("doctor", "--roles", name).stdout.decode() == accounts.sheet(name)
    own = product.run("doctor", "--roles", "namespace", "--namespace", "team-a").stdout.decode()
    assert own == accounts.sheet("namespace").replace("ci-builds", "team-a")
    for wrong in (["--roles", "everything"], ["--format", "xml"], ["--mode", "build"]):
        refused = product.run("doctor", *wrong)
        assert (refused.code, refused.stdout) == (2, b"")
        assert refused.stderr.startswith(f"kube-builder: error: {wrong[0]}: unknown value '{wrong[1]}'; known: ")
