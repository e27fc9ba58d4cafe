"""docs/rbac holds what the product's own table of rights says."""

import pytest
import yaml

from ci_buildx.builder.rbac import rights, roles
from ci_buildx.builder.rbac.rights import RightsMode
from ci_buildx.errors import InputError
from devcluster.accounts import sheet


@pytest.mark.parametrize("mode", RightsMode)
def test_each_file_is_the_products_own(mode: RightsMode) -> None:
    assert sheet(mode) == roles.render_roles(mode), "run make bundle"


def test_the_file_for_pods_is_the_products_own() -> None:
    assert sheet("confined-pods") == roles.render_confined_pods(), "run make bundle"


def test_the_reapers_schedule_is_the_products_own() -> None:
    assert sheet("reaper-cronjob") == roles.render_reaper_cronjob(), "run make bundle"
    (made,) = yaml.safe_load_all(roles.render_reaper_cronjob())
    assert made["spec"]["jobTemplate"]["spec"]["template"]["spec"]["serviceAccountName"] == rights.REAPER


@pytest.mark.parametrize("mode", RightsMode)
def test_the_yaml_says_what_is_meant(mode: RightsMode) -> None:
    assert list(yaml.safe_load_all(roles.render_roles(mode))) == roles.make_role_manifests(mode)


def test_no_role_holds_a_wildcard() -> None:
    rules = [rule for mode in RightsMode for each in roles.make_role_manifests(mode) for rule in each.get("rules", ())]
    assert rules
    for rule in rules:
        assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}


def test_a_namespace_of_the_users_own_is_written_into_its_sheet() -> None:
    made = roles.make_role_manifests(RightsMode.NAMESPACE, namespace="team-a")
    assert {each["metadata"].get("namespace", "team-a") for each in made} == {"team-a"}
    assert roles.EXAMPLE_NAMESPACE not in roles.render_roles(RightsMode.NAMESPACE, namespace="team-a")


@pytest.mark.parametrize("mode", [RightsMode.LISTING, RightsMode.LOOKING])
def test_what_one_namespaces_account_sees_of_the_cluster_is_bound_for_it_alone(mode: RightsMode) -> None:
    role, binding = roles.make_role_manifests(mode, namespace="team-a")
    assert binding["metadata"] == {"name": f"{role['metadata']['name']}.team-a"}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [each["namespace"] for each in binding["subjects"]] == ["team-a"]


def test_tunnels_are_allowed_by_servers_before_and_after_1_35() -> None:
    asked = {(each.verb, each.resource) for each in rights.list_questions(rights.BUILDING)}
    for tunnel in ("pods/exec", "pods/portforward"):
        assert {("get", tunnel), ("create", tunnel)} <= asked


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("alice", {"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}),
        ("system:serviceaccount:arc:runner", {"kind": "ServiceAccount", "name": "runner", "namespace": "arc"}),
    ],
)
def test_a_user_gets_the_rights_that_doctor_found_missing(user: str, subject: dict[str, str]) -> None:
    bound = [
        each for each in roles.make_role_manifests(RightsMode.NAMESPACE, user=user) if each["kind"] == "RoleBinding"
    ]
    assert [each["subjects"] for each in bound] == [[subject], [subject]]
    assert not [
        each for each in roles.make_role_manifests(RightsMode.JOBS, user=user) if each["kind"] == "ServiceAccount"
    ]
    assert f'request.userInfo.username == "{user}"' in " ".join(roles.render_roles(RightsMode.JOBS, user=user).split())


def test_an_account_that_the_fence_knows_already_is_not_named_in_it() -> None:
    made = roles.make_role_manifests(RightsMode.JOBS, user="system:serviceaccount:kube-builder:team-a")
    assert [each for each in made if each["kind"] != "ServiceAccount"] == [
        each for each in roles.make_role_manifests(RightsMode.JOBS) if each["kind"] != "ServiceAccount"
    ]


@pytest.mark.parametrize("name", ["unconfined", "host-access"])
def test_the_opt_outs_are_the_products_own(name: str) -> None:
    texts = {"unconfined": roles.render_unconfined(), "host-access": roles.render_host_access()}
    assert sheet(name) == texts[name], "run make bundle"


@pytest.mark.parametrize("text", [roles.render_unconfined("ci"), roles.render_host_access("ci")])
def test_an_opt_out_for_one_namespace_binds_its_account_there_and_nobody_elsewhere(text: str) -> None:
    role, binding = yaml.safe_load_all(text)
    assert (binding["kind"], binding["metadata"]["namespace"]) == ("RoleBinding", "ci")
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": role["metadata"]["name"],
    }
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "kube-builder", "namespace": "ci"}]


