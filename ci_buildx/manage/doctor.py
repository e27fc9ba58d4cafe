"""The `doctor` command: check that a cluster has everything that builds need.

It mostly reads; the few objects that it creates are deleted again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ci_buildx.builder.manifests import buildkitd
from ci_buildx.builder.rbac import admission_policies, checks, rights, roles
from ci_buildx.builder.rbac.checks import CheckResult, CheckStatus
from ci_buildx.builder.rbac.rights import AccessQuestion, RightsMode, RoleRule
from ci_buildx.errors import Forbidden, InputError, KubeError, NotFound, RegistryError
from ci_buildx.kube.client import KubeClient, make_kube_client
from ci_buildx.manage import trial_builder
from ci_buildx.model.record import dataclass, field
from ci_buildx.registry import credentials
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.values import ClusterSettings

T = TypeVar("T")

_AT_ONCE = 8
_REGISTRY_PATIENCE = 5.0
_JOBS_POLICY = "kube-builder-jobs"
_JOB_NAME = "batch.kubernetes.io/job-name"
"""Label of a Job's pods (Kubernetes 1.27 and later)."""
_FOREIGN = {"metadata": {"name": "not-called-as-a-builders", "annotations": {}}}
"""A namespace that admission policies must not let a confined account create."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorRequest:
    """What to check: the rights of ``mode``, builders with these settings, and ``registries`` by host.

    With ``probe``, doctor also creates a trial builder and probe pods.
    """

    mode: RightsMode
    builder: BuilderSettings
    registries: tuple[str, ...] = ()
    probe: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAbility:
    """Whether this account can use some commands in ``namespace`` ("" for the whole cluster): what they ``lack``.

    ``mode`` is the one whose roles grant it.
    """

    commands: str
    namespace: str
    lack: tuple[str, ...]
    mode: RightsMode


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """The findings in the order of the checks.

    ``apply`` is the YAML for all that is missing, optional parts too, "" for nothing; ``fix`` only what grants this
    account the rights of the mode. ``commands`` are those that this account can use, and what the others lack.
    """

    findings: tuple[CheckResult, ...]
    apply: str = ""
    fix: str = ""
    commands: tuple[CommandAbility, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether nothing required is missing."""
        return all(finding.status is not CheckStatus.MISSING for finding in self.findings)


def run_doctor(
    cluster: ClusterSettings,
    wishes: DoctorRequest,
    *,
    env: Mapping[str, str],
    tell: Callable[[CheckResult], None] = lambda _: None,
) -> DoctorReport:
    """Run all checks. ``tell`` is called with each finding as it is made.

    Objects created for the checks are removed, even after an error or a signal. Raises KubeError if the cluster cannot
    be queried.
    """
    with make_kube_client(cluster, env=env) as kube:
        look = _DoctorRun(kube=kube, wishes=wishes, tell=tell)
        look.check_cluster()
        look.check_rights()
        for registry in wishes.registries:
            look.add(check_registry_from_here(registry, wishes.builder, env))
        if wishes.probe and wishes.mode in (RightsMode.NAMESPACE, RightsMode.JOBS) and look.can_build:
            for finding in trial_builder.examine_cluster(kube, wishes.builder, wishes.registries):
                look.add(finding)
            if not look.can_build:
                look.add_sheet()
        commands = tuple(look.judge_commands())
    return DoctorReport(
        findings=tuple(look.findings), apply="".join(look.sheets.values()), fix=look.render_fix(), commands=commands
    )


