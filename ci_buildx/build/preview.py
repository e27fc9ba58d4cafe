"""Previews of a build as JSON: its plan, manifests, context and Solve requests.

:func:`show_requests` returns secrets in clear text; its caller must mask them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, assert_never

from ci_buildx.build import builder_scope, caches
from ci_buildx.build.build_run import collect_secrets
from ci_buildx.build.caches import list_platforms
from ci_buildx.build.context import input_files, origin, sticky_key
from ci_buildx.build.context.input_files import open_input_files
from ci_buildx.builder import cluster_facts, identity, isolation, plan
from ci_buildx.builder.builder import BuilderLocation, Manifest
from ci_buildx.builder.cluster_facts import ClusterFacts
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.builder.labels import ARCHITECTURE
from ci_buildx.builder.lifecycle import find, records
from ci_buildx.builder.manifests import objects
from ci_buildx.builder.manifests.buildkitd import add_job_defaults
from ci_buildx.builder.manifests.certificates import CertificatePair, Certificates
from ci_buildx.builder.manifests.draft import BuilderSpec
from ci_buildx.builder.plan import NodePlan, Plan
from ci_buildx.buildkit import exporters, remote_cache, solve_request
from ci_buildx.buildkit.messages import ExporterEntry, SolveRequest
from ci_buildx.errors import InputError, Unreachable
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient, make_kube_client
from ci_buildx.model import reference
from ci_buildx.model.masker import mask_value
from ci_buildx.model.plaintext import MASK
from ci_buildx.model.record import dataclass, replace
from ci_buildx.model.secret import Secret
from ci_buildx.settings.contexts import STDIN
from ci_buildx.settings.values import BuildSettings, PreviewKind, Settings


def show_requests(build: BuildSettings, nodes: Sequence[NodePlan], env: Mapping[str, str]) -> dict[str, Any]:
    """Return the request for a node that builds everything; if there are several, ``nodes`` has their differences."""
    platforms = [platform for node in nodes for platform in node.platforms]
    imports = remote_cache.read_all(build.cache_from, platforms)
    build = replace(
        build,
        cache_from=caches.complete_actions_caches(imports, env),
        cache_to=caches.complete_actions_caches(build.cache_to, env),
    )
    whole = NodePlan(name="", architecture=None, platforms=tuple(platforms))
    made = _show_request(build, whole, env, several=False)
    answer = {
        "frontend": made.frontend,
        "attributes": _show_attributes(made),
        "exporters": _show_entries(made.exporters),
        "tags": [
            {"typed": tag, "normalized": str(reference.parse_reference(tag).add_default_tag())} for tag in build.tags
        ],
        "cache": {"imports": _show_entries(made.cache.imports), "exports": _show_entries(made.cache.exports)},
        "entitlements": list(made.entitlements),
        "secrets": [secret.id for secret in build.secrets],
        "ssh": [agent.id for agent in build.ssh],
    }
    if len(nodes) < 2:
        return answer
    return answer | {"nodes": [_make_share(build, node, env) for node in nodes]}


def _make_share(build: BuildSettings, node: NodePlan, env: Mapping[str, str]) -> dict[str, Any]:
    exports = remote_cache.write_own(build.cache_to, list_platforms(node)[0]) if build.cache_to else ()
    made = _show_request(replace(build, cache_to=exports), node, env, several=True)
    share = {"name": node.name, "attributes": _show_attributes(made), "exporters": _show_entries(made.exporters)}
    return share | ({"cache": {"exports": _show_entries(made.cache.exports)}} if exports else {})


def _show_request(build: BuildSettings, node: NodePlan, env: Mapping[str, str], *, several: bool) -> SolveRequest:
    return solve_request.make_solve_request(
        build,
        ref="",
        session_id="",
        platforms=node.platforms,
        exporters=exporters.make_exports(build, by_digest=several).exporters,
        multi_platform=several,
        folder_key=lambda folder: origin.make_context_shared_key(folder, env),
    )


def _show_attributes(made: SolveRequest) -> dict[str, Any]:
    """Return the frontend's attributes; the one that holds a list as JSON is decoded."""
    texts = sorted(made.frontend_attrs.items())
    return {name: json.loads(text) if name == solve_request.CACHE_IMPORTS else text for name, text in texts}


def _show_entries(entries: Iterable[ExporterEntry]) -> list[dict[str, Any]]:
    return [{"type": entry.type, "attributes": dict(entry.attrs)} for entry in entries]


