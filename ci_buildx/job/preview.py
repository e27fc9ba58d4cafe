"""``--print``: what a build would do, as values for JSON. Nothing is created, built or sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, assert_never

from ci_buildx.builder import daemon, facts, identity, isolation, lifecycle, manifests, plan, store
from ci_buildx.builder.builder import Location, Manifest
from ci_buildx.builder.certificates import Certificates, Pair
from ci_buildx.builder.draft import Draft
from ci_buildx.builder.facts import ClusterFacts
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.builder.labels import ARCHITECTURE
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.errors import InputError, Unreachable
from ci_buildx.job import context_files, origin, solve_request, stickiness
from ci_buildx.job.hidden import secrets_of
from ci_buildx.job.intake import taken_in
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.masker import without_secrets
from ci_buildx.model.record import dataclass, replace
from ci_buildx.model.secret import Secret
from ci_buildx.settings.contexts import STDIN
from ci_buildx.settings.values import Preview, Settings

MASK = "***"
_UNKNOWN_UID = "known-when-created"


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """One preview. ``warn`` hears what could not be found out."""

    settings: Settings
    env: Mapping[str, str]
    warn: Callable[[str], None]

    def values(self, kind: Preview) -> Iterator[Any] | dict[str, Any]:
        """An object, or the elements of a list, without secrets. Raises InputError, KubeError."""
        hidden, found = secrets_of(self.settings.build, self.env), self._values(kind)
        if isinstance(found, dict):
            return dict(without_secrets(found, hidden))
        return (without_secrets(one, hidden) for one in found)

    def _values(self, kind: Preview) -> Iterator[Any] | dict[str, Any]:
        match kind:
            case Preview.PLAN:
                return self._plan()
            case Preview.MANIFESTS:
                return iter(self._manifests())
            case Preview.CONTEXT:
                return self._context()
            case Preview.SOLVE:
                return self._solve()
            case _:
                assert_never(kind)

    def _plan(self) -> dict[str, Any]:
        if self.settings.builder_name:
            location, planned = self._kept()
        else:
            location, planned = lifecycle.locate(self._identity(), self.settings.builder), self._decide()
        nodes = [_node(node) for node in planned.nodes]
        return {"builder": location.name, "namespace": location.namespace, "nodes": nodes}

    def _manifests(self) -> list[Manifest]:
        """The objects in the order of their creation; none for a builder that is there already."""
        if self.settings.builder_name:
            return []
        made = self._identity()
        settings = self.settings.builder
        location = lifecycle.locate(made, settings)
        expires = identity.expiry(time.time(), settings.lifetime)
        draft = Draft(identity=made, location=location, settings=settings, expires=expires)
        jobs = [manifests.job(draft, node) for node in self._decide_on_nodes().nodes]
        owners = [manifests.owner({"metadata": job["metadata"] | {"uid": _UNKNOWN_UID}}) for job in jobs]
        inside = [*jobs]
        if settings.network is not None:
            inside.append(manifests.network_policy(draft, settings.network, owners))
        if settings.pull_login:
            inside.append(_masked(manifests.pull_secret(draft, Secret(MASK), owners)))
        if daemon.files(settings):
            inside.append(manifests.config_map(draft, owners))
        inside.append(_masked(manifests.secret(draft, _NO_CERTIFICATES, owners)))
        for made_object in inside:
            made_object["metadata"]["namespace"] = location.namespace
        return [manifests.namespace(draft), *inside] if location.exclusive else inside

    def _context(self) -> Iterator[dict[str, Any]]:
        with taken_in(replace(self.settings.build, dockerfile_origin="")) as build:
            yield from context_files.listed(build)

    def _solve(self) -> dict[str, Any]:
        origin_of_file = self.settings.build.dockerfile_origin
        waiting = origin_of_file if self.settings.build.context != STDIN else ""
        with taken_in(replace(self.settings.build, dockerfile_origin="" if waiting else origin_of_file)) as build:
            build = replace(build, dockerfile_origin=waiting) if waiting else build
            nodes = self._kept()[1].nodes if self.settings.builder_name else self._decide_for_solve().nodes
            return solve_request.shown(build, nodes, self.env)

    def _identity(self) -> JobIdentity:
        return origin.of_here(self.settings.build.context, self.env)

    def _decide(self) -> Plan:
        if ARCHITECTURE in dict(self.settings.builder.nodeselector):
            return plan.make(self.settings.build.platforms, ClusterFacts(), self.settings.builder)
        return self._decide_on_nodes()

    def _decide_on_nodes(self) -> Plan:
        known = self._facts()
        planned = plan.make(self.settings.build.platforms, known, self.settings.builder)
        return isolation.isolate(planned, known, self.settings.builder)

    def _decide_for_solve(self) -> Plan:
        """One architecture is built by one node, whatever the cluster has: it is not asked."""
        architectures = {platform.node_architecture for platform in self.settings.build.platforms}
        if len(architectures) == 1:
            return plan.make(self.settings.build.platforms, ClusterFacts(), self.settings.builder)
        return self._decide()

    def _facts(self) -> ClusterFacts:
        """What the cluster says of its nodes; nothing where there is none, or none that answers."""
        try:
            cluster = config.load(self.settings.cluster, env=self.env)
        except InputError as error:
            if self.settings.cluster.kubeconfig or self.settings.cluster.content or self.settings.cluster.context:
                raise
            self.warn(f"the plan knows no nodes: {error}")
            return ClusterFacts()
        try:
            with KubeClient(cluster) as kube:
                return facts.gather(kube)
        except Unreachable as error:
            self.warn(f"the plan knows no nodes: {error}")
            return ClusterFacts()

    def _kept(self) -> tuple[Location, Plan]:
        with KubeClient(config.load(self.settings.cluster, env=self.env)) as kube:
            record = store.find(kube, self.settings.builder_name, self.settings.builder.namespace)
        key = stickiness.key(self.settings, (), self.env)
        nodes = Plan(nodes=tuple(node.plan for node in record.nodes))
        return record.location, plan.narrow(nodes, self.settings.build.platforms, key=key)


_NO_PAIR = Pair(certificate=MASK.encode(), key=Secret(MASK))
_NO_CERTIFICATES = Certificates(ca=MASK.encode(), server=_NO_PAIR, client=_NO_PAIR)


def _masked(secret: Manifest) -> Manifest:
    """A Secret with its keys and no values, still one that the API would take."""
    names = secret["data"]
    return {key: value for key, value in secret.items() if key != "data"} | {"stringData": dict.fromkeys(names, MASK)}


def _node(node: NodePlan) -> dict[str, Any]:
    return {
        "name": node.name,
        "architecture": node.architecture,
        "platforms": [str(platform) for platform in node.platforms],
        "emulated": [str(platform) for platform in node.emulated],
        "replicas": node.replicas,
        "reason": node.reason,
    }