@dataclass(slots=True)
class _DoctorRun:
    """One run of the checks. ``sheets`` is the YAML to apply, by mode; ``lacks``: rights of the mode are missing."""

    kube: KubeClient
    wishes: DoctorRequest
    tell: Callable[[CheckResult], None]
    findings: list[CheckResult] = field(default_factory=list)
    sheets: dict[RightsMode, str] = field(default_factory=dict)
    user: str = ""
    lacks: bool = False

    def add(self, finding: CheckResult) -> None:
        """Record a finding and report it."""
        self.findings.append(finding)
        self.tell(finding)

    @property
    def can_build(self) -> bool:
        """Whether a trial build makes sense."""
        return all(
            each.status is not CheckStatus.MISSING for each in self.findings if each.topic in ("rights", "policy")
        )

    def check_cluster(self) -> None:
        """Check everything that does not depend on the user's rights."""
        self.user = admission_policies.ask_user_name(self.kube)
        self.add(checks.check_server(self.kube.read_server_version(), self.user))
        if self.wishes.mode is not RightsMode.REAPER:
            self._check_nodes_and_storage()
        schedules = self._list_or_none("/apis/batch/v1/cronjobs", fieldSelector=f"metadata.name={rights.REAPER}")
        elsewhere = {each["metadata"].get("namespace", ""): each for each in schedules or ()}
        able = {name: self._is_able_reaper(each) for name, each in elsewhere.items() if name != roles.SYSTEM}
        pods = {name: self._list_pods_of(each) for name, each in elsewhere.items()}
        finding = checks.check_reaper(schedules, able, pods)
        self.add(finding)
        if finding.status is CheckStatus.WARNING and not elsewhere:
            self.sheets[RightsMode.REAPER] = roles.render_roles(RightsMode.REAPER) + roles.render_reaper_cronjob()

    def _check_nodes_and_storage(self) -> None:
        nodes = self._list_or_none("/api/v1/nodes")
        for judge in (checks.check_architectures, checks.check_runtime_handlers, checks.check_user_namespaces):
            self.add(judge(nodes))
        self.add(checks.check_storage(self._list_or_none("/apis/storage.k8s.io/v1/storageclasses")))

    def check_rights(self) -> None:
        """Check the user's rights in the requested mode."""
        match self.wishes.mode:
            case RightsMode.NAMESPACE:
                self._check_namespace(self.wishes.builder.namespace)
                if not self._ask(rights.LOOKING, optional=True):
                    self.add_sheet(RightsMode.LOOKING)
            case RightsMode.JOBS:
                self.add(checks.check_own_pod_security(buildkitd.choose_pod_security(self.wishes.builder)))
                self._check_job_namespaces()
                self._ask((*rights.LOOKING, *rights.SWEEPING))
                self._check_accounts(roles.ACCOUNTS, _JOBS_POLICY)
            case RightsMode.REAPER:
                self._ask(rights.REAPING)
                if self.wishes.builder.namespace:
                    self._check_accounts(self.wishes.builder.namespace, rights.REAPER)
            case RightsMode.LISTING:
                self._ask(rights.LISTING)
            case RightsMode.LOOKING:
                self._ask(rights.LOOKING)

    def _check_namespace(self, name: str) -> None:
        try:
            found = self.kube.get(f"/api/v1/namespaces/{name}")
        except NotFound:
            detail = f"namespace {name!r} not found; create it or omit --namespace"
            self.add(CheckResult(topic="rights", subject=name, status=CheckStatus.MISSING, detail=detail))
            return
        except Forbidden:
            found = None
        self.add(checks.check_pod_security(found, rootless=self.wishes.builder.rootless))
        self._ask((*rights.BUILDING, *rights.KEEPING), name)
        self._check_opt_outs(name)

    def _check_job_namespaces(self) -> None:
        everywhere = (*rights.ENTERING[:1], *rights.LEAVING, *rights.BUILDING)
        answers = self._ask_all(rights.list_questions(everywhere))
        if all(allowed for question, allowed in answers.items() if question.vital):
            detail = (
                "you have all of these permissions in every namespace: more than "
                "a job requires, see docs/rbac/jobs.yaml"
            )
            self.add(CheckResult(topic="rights", subject="namespaces of jobs", status=CheckStatus.OK, detail=detail))
            return
        self._ask(rights.ENTERING)
        self._check_opt_outs()
        if self.can_build:
            self._check_admission_policies()

    def _list_pods_of(self, schedule: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
        """Return the pods of a CronJob's Jobs, None if reading them is forbidden."""
        path = f"/api/v1/namespaces/{schedule['metadata'].get('namespace', '')}/pods"
        pods = self._list_or_none(path, labelSelector=_JOB_NAME)
        begin = f"{schedule['metadata']['name']}-"
        return pods and [pod for pod in pods if pod["metadata"]["labels"].get(_JOB_NAME, "").startswith(begin)]

    def _is_able_reaper(self, schedule: Mapping[str, Any]) -> bool | None:
        """Return whether the account of a CronJob may delete namespaces, None if this user may not ask."""
        namespace = schedule["metadata"].get("namespace", "")
        pod: Mapping[str, Any] = schedule
        for part in ("spec", "jobTemplate", "spec", "template", "spec"):
            pod = pod.get(part) or {}
        account = pod.get("serviceAccountName") or "default"
        prefix, api = "system:serviceaccount", "authorization.k8s.io/v1"
        spec = {
            "user": f"{prefix}:{namespace}:{account}",
            "groups": [f"{prefix}s", f"{prefix}s:{namespace}", "system:authenticated"],
            "resourceAttributes": {"verb": "delete", "resource": "namespaces"},
        }
        review = {"apiVersion": api, "kind": "SubjectAccessReview", "spec": spec}
        try:
            return bool(self.kube.create(f"/apis/{api}/subjectaccessreviews", review).get("status", {}).get("allowed"))
        except Forbidden:
            return None

    def _check_accounts(self, name: str, policy: str) -> None:
        """Check who can act as the accounts of a namespace; only an administrator can read that."""
        namespace = self._get_or_none(f"/api/v1/namespaces/{name}")
        made = self._get_or_none(f"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{policy}")
        is_inside = self.user.startswith(f"system:serviceaccount:{name}:")
        if namespace is None or (made is None and self.wishes.mode is RightsMode.JOBS and not is_inside):
            return
        path = f"/apis/{rights.RBAC_GROUP}/v1"
        bindings = self._list_or_none(f"{path}/namespaces/{name}/rolebindings")
        granted = None if bindings is None else [self._read_role(each, name) for each in bindings]
        for finding in checks.check_accounts(namespace, granted, made):
            self.add(finding)

    def _read_role(self, binding: Mapping[str, Any], namespace: str) -> checks.GrantedRole:
        role = binding["roleRef"]
        place = "" if role["kind"] == "ClusterRole" else f"/namespaces/{namespace}"
        path = f"/apis/{rights.RBAC_GROUP}/v1{place}/{role['kind'].lower()}s/{role['name']}"
        try:
            rules = self.kube.get(path).get("rules") or ()
        except NotFound:
            rules = ()
        except Forbidden:
            rules = None
        return checks.GrantedRole(binding=binding, rules=rules)

    def _check_admission_policies(self) -> None:
        """Check that the admission policies confine the account to its own namespaces.

        Needed for an account that may create namespaces and bind a role.
        """
        try:
            self.kube.create("/api/v1/namespaces", _FOREIGN, dryRun="All")
        except Forbidden:
            detail = "you are restricted to your own namespaces"
            self.add(CheckResult(topic="policy", subject=rights.INSIDE, status=CheckStatus.OK, detail=detail))
            return
        detail = "you can create any namespace: the admission policies that restrict a job to its own are not in force"
        self.add(CheckResult(topic="policy", subject=rights.INSIDE, status=CheckStatus.MISSING, detail=detail))
        self.add_sheet()

    def _check_opt_outs(self, namespace: str = "") -> None:
        """Check whether RBAC exempts this user from pod rules of the admission policies."""
        unconfined, host_access = (
            self._may(
                AccessQuestion(verb=verb, group=rights.GRANT_GROUP, resource=rights.GRANT_RESOURCE, namespace=namespace)
            )
            for verb in (rights.UNCONFINE, rights.USE_HOST)
        )
        self.add(
            checks.report_opt_outs(unconfined, host_access, option=f" --namespace {namespace}" if namespace else "")
        )

    def judge_commands(self) -> Iterator[CommandAbility]:
        """Yield each group of commands with the rights that it lacks, in the settings' or the context's namespace."""
        for one in rights.COMMANDS:
            place = "" if one.everywhere else self.wishes.builder.namespace or self.kube.namespace
            answers = self._ask_all(rights.list_questions(one.rules, place))
            lack = tuple(
                checks.describe_lack(rule, answers, rights.list_questions((rule,), place)) for rule in one.rules
            )
            yield CommandAbility(commands=one.commands, namespace=place, lack=tuple(filter(None, lack)), mode=one.mode)

    def render_fix(self) -> str:
        """Return the YAML that grants this account the rights of the mode, "" if it has them."""
        if not self.lacks:
            return ""
        namespace = self.wishes.builder.namespace or roles.EXAMPLE_NAMESPACE
        return roles.render_roles(self.wishes.mode, namespace=namespace, user=self.user)

    def _ask(self, rules: Sequence[RoleRule], namespace: str = "", *, optional: bool = False) -> bool:
        """Return whether the user has all of the rights, and record a finding for each rule.

        Rights that are not part of the mode are ``optional``.
        """
        answers = self._ask_all(rights.list_questions(rules, namespace))
        self.lacks = self.lacks or not (optional or all(answers.values()))
        for rule in rules:
            finding = checks.check_rights(rule, answers, rights.list_questions((rule,), namespace))
            self.add(finding)
            if finding.status is CheckStatus.MISSING:
                self.add_sheet()
        return all(answers.values())

    def add_sheet(self, better: RightsMode | None = None) -> None:
        """Record the YAML that grants the user the rights of the mode, or of the mode ``better``."""
        self.lacks = self.lacks or better is None
        mode, namespace = better or self.wishes.mode, self.wishes.builder.namespace or roles.EXAMPLE_NAMESPACE
        self.sheets[mode] = roles.render_roles(mode, namespace=namespace, user=self.user)

    def _ask_all(self, questions: Iterable[AccessQuestion]) -> dict[AccessQuestion, bool]:
        from concurrent.futures import ThreadPoolExecutor

        asked = tuple(questions)
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            return dict(zip(asked, pool.map(self._may, asked), strict=True))

    def _may(self, question: AccessQuestion) -> bool:
        """Return the answer of the API server's authorizer (authorization.k8s.io/v1 SelfSubjectAccessReview)."""
        resource, _, subresource = question.resource.partition("/")
        attributes = {
            "verb": question.verb,
            "group": question.group,
            "resource": resource,
            "subresource": subresource,
            "name": question.name,
            "namespace": question.namespace,
        }
        api = "authorization.k8s.io/v1"
        review = {"apiVersion": api, "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
        return bool(self.kube.create(f"/apis/{api}/selfsubjectaccessreviews", review).get("status", {}).get("allowed"))

    def _get_or_none(self, path: str) -> Mapping[str, Any] | None:
        """Return an object, None if it does not exist or reading it is forbidden."""
        try:
            found: Mapping[str, Any] = self.kube.get(path)
        except (Forbidden, NotFound):
            return None
        return found

    def _list_or_none(self, path: str, **query: Any) -> Sequence[Mapping[str, Any]] | None:
        """Return a collection's items, None if reading it is forbidden."""
        try:
            items: list[Mapping[str, Any]] = self.kube.list(path, **query)["items"]
        except Forbidden:
            return None
        return items


def check_registry_from_here(registry: str, builder: BuilderSettings, env: Mapping[str, str]) -> CheckResult:
    """Check whether this machine reaches a registry and its login is valid; merging several platforms needs both."""
    from ci_buildx.registry.client import RegistryClient
    from ci_buildx.registry.connection import RequestPatience
    from ci_buildx.registry.pace import TransferPace

    pace = TransferPace(grace=2 * _REGISTRY_PATIENCE)
    patience = RequestPatience(attempts=1, connect=_REGISTRY_PATIENCE, silence=_REGISTRY_PATIENCE, pace=pace)
    try:
        with RegistryClient(
            credentials.load_credentials(env), trust=buildkitd.make_registry_trust(builder), patience=patience
        ) as client:
            client.ping(registry)
    except (RegistryError, InputError, KubeError) as failure:
        reached = getattr(failure, "status", 0)
        status = CheckStatus.WARNING if reached else CheckStatus.MISSING
        detail = f"from here: {failure}"
    else:
        status, detail = CheckStatus.OK, "from here: it responds"
    return CheckResult(topic="registry", subject=registry, status=status, detail=detail)