_UNKNOWN_UID = "known-when-created"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPreview:
    """One preview. ``warn`` is called with what could not be determined."""

    settings: Settings
    env: Mapping[str, str]
    warn: Callable[[str], None]

    def make_values(self, kind: PreviewKind) -> Iterator[Any] | dict[str, Any]:
        """Return an object, or yield the elements of a list, with secrets masked. Raises InputError, KubeError."""
        hidden, found = collect_secrets(self.settings.build, self.env), self._make_values(kind)
        if isinstance(found, dict):
            return dict(mask_value(found, hidden))
        return (mask_value(one, hidden) for one in found)

    def _make_values(self, kind: PreviewKind) -> Iterator[Any] | dict[str, Any]:
        match kind:
            case PreviewKind.PLAN:
                return self._show_plan()
            case PreviewKind.MANIFESTS:
                return iter(self._show_manifests())
            case PreviewKind.CONTEXT:
                return self._show_context()
            case PreviewKind.SOLVE:
                return self._show_solve()
            case _:
                assert_never(kind)

    def _show_plan(self) -> dict[str, Any]:
        if self.settings.builder_name:
            location, planned = self._find_kept()
        else:
            location, planned = find.locate_job_builder(self._make_identity(), self.settings.builder), self._decide()
        nodes = [_describe_node(node) for node in planned.nodes]
        return {"builder": location.name, "namespace": location.namespace, "nodes": nodes}

    def _show_manifests(self) -> list[Manifest]:
        """Return the objects in the order of their creation; [] for an existing builder."""
        if self.settings.builder_name:
            return []
        made = self._make_identity()
        settings = add_job_defaults(self.settings.builder)
        location = find.locate_job_builder(made, settings)
        expires = identity.make_expiry(time.time(), settings.lifetime)
        count = builder_scope.count_replacements(self.settings)
        draft = BuilderSpec(identity=made, location=location, settings=settings, expires=expires, replacements=count)
        jobs = [objects.make_job(draft, node) for node in self._decide_on_nodes().nodes]
        owners = [
            objects.make_job_owner_reference({"metadata": job["metadata"] | {"uid": _UNKNOWN_UID}}) for job in jobs
        ]
        login = Secret(MASK) if settings.pull_login else None
        owned = objects.make_owned_objects(draft, owners, certificates=_NO_CERTIFICATES, pull_login=login)
        inside = [*jobs, *(_mask_secret(one) if one["kind"] == "Secret" else one for _, one in owned)]
        for made_object in inside:
            made_object["metadata"]["namespace"] = location.namespace
        return [objects.make_namespace(draft), *inside] if location.exclusive else inside

    def _show_context(self) -> Iterator[dict[str, Any]]:
        with open_input_files(replace(self.settings.build, dockerfile_origin="")) as build:
            yield from input_files.list_context_files(build)

    def _show_solve(self) -> dict[str, Any]:
        origin_of_file = self.settings.build.dockerfile_origin
        waiting = origin_of_file if self.settings.build.context != STDIN else ""
        with open_input_files(
            replace(self.settings.build, dockerfile_origin="" if waiting else origin_of_file)
        ) as build:
            build = replace(build, dockerfile_origin=waiting) if waiting else build
            nodes = self._find_kept()[1].nodes if self.settings.builder_name else self._decide_for_solve().nodes
            return show_requests(build, nodes, self.env)

    def _make_identity(self) -> JobIdentity:
        return origin.make_job_identity(self.settings.build.context, self.env)

    def _decide(self) -> Plan:
        if ARCHITECTURE in dict(self.settings.builder.nodeselector):
            return plan.make_plan(self.settings.build.platforms, ClusterFacts(), self.settings.builder)
        return self._decide_on_nodes()

    def _decide_on_nodes(self) -> Plan:
        known = self._read_facts()
        planned = plan.make_plan(self.settings.build.platforms, known, self.settings.builder)
        return isolation.plan_isolation(planned, known, self.settings.builder)

    def _decide_for_solve(self) -> Plan:
        """Plan without asking the cluster if there is one architecture: one node builds it in any cluster."""
        architectures = {platform.node_architecture for platform in self.settings.build.platforms}
        if len(architectures) == 1:
            return plan.make_plan(self.settings.build.platforms, ClusterFacts(), self.settings.builder)
        return self._decide()

    def _read_facts(self) -> ClusterFacts:
        """Return the facts about the cluster nodes; empty facts if there is no cluster or it does not answer."""
        try:
            cluster = config.load_cluster(self.settings.cluster, env=self.env)
        except InputError as error:
            if self.settings.cluster.kubeconfig or self.settings.cluster.content or self.settings.cluster.context:
                raise
            self.warn(f"the plan does not know the nodes: {error}")
            return ClusterFacts()
        try:
            with KubeClient(cluster) as kube:
                return cluster_facts.read_cluster_facts(kube)
        except Unreachable as error:
            self.warn(f"the plan does not know the nodes: {error}")
            return ClusterFacts()

    def _find_kept(self) -> tuple[BuilderLocation, Plan]:
        with make_kube_client(self.settings.cluster, env=self.env) as kube:
            record = records.find_builder(kube, self.settings.builder_name, self.settings.builder.namespace)
        key = sticky_key.make_sticky_key(self.settings, (), self.env)
        nodes = Plan(nodes=tuple(node.plan for node in record.nodes))
        return record.location, plan.narrow(nodes, self.settings.build.platforms, key=key)


_NO_PAIR = CertificatePair(certificate=MASK.encode(), key=Secret(MASK))
_NO_CERTIFICATES = Certificates(ca=MASK.encode(), server=_NO_PAIR, client=_NO_PAIR)


def _mask_secret(secret: Manifest) -> Manifest:
    """Return a Secret with its keys but masked values, in a form that the API accepts."""
    names = secret["data"]
    return {key: value for key, value in secret.items() if key != "data"} | {"stringData": dict.fromkeys(names, MASK)}


def _describe_node(node: NodePlan) -> dict[str, Any]:
    return {
        "name": node.name,
        "architecture": node.architecture,
        "platforms": [str(platform) for platform in node.platforms],
        "emulated": [str(platform) for platform in node.emulated],
        "replicas": node.replicas,
        "reason": node.reason,
    }
