"""Creation of a job's builder.

Order of creation: the namespace, the Jobs, then the objects that the Jobs own. The kubelet mounts a pod's volumes a
tenth of a second after it has seen the pod, so the Secret, created within milliseconds of the Jobs, is there in time;
and it never exists without an owner.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ci_buildx.builder import isolation, labels
from ci_buildx.builder.builder import Builder, BuilderLocation, Manifest
from ci_buildx.builder.cluster_facts import ClusterSurroundings
from ci_buildx.builder.identity import JobIdentity, make_expiry
from ci_buildx.builder.lifecycle import ownership
from ci_buildx.builder.lifecycle.find import locate_job_builder, read_keys
from ci_buildx.builder.manifests import objects
from ci_buildx.builder.manifests.certificates import Certificates
from ci_buildx.builder.manifests.draft import BuilderSpec
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import Conflict, Forbidden, Invalid, NotFound, Refused, Unauthorized
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.refusal import is_rbac_refusal
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, field, replace
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings

_LOG = debug.get_log("builder")
_NAMESPACES = "/api/v1/namespaces"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionRequest:
    """Everything that is decided before a builder is created.

    ``runner`` is a reference to the pod with which the builder is to be deleted, if any. ``pull_login`` is the docker
    configuration for pulling its images, if the settings request one. ``replacements`` is how many of its pods the
    cluster replaces.
    """

    identity: JobIdentity
    plan: Plan
    settings: BuilderSettings
    certificates: Certificates
    runner: Mapping[str, str] | None = None
    surroundings: ClusterSurroundings = field(default_factory=ClusterSurroundings)
    pull_login: Secret | None = None
    replacements: int = 0


def provision(kube: KubeClient, blueprint: ProvisionRequest, *, announce: Callable[[BuilderLocation], None]) -> Builder:
    """Create all objects of a builder, without waiting for its pods.

    ``announce`` is called with the location before the first object is created. Existing objects with the nonce of this
    identity are accepted, so that a second call is safe; anything else of the same name is refused, regardless of its
    labels.

    Raises KubeError; the caller must then tear down what was created, unless the error is ``Refused``, which means that
    nothing was.
    """
    location = locate_job_builder(blueprint.identity, blueprint.settings)
    announce(location)
    _LOG.debug("builder %s is made in namespace %s", location.name, location.namespace)
    draft = BuilderSpec(
        identity=blueprint.identity,
        location=location,
        settings=blueprint.settings,
        expires=make_expiry(_read_server_clock(kube), blueprint.settings.lifetime),
        runner=blueprint.runner,
        server=blueprint.surroundings.server,
        cluster_ranges=blueprint.surroundings.ranges,
        replacements=blueprint.replacements,
    )
    if location.exclusive and labels.read_creator(namespace := _create_namespace(kube, draft)):
        from ci_buildx.builder.rbac import admission_policies

        admission_policies.bind_own_role(kube, namespace)
        return admission_policies.retry_while_forbidden(lambda: _create_contents(kube, draft, blueprint))
    return _create_contents(kube, draft, blueprint)


def _create_namespace(kube: KubeClient, draft: BuilderSpec) -> Manifest:
    """Create the namespace, the first of all objects. Raises Refused if that is not allowed, or another KubeError."""
    namespace = objects.make_namespace(draft)
    try:
        return _create(kube, _NAMESPACES, namespace)
    except (Unauthorized, Invalid, Conflict) as failure:
        raise Refused(failure) from failure
    except Forbidden as failure:
        from ci_buildx.builder.rbac import admission_policies

        if not admission_policies.is_asked_to_sign(failure):
            raise Refused(failure) from failure
    try:
        return _create(kube, _NAMESPACES, admission_policies.add_creator(kube, namespace))
    except (Forbidden, Unauthorized, Invalid, Conflict) as failure:
        raise Refused(failure) from failure


def _create_contents(kube: KubeClient, draft: BuilderSpec, blueprint: ProvisionRequest) -> Builder:
    """Create the objects inside the namespace; accept those that this run has already created."""
    location = draft.location
    planned = blueprint.plan
    try:
        created = _create_jobs(kube, draft, planned.nodes)
    except Forbidden as failure:
        if not isolation.is_required(failure, planned.nodes, draft.settings):
            raise
        planned = replace(planned, nodes=tuple(map(isolation.require, planned.nodes)))
        created = _create_jobs(kube, draft, planned.nodes)
    owners = [objects.make_job_owner_reference(job) for job in created]
    owned = objects.make_owned_objects(
        draft, owners, certificates=blueprint.certificates, pull_login=blueprint.pull_login
    )
    *_, secret = [_create(kube, path, manifest) for path, manifest in owned]
    planned = isolation.correct_isolation(planned, created, draft.settings)
    return Builder(location=location, plan=planned, keys=read_keys(secret))


def _create_jobs(kube: KubeClient, draft: BuilderSpec, nodes: Sequence[NodePlan]) -> list[Manifest]:
    """Create the Jobs, which are the first objects if the namespace is not the builder's own."""
    location, made = draft.location, list[Manifest]()
    try:
        return _create_all(kube, location.jobs_path, [objects.make_job(draft, node) for node in nodes], made)
    except Conflict as failure:
        if location.exclusive:
            raise
        # A teardown selects by labels, and would delete objects of other runs.
        for job in made:
            _take_back(kube, location, job)
        raise Refused(failure) from failure
    except Forbidden as failure:
        if location.exclusive or not is_rbac_refusal(failure):
            raise
        raise Refused(failure) from failure
    except NotFound as failure:
        if location.exclusive or not failure.message.startswith("namespaces "):
            raise
        fix = "create it or omit --namespace"
        missing = NotFound(failure.message, status=failure.status, reason=failure.reason, fix=fix)
        raise Refused(missing) from failure


def _read_server_clock(kube: KubeClient) -> float:
    """Return the API server's epoch seconds: it judges expiry, and the runner's own clock may be wrong."""
    if kube.server_time is None:
        kube.get("/version")
    return kube.server_time or time.time()


def _create_all(kube: KubeClient, collection: str, drafts: Sequence[Manifest], made: list[Manifest]) -> list[Manifest]:
    """Create several objects at once, because each costs a round trip to a server that may be far away.

    ``made`` collects those that were created, even if others fail.
    """

    def create(draft: Manifest) -> Manifest:
        created = _create(kube, collection, draft)
        made.append(created)
        return created

    if len(drafts) == 1:
        return [create(drafts[0])]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=len(drafts)) as pool:
        return list(pool.map(create, drafts))


def _take_back(kube: KubeClient, location: BuilderLocation, job: Manifest) -> None:
    """Delete exactly this Job, which was created a moment ago; ignore it if it is gone."""
    seen = {"preconditions": {"uid": job["metadata"].get("uid", "")}, "propagationPolicy": "Background"}
    with suppress(NotFound, Conflict):
        kube.delete(f"{location.jobs_path}/{job['metadata']['name']}", options=seen)


def _create(kube: KubeClient, collection: str, manifest: Manifest) -> Manifest:
    """Create an object; return the existing one if this run created it and it is not being deleted.

    This happens if the answer to an earlier request was lost.
    """
    try:
        return kube.create(collection, manifest)
    except Conflict:
        existing = kube.get(f"{collection}/{manifest['metadata']['name']}")
        if ownership.is_own(existing, manifest):
            return existing
        raise ownership.make_conflict(existing, manifest) from None
