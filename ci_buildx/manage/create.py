"""The `create` command: create lasting builders and change their nodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TextIO

from ci_buildx.build import pull_login
from ci_buildx.build.builder_scope import TEARDOWN_TIME
from ci_buildx.build.context.origin import TRUST_SCOPE
from ci_buildx.build.start_on_use import BootWakeup
from ci_buildx.builder import cluster_facts, identity
from ci_buildx.builder.boot.observation import UNSCHEDULABLE
from ci_buildx.builder.builder import BuilderLocation, locate_lasting_builder
from ci_buildx.builder.isolation import ON_HOST
from ci_buildx.builder.lifecycle import create, records, volumes
from ci_buildx.builder.lifecycle.create import NodeRequest
from ci_buildx.builder.lifecycle.records import StoredBuilder, StoredNode
from ci_buildx.builder.lifecycle.teardown import teardown
from ci_buildx.builder.manifests import certificates
from ci_buildx.errors import BootError, InputError, TeardownError
from ci_buildx.kube.client import KubeClient, make_kube_client
from ci_buildx.manage import target as manage_target
from ci_buildx.manage.builders import RetainedVolumes
from ci_buildx.manage.target import BuilderTarget, CurrentBuilder
from ci_buildx.model import masker
from ci_buildx.model.record import dataclass, replace
from ci_buildx.progress import display as progress_display
from ci_buildx.progress.display import BuildDisplay
from ci_buildx.runtime.signals import SignalHandler
from ci_buildx.settings.builder import UserNamespaces
from ci_buildx.settings.values import ClusterSettings, ProgressMode


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """Arguments of `create`.

    ``name`` is "" for a generated name; ``append`` adds the node to an existing builder. ``bootstrap`` waits until the
    node is ready, ``use`` makes the builder the current one.
    """

    name: str
    order: NodeRequest
    append: bool = False
    bootstrap: bool = False
    use: bool = False
    progress: ProgressMode = ProgressMode.AUTO


def run_create(
    creation: CreateRequest, cluster: ClusterSettings, *, env: Mapping[str, str], display_stream: TextIO
) -> str:
    """Create or change a builder and return its name.

    Whatever is incomplete is removed on failure. A builder that was created but does not start stays, for inspection.
    Raises InputError if the name is taken, and the KubeBuilderError tree.
    """
    if creation.use:
        manage_target.prepare_file(env)
    shown = progress_display.open_display(
        creation.progress, display_stream, env=env, hidden=masker.list_process_secrets(env, ())
    )
    try:
        with SignalHandler() as interrupts, make_kube_client(cluster, env=env) as kube:
            trust = env.get(TRUST_SCOPE, "")
            login = pull_login.find_pull_login(creation.order.settings, env)
            creation = replace(creation, order=replace(creation.order, pull_login=login))
            work = _CreateRun(kube=kube, creation=creation, display=shown, interrupts=interrupts, trust=trust)
            record, node = work.make()
            if creation.use:
                choice = CurrentBuilder(builder=record.name, namespace=record.location.namespace)
                manage_target.write_current(choice, cluster, env)
            if creation.bootstrap:
                work.boot(record, node)
    except BaseException as error:
        shown.close(error)
        raise
    shown.close()
    return record.name


def remove_node(target: BuilderTarget, node: str, *, env: Mapping[str, str]) -> RetainedVolumes:
    """Remove one node of a builder and return the volumes that stay.

    Raises InputError if the node does not exist or is the builder's only one, KubeError.
    """
    with make_kube_client(target.cluster, env=env) as kube:
        record = _require_lasting(records.find_builder(kube, target.name, target.namespace))
        claims = create.remove_node(kube, record, record.find_node(node))
    return RetainedVolumes(location=record.location, claims=claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CreateRun:
    kube: KubeClient
    creation: CreateRequest
    display: BuildDisplay
    interrupts: SignalHandler
    trust: str

    def make(self) -> tuple[StoredBuilder, StoredNode]:
        """Create or change the builder and return it with the new or changed node."""
        order = self.creation.order
        known = self._find_known()
        if known is None:
            return self._create_builder()
        if self.creation.append:
            title = f"adding a node to builder {known.name}"
            return known, self._make_node_and_report(
                title, lambda: create.add_node(self.kube, known, order, self._read_facts())
            )
        if not order.node:
            raise create.make_taken_error(known.location)
        node, title = known.find_node(order.node), f"changing node {order.node} of builder {known.name}"
        return known, self._make_node_and_report(
            title, lambda: create.change_node(self.kube, known, node, order, self._read_facts())
        )

    def boot(self, record: StoredBuilder, node: StoredNode) -> None:
        """Wait until the node is ready."""
        location = record.location
        try:
            secret = create.read_secret(self.kube, location)
            builder = replace(record, nodes=(node,)).make_builder(secret)
            bell = BootWakeup(
                kube=self.kube,
                builder=builder,
                display=self.display,
                timeout=self.creation.order.settings.timeout,
                stop=self.interrupts.stop,
                outdated=node.outdated,
            )
            self.interrupts.run(lambda: bell.boot_nodes([node.plan]), settle=0)
        except BaseException as error:
            if isinstance(error, BootError) and error.reason == UNSCHEDULABLE and not self.creation.order.platforms:
                error.add_note(f"no platform is set, so the node builds for {node.plan.architecture}: see --platform")
            error.add_note(f"builder {record.name} was kept: see kube-builder inspect {record.name}, remove it with rm")
            raise

    def _find_known(self) -> StoredBuilder | None:
        """Return the existing builder, None if a new one is to be created."""
        creation, namespace = self.creation, self.creation.order.settings.namespace
        if not creation.name:
            return None
        if creation.append:
            return _require_lasting(records.find_builder(self.kube, creation.name, namespace))
        place = locate_lasting_builder(creation.name, namespace or self.kube.namespace)
        return records.find_lasting_builder(self.kube, place)

    def _create_builder(self) -> tuple[StoredBuilder, StoredNode]:
        """Create a builder with its first node; remove everything if that fails."""
        creation = self.creation
        name = creation.name or f"builder-{identity.make_random_suffix()}"
        location = locate_lasting_builder(name, creation.order.settings.namespace or self.kube.namespace)
        issued = certificates.issue(certificates.NAMES, create.CERTIFICATES_LAST)
        known = self._read_facts()
        create.check(self.kube, location, creation.order, known)
        # Volumes of an earlier builder of this name, which the new one reuses.
        kept = volumes.list_retained_claims(self.kube, location) if creation.order.settings.storage.claimed else ()
        create.claim_name(self.kube, location, issued, trust=self.trust)
        record = StoredBuilder(location=location, nodes=())
        try:
            title = f"creating builder {name}"
            node = self._make_node_and_report(title, lambda: create.add_node(self.kube, record, creation.order, known))
        except BaseException as error:
            self._remove(location, error, keep_state=bool(kept))
            raise
        return StoredBuilder(location=location, nodes=(node,)), node

    def _make_node_and_report(self, title: str, act: Callable[[], StoredNode]) -> StoredNode:
        """Create or change a node, and show the result in the display."""
        with self.display.begin_phase(title) as phase:
            node = self.interrupts.run(act, settle=1)
            where = self.creation.order.settings.namespace or self.kube.namespace
            phase.add_output(f"node {node.name} in namespace {where}: {node.plan.reason}")
            chosen = self.creation.order.settings.user_namespaces is UserNamespaces.FALSE
            if node.plan.isolation.startswith(ON_HOST) and not chosen:
                self.display.warn(f"node {node.name}: {node.plan.isolation}")
            else:
                phase.add_output(node.plan.isolation)
        return node

    def _remove(self, location: BuilderLocation, error: BaseException, *, keep_state: bool) -> None:
        deadline = time.monotonic() + TEARDOWN_TIME
        try:
            teardown(self.kube, location, deadline=deadline, kept_state=None if keep_state else ()).check()
        except TeardownError as failure:
            error.add_note(str(failure))

    def _read_facts(self) -> cluster_facts.ClusterFacts:
        return cluster_facts.read_cluster_facts(self.kube)


def _require_lasting(record: StoredBuilder) -> StoredBuilder:
    if not record.lasting:
        raise InputError(f"builder {record.name!r} belongs to a job: only the job plans its nodes", source="--name")
    return record
