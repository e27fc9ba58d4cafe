"""Whether a cluster has all that builds need: what `doctor` does. It asks much and makes little, which it removes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ci_buildx.builder import checkup, confinement, entry, rights, rolesheet, schedule
from ci_buildx.builder.checkup import Finding, Status
from ci_buildx.builder.rights import Mode, Question, Rule
from ci_buildx.errors import Forbidden, InputError, KubeError, NotFound, RegistryError
from ci_buildx.job import examination
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass, field
from ci_buildx.registry import credentials
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.values import ClusterSettings

T = TypeVar("T")

_AT_ONCE = 8
_REGISTRY_PATIENCE = 5.0
_FOREIGN = {"metadata": {"name": "not-called-as-a-builders", "annotations": {}}}
"""A namespace that an account which is fenced in may not make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is looked at: the rights of ``mode``, builders made with these settings, and ``registries`` by host.

    With ``probe``, a builder is made for it, and pods that look around.
    """

    mode: Mode
    builder: BuilderSettings
    registries: tuple[str, ...] = ()
    probe: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """The findings in the order of the looks, and the YAML to ``apply`` for what is missing, "" for nothing."""

    findings: tuple[Finding, ...]
    apply: str = ""

    @property
    def healthy(self) -> bool:
        """Whether nothing that is needed is missing."""
        return all(finding.status is not Status.MISSING for finding in self.findings)


def run(
    cluster: ClusterSettings,
    wishes: Wishes,
    *,
    env: Mapping[str, str],
    tell: Callable[[Finding], None] = lambda _: None,
) -> Checkup:
    """Look at everything. ``tell`` hears each finding as it comes. Raises KubeError where the cluster cannot be asked.

    What was made for it is removed, also after an error or a signal.
    """
    with KubeClient(config.load(cluster, env=env)) as kube:
        look = _Look(kube=kube, wishes=wishes, tell=tell)
        look.at_the_cluster()
        look.at_rights()
        for registry in wishes.registries:
            look.add(from_here(registry, wishes.builder, env))
        if wishes.probe and wishes.mode in (Mode.NAMESPACE, Mode.JOBS) and look.can_build:
            for finding in examination.examine(kube, wishes.builder, wishes.registries):
                look.add(finding)
            if not look.can_build:
                look.prescribe()
    return Checkup(findings=tuple(look.findings), apply="".join(look.sheets.values()))


@dataclass(slots=True)
class _Look:
    """One check-up under way. ``sheets`` is the YAML to apply, by mode."""

    kube: KubeClient
    wishes: Wishes
    tell: Callable[[Finding], None]
    findings: list[Finding] = field(default_factory=list)
    sheets: dict[Mode, str] = field(default_factory=dict)
    user: str = ""

    def add(self, finding: Finding) -> None:
        """Note and tell."""
        self.findings.append(finding)
        self.tell(finding)

    @property
    def can_build(self) -> bool:
        """Whether it makes sense to try."""
        return all(each.status is not Status.MISSING for each in self.findings if each.topic in ("rights", "policy"))

    def at_the_cluster(self) -> None:
        """What does not depend on who builds."""
        self.user = entry.who(self.kube)
        self.add(checkup.server(self.kube.server_version(), self.user))
        if self.wishes.mode is not Mode.REAPER:
            self._at_nodes_and_storage()
        schedules = self._listed("/apis/batch/v1/cronjobs", fieldSelector=f"metadata.name={rights.REAPER}")
        finding = checkup.reaper(schedules)
        self.add(finding)
        if finding.status is Status.WARNING:
            self.sheets[Mode.REAPER] = rolesheet.sheet(Mode.REAPER) + schedule.sheet()

    def _at_nodes_and_storage(self) -> None:
        nodes = self._listed("/api/v1/nodes")
        for judge in (checkup.architectures, checkup.runtime_handlers, checkup.user_namespaces):
            self.add(judge(nodes))
        self.add(checkup.storage(self._listed("/apis/storage.k8s.io/v1/storageclasses")))

    def at_rights(self) -> None:
        """What the user may do, in the mode that the settings mean."""
        match self.wishes.mode:
            case Mode.NAMESPACE:
                self._at_a_namespace(self.wishes.builder.namespace)
                if not self._ask(rights.LOOKING):
                    self.prescribe(Mode.LOOKING)
            case Mode.JOBS:
                self.add(checkup.own_pod_security(confinement.pod_security(self.wishes.builder)))
                self._at_namespaces_of_jobs()
                self._ask((*rights.LOOKING, *rights.SWEEPING))
            case Mode.REAPER:
                self._ask(rights.REAPING)
            case Mode.LISTING:
                self._ask(rights.LISTING)
            case Mode.LOOKING:
                self._ask(rights.LOOKING)

    def _at_a_namespace(self, name: str) -> None:
        try:
            found = self.kube.get(f"/api/v1/namespaces/{name}")
        except NotFound:
            detail = f"there is no namespace {name!r}; create it or leave --namespace out"
            self.add(Finding(topic="rights", subject=name, status=Status.MISSING, detail=detail))
            return
        except Forbidden:
            found = None
        self.add(checkup.pod_security(found, rootless=self.wishes.builder.rootless))
        self._ask((*rights.BUILDING, *rights.KEEPING), name)
        self._at_opt_outs(name)

    def _at_namespaces_of_jobs(self) -> None:
        everywhere = (*rights.ENTERING[:1], *rights.LEAVING, *rights.BUILDING)
        answers = self._answers(rights.questions(everywhere))
        if all(allowed for question, allowed in answers.items() if question.vital):
            detail = "you may do all of it in every namespace: more than a job needs, see docs/rbac/jobs.yaml"
            self.add(Finding(topic="rights", subject="namespaces of jobs", status=Status.OK, detail=detail))
            return
        self._ask(rights.ENTERING)
        self._at_opt_outs()
        if self.can_build:
            self._at_the_fence()

    def _at_the_fence(self) -> None:
        """An account that may make namespaces and bind a role must be held to its own: the policies are tried out."""
        try:
            self.kube.create("/api/v1/namespaces", _FOREIGN, dryRun="All")
        except Forbidden:
            detail = "you are held to namespaces of your own"
            self.add(Finding(topic="policy", subject=rights.INSIDE, status=Status.OK, detail=detail))
            return
        detail = "you could make any namespace: the admission policies that hold a job to its own are not in force"
        self.add(Finding(topic="policy", subject=rights.INSIDE, status=Status.MISSING, detail=detail))
        self.prescribe()

    def _at_opt_outs(self, namespace: str = "") -> None:
        """Whether RBAC lifts rules of the policies on pods for this user."""
        unconfined, host_access = (
            self._may(
                Question(verb=verb, group=rights.GRANT_GROUP, resource=rights.GRANT_RESOURCE, namespace=namespace)
            )
            for verb in (rights.UNCONFINE, rights.USE_HOST)
        )
        self.add(checkup.opt_outs(unconfined, host_access, option=f" --namespace {namespace}" if namespace else ""))

    def _ask(self, rules: Sequence[Rule], namespace: str = "") -> bool:
        """Whether the user may do all of it."""
        answers = self._answers(rights.questions(rules, namespace))
        for rule in rules:
            finding = checkup.rights(rule, answers, rights.questions((rule,), namespace))
            self.add(finding)
            if finding.status is Status.MISSING:
                self.prescribe()
        return all(answers.values())

    def prescribe(self, better: Mode | None = None) -> None:
        """Note the YAML that gives the user the rights of the mode, or of one that makes it ``better``."""
        mode, namespace = better or self.wishes.mode, self.wishes.builder.namespace or rolesheet.EXAMPLE_NAMESPACE
        self.sheets[mode] = rolesheet.sheet(mode, namespace=namespace, user=self.user)

    def _answers(self, questions: Iterable[Question]) -> dict[Question, bool]:
        from concurrent.futures import ThreadPoolExecutor

        asked = tuple(questions)
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            return dict(zip(asked, pool.map(self._may, asked), strict=True))

    def _may(self, question: Question) -> bool:
        """What the API server's authorizer says (authorization.k8s.io/v1 SelfSubjectAccessReview)."""
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
        return bool(self.kube.create(f"/apis/{api}/selfsubjectaccessreviews", review)["status"]["allowed"])

    def _listed(self, path: str, **query: Any) -> Sequence[Mapping[str, Any]] | None:
        """A collection, None where it may not be read."""
        try:
            items: list[Mapping[str, Any]] = self.kube.list(path, **query)["items"]
        except Forbidden:
            return None
        return items


def from_here(registry: str, builder: BuilderSettings, env: Mapping[str, str]) -> Finding:
    """Whether this machine reaches a registry, which merges of several platforms need, and whether its login holds."""
    from ci_buildx.builder import registries
    from ci_buildx.registry.client import RegistryClient
    from ci_buildx.registry.connection import Patience
    from ci_buildx.registry.pace import Pace

    pace = Pace(grace=2 * _REGISTRY_PATIENCE)
    patience = Patience(attempts=1, connect=_REGISTRY_PATIENCE, silence=_REGISTRY_PATIENCE, pace=pace)
    try:
        with RegistryClient(
            credentials.load(env), trust=registries.trust_by_settings(builder), patience=patience
        ) as client:
            client.ping(registry)
    except (RegistryError, InputError, KubeError) as failure:
        reached = getattr(failure, "status", 0)
        status = Status.WARNING if reached else Status.MISSING
        detail = f"from here: {failure}"
    else:
        status, detail = Status.OK, "from here: it answers"
    return Finding(topic="registry", subject=registry, status=status, detail=detail)