def test_the_reaper_is_where_no_stranger_can_have_made_the_namespace() -> None:
    made = roles.make_role_manifests(RightsMode.REAPER)
    assert "Namespace" not in {each["kind"] for each in made}
    (binding,) = (each for each in made if each["kind"] == "ClusterRoleBinding")
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "kube-builder-reaper", "namespace": "kube-system"}
    ]
    assert '"system:serviceaccount:kube-system:kube-builder-reaper"' in roles.render_roles(RightsMode.REAPER)
    assert "system:serviceaccounts:" not in roles.render_roles(RightsMode.REAPER)


@pytest.mark.parametrize("user", ["alice", "system:serviceaccount:arc:runner"])
def test_an_account_elsewhere_gives_nothing_to_whoever_made_the_namespace_of_accounts(user: str) -> None:
    text = roles.render_roles(RightsMode.JOBS, user=user)
    assert "Namespace" not in {each["kind"] for each in roles.make_role_manifests(RightsMode.JOBS, user=user)}
    assert "kube-builder:jobs" not in text
    assert "system:serviceaccounts:kube-builder" not in text


def _by_name(mode: RightsMode, user: str) -> dict[tuple[str, str], object]:
    return {(each["kind"], each["metadata"]["name"]): each for each in roles.make_role_manifests(mode, user=user)}


@pytest.mark.parametrize("mode", RightsMode)
def test_what_is_applied_for_a_second_account_changes_nothing_of_the_firsts(mode: RightsMode) -> None:
    first, second = (_by_name(mode, user) for user in ("system:serviceaccount:arc:runner", "alice"))
    plain = _by_name(mode, "")
    for one, other in ((first, second), (first, plain), (second, plain)):
        shared = one.keys() & other.keys()
        assert {key: one[key] for key in shared} == {key: other[key] for key in shared}


def test_names_of_users_that_look_alike_differ() -> None:
    assert roles.make_account_label("a.b") != roles.make_account_label("a-b")
    assert len(roles.make_account_label("x" * 300)) <= 49


def _list_cluster_objects(mode: RightsMode, namespace: str, user: str = "") -> set[tuple[str, str]]:
    """Kind and name of what is applied for one account, outside of namespaces."""
    return {
        (each["kind"], each["metadata"]["name"])
        for each in roles.make_role_manifests(mode, namespace=namespace, user=user)
        if "namespace" not in each["metadata"] and each["kind"] != "ClusterRole"
    }


@pytest.mark.parametrize("mode", [RightsMode.NAMESPACE, RightsMode.LISTING, RightsMode.LOOKING])
def test_no_namespaces_name_leads_to_the_objects_of_another_account(mode: RightsMode) -> None:
    user = "system:serviceaccount:arc:runner"
    part = roles.make_account_label(user)
    theirs = _list_cluster_objects(mode, "ci", user) | _list_cluster_objects(RightsMode.JOBS, "ci", user)
    for namespace in (part, f"ci-{part}", f"jobs-{part}", f"pods-{part}"):
        assert not theirs & _list_cluster_objects(mode, namespace)


def test_the_reaper_may_be_placed_in_a_namespace_that_is_the_administrators() -> None:
    made = roles.make_reaper_manifests("ops")
    assert [each["metadata"]["name"] for each in made if each["kind"] == "Namespace"] == ["ops"]
    (account,) = (each for each in made if each["kind"] == "ServiceAccount")
    assert account["metadata"] == {"name": "kube-builder-reaper", "namespace": "ops"}
    (binding,) = (each for each in made if each["kind"] == "ClusterRoleBinding")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "kube-builder-reaper", "namespace": "ops"}]
    text = roles.render_reaper_roles("ops")
    assert list(yaml.safe_load_all(text)) == made
    assert '"system:serviceaccount:ops:kube-builder-reaper"' in " ".join(text.split())
    assert "kube-system" not in text
    assert "First run `kubectl create namespace ops`" in text
    (schedule,) = yaml.safe_load_all(roles.render_reaper_cronjob("ops"))
    assert schedule["metadata"]["namespace"] == "ops"


@pytest.mark.parametrize("name", ["kube-builder", "kube-builder-system", "kube-builder-reaper"])
def test_the_reaper_is_in_no_namespace_that_jobs_may_create(name: str) -> None:
    with pytest.raises(InputError, match="is not allowed for the reaper"):
        roles.render_reaper_roles(name)


def test_the_reaper_in_its_usual_place_is_the_file() -> None:
    assert roles.render_reaper_roles(roles.SYSTEM) == sheet("reaper")
