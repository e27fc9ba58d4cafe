"""Making lasting builders and changing their nodes: what `create` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TextIO

from ci_buildx.builder import certificates, facts, identity, lasting, store, volumes
from ci_buildx.builder.builder import Location
from ci_buildx.builder.lasting import Order
from ci_buildx.builder.store import Node, Record
from ci_buildx.builder.teardown import teardown
from ci_buildx.builder.verdict import UNSCHEDULABLE
from ci_buildx.errors import BootError, InputError, TeardownError
from ci_buildx.job import current, pull_login
from ci_buildx.job.current import Choice
from ci_buildx.job.housing import TEARDOWN_TIME
from ci_buildx.job.interrupts import Interrupts
from ci_buildx.job.origin import TRUST_SCOPE
from ci_buildx.job.target import Target
from ci_buildx.job.upkeep import Kept
from ci_buildx.job.waking import Bell
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import masker
from ci_buildx.model.record import dataclass, replace
from ci_buildx.progress import display
from ci_buildx.progress.display import Display
from ci_buildx.settings.values import ClusterSettings, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """What `create` was asked for.

    ``name`` is "" for a builder of any name; ``append`` adds the node to one that exists. ``bootstrap`` waits until
    the node is up, ``use`` makes the builder the current one.
    """

    name: str
    order: Order
    append: bool = False
    bootstrap: bool = False
    use: bool = False
    progress: Progress = Progress.AUTO


def run(creation: Creation, cluster: ClusterSettings, *, env: Mapping[str, str], display_stream: TextIO) -> str:
    """Make or change a builder; its name. Raises InputError if its name is taken, the KubeBuilderError tree.

    What was begun is removed where it comes to no end. A builder that is made but does not come up stays, so that one
    can look at it.
    """
    if creation.use:
        current.ready(env)
    shown = display.open(creation.progress, display_stream, env=env, hidden=masker.of_process(env, ()))
    try:
        with Interrupts() as interrupts, KubeClient(config.load(cluster, env=env)) as kube:
            trust = env.get(TRUST_SCOPE, "")
            login = pull_login.find(creation.order.settings, env)
            creation = replace(creation, order=replace(creation.order, pull_login=login))
            work = _Work(kube=kube, creation=creation, display=shown, interrupts=interrupts, trust=trust)
            record, node = work.make()
            if creation.use:
                choice = Choice(builder=record.name, namespace=record.location.namespace)
                current.write(choice, cluster, env)
            if creation.bootstrap:
                work.boot(record, node)
    except BaseException as error:
        shown.close(error)
        raise
    shown.close()
    return record.name


def leave(target: Target, node: str, *, env: Mapping[str, str]) -> Kept:
    """Remove one node of a builder; its volumes where they stay. Raises InputError if there is none, or no other."""
    with KubeClient(config.load(target.cluster, env=env)) as kube:
        record = _lasting(store.find(kube, target.name, target.namespace))
        claims = lasting.leave(kube, record, record.node(node))
    return Kept(location=record.location, claims=claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    kube: KubeClient
    creation: Creation
    display: Display
    interrupts: Interrupts
    trust: str

    def make(self) -> tuple[Record, Node]:
        """The builder and the node that was made or changed."""
        order = self.creation.order
        known = self._known()
        if known is None:
            return self._found()
        if self.creation.append:
            title = f"adding a node to builder {known.name}"
            return known, self._shown(title, lambda: lasting.add(self.kube, known, order, self._facts()))
        if not order.node:
            raise lasting.taken(known.location)
        node, title = known.node(order.node), f"changing node {order.node} of builder {known.name}"
        return known, self._shown(title, lambda: lasting.change(self.kube, known, node, order, self._facts()))

    def boot(self, record: Record, node: Node) -> None:
        """Wait until the node is up."""
        location = record.location
        try:
            secret = lasting.read_secret(self.kube, location)
            builder = replace(record, nodes=(node,)).builder(secret)
            bell = Bell(
                kube=self.kube,
                builder=builder,
                display=self.display,
                timeout=self.creation.order.settings.timeout,
                stop=self.interrupts.stop,
                outdated=node.outdated,
            )
            self.interrupts.run(lambda: bell.ring([node.plan]), settle=0)
        except BaseException as error:
            if isinstance(error, BootError) and error.reason == UNSCHEDULABLE and not self.creation.order.platforms:
                error.add_note(f"no platform is named, so the node is for {node.plan.architecture}: see --platform")
            error.add_note(f"builder {record.name} stays: see kube-builder inspect {record.name}, remove it with rm")
            raise

    def _known(self) -> Record | None:
        """The builder that is there already; None where one is to be made."""
        creation, namespace = self.creation, self.creation.order.settings.namespace
        if not creation.name:
            return None
        if creation.append:
            return _lasting(store.find(self.kube, creation.name, namespace))
        return store.look(self.kube, lasting.locate(creation.name, namespace or self.kube.namespace))

    def _found(self) -> tuple[Record, Node]:
        """A new builder with its first node; nothing of it where that fails."""
        creation = self.creation
        name = creation.name or f"builder-{identity.random_suffix()}"
        location = lasting.locate(name, creation.order.settings.namespace or self.kube.namespace)
        issued = certificates.issue(certificates.NAMES, lasting.CERTIFICATES_LAST)
        known = self._facts()
        lasting.check(self.kube, location, creation.order, known)
        # Those of an earlier builder of this name, which the new one takes up.
        kept = volumes.staying(self.kube, location) if creation.order.settings.storage.claimed else ()
        lasting.claim(self.kube, location, issued, trust=self.trust)
        record = Record(location=location, nodes=())
        try:
            title = f"creating builder {name}"
            node = self._shown(title, lambda: lasting.add(self.kube, record, creation.order, known))
        except BaseException as error:
            self._remove(location, error, keep_state=bool(kept))
            raise
        return Record(location=location, nodes=(node,)), node

    def _shown(self, title: str, act: Callable[[], Node]) -> Node:
        """Make or change a node, and say what became of it."""
        with self.display.phase(title) as phase:
            node = self.interrupts.run(act, settle=1)
            where = self.creation.order.settings.namespace or self.kube.namespace
            phase.say(f"node {node.name} in namespace {where}: {node.plan.reason}")
            phase.say(node.plan.isolation)
        return node

    def _remove(self, location: Location, error: BaseException, *, keep_state: bool) -> None:
        deadline = time.monotonic() + TEARDOWN_TIME
        try:
            teardown(self.kube, location, deadline=deadline, kept_state=None if keep_state else ()).check()
        except TeardownError as failure:
            error.add_note(str(failure))

    def _facts(self) -> facts.ClusterFacts:
        return facts.gather(self.kube)


def _lasting(record: Record) -> Record:
    if not record.lasting:
        raise InputError(f"builder {record.name!r} is a job's: its nodes are what the job planned", source="--name")
    return record
