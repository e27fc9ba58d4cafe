"""The builder of a job: made for it and removed after it, or one that was kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from ci_buildx.builder import lifecycle, plan, store
from ci_buildx.builder.builder import Builder, Location
from ci_buildx.builder.plan import Plan
from ci_buildx.buildkit import exporters
from ci_buildx.errors import InputError, Interrupted, LateInputError, Refused, SolveError, Stopped, TeardownError
from ci_buildx.job import origin
from ci_buildx.job.interrupts import Interrupts
from ci_buildx.job.parallel import begin
from ci_buildx.job.site import Site
from ci_buildx.model.record import replace
from ci_buildx.settings.values import TransportChoice

if TYPE_CHECKING:
    from ci_buildx.builder.facts import ClusterFacts
    from ci_buildx.builder.heartbeat import Heartbeat
    from ci_buildx.builder.identity import JobIdentity

Announce = Callable[[Location], None]

TEARDOWN_TIME = 20.0
"""Seconds that the removal of a builder may take before what is left is reported."""
_SETTLE = 1.0
"""Seconds for a request under way to come to its end when a signal arrives."""


@contextmanager
def housed(site: Site, interrupts: Interrupts, identity: JobIdentity, announce: Announce) -> Iterator[Builder]:
    """The builder to build on. One that was made for this job is removed at the end, whatever happens.

    A builder that is to be kept outlives a failing build: the next one may succeed on it. What cannot be removed is a
    warning, or a note on the error that ended the build: neither changes the outcome.
    """
    if site.settings.builder_name:
        yield interrupts.run(lambda: find(site), settle=_SETTLE)
        return
    location = lifecycle.locate(identity, site.settings.builder)
    begun = threading.Event()

    def begin_with(place: Location) -> None:
        if site.stop.is_set():  # A signal came while it was planned: nobody waits for this thread any more.
            raise Stopped
        announce(place)
        begun.set()

    try:
        builder, owned = interrupts.run(lambda: create(site, identity, begin_with), settle=_SETTLE)
        with nullcontext() if owned or site.settings.keep else beating(site, identity, builder):
            yield builder
    except BaseException as error:
        nothing_made = not begun.is_set() or isinstance(error, Refused)
        if nothing_made or (site.settings.keep and isinstance(error, SolveError)):
            raise
        try:
            remove(site, location, settle=_SETTLE if isinstance(error, Interrupted) else 0.0)
        except TeardownError as failure:
            error.add_note(str(failure))
        if isinstance(error, InputError):
            raise LateInputError(error) from error
        raise
    if not site.settings.keep:
        try:
            remove(site, location)
        except TeardownError as failure:
            site.display.warn(f"the build succeeded, its clean-up did not: {failure}")


def find(site: Site) -> Builder:
    """The existing builder that the settings name, as far as this build needs it; it is started if it is stopped.

    Raises InputError if there is none, or if no node of it builds what is asked for.
    """
    record = store.find(site.kube, site.settings.builder_name, site.settings.builder.namespace)
    if record.lasting:
        from ci_buildx.job import waking

        return waking.awake(site, record)
    builder = store.load(site.kube, record)
    if set(builder.transports.values()) - {TransportChoice.DIRECT}:
        site.kube.warm()
    origin.check_trust(builder, site.env)
    return replace(builder, plan=plan.narrow(builder.plan, site.settings.build.platforms))


def create(site: Site, identity: JobIdentity, announce: Announce) -> tuple[Builder, bool]:
    """Plan a builder and create its objects; pods are not awaited. Also whether it goes with the runner's own pod."""
    from ci_buildx.builder import certificates, facts, provision, surroundings
    from ci_buildx.job import pull_login

    settings = site.settings.builder
    issued = begin(lambda: certificates.issue(certificates.NAMES, settings.lifetime))
    looked = begin(lambda: own_pod(site))
    with site.phases.measure("plan"):
        known = facts.gather(site.kube)
        planned = decide(site, known)
        around = surroundings.look(site.kube, known, settings)
        login = pull_login.find(settings, site.env)
        looked.done.wait()
    with site.phases.measure("create"), site.display.phase(f"creating builder {identity.name}") as phase:
        for line in dict.fromkeys(line for node in planned.nodes for line in (node.reason, node.isolation)):
            phase.say(line)
        issued.done.wait()
        blueprint = provision.Blueprint(
            identity=identity,
            plan=planned,
            settings=settings,
            certificates=issued.result(),
            runner=looked.result(),
            surroundings=around,
            pull_login=login,
        )
        builder = provision.provision(site.kube, blueprint, announce=announce)
        if builder.plan != planned:
            for line in dict.fromkeys(node.isolation for node in builder.plan.nodes):
                phase.say(line)
    return builder, blueprint.runner is not None


def own_pod(site: Site) -> dict[str, str] | None:
    """The pod that this job runs in, if the builder is to go with it: a kept one outlives its job."""
    from ci_buildx.builder import runner

    namespace = site.settings.builder.namespace
    return runner.own_pod(site.kube, namespace, site.env) if namespace and not site.settings.keep else None


def beating(site: Site, identity: JobIdentity, builder: Builder) -> Heartbeat:
    """What tells a reaper that this job lives."""
    from ci_buildx.builder.heartbeat import Heartbeat

    def owner() -> dict[str, str] | None:
        return None if builder.location.exclusive else lifecycle.owner_of(site.kube, builder)

    return Heartbeat(site.kube, builder.location, marks=identity.labels, owner=owner)


def decide(site: Site, known: ClusterFacts) -> Plan:
    """The plan for the platforms that were asked for. Raises InputError for outputs that its nodes cannot make."""
    from ci_buildx.builder import isolation

    planned = plan.make(site.settings.build.platforms, known, site.settings.builder)
    exporters.make(site.settings.build, by_digest=len(planned.nodes) > 1)
    return isolation.isolate(planned, known, site.settings.builder)


def remove(site: Site, location: Location, *, settle: float = 0.0) -> None:
    """Remove a builder and everything of it. Raises TeardownError that names what stays."""
    from ci_buildx.builder.teardown import teardown

    with site.phases.measure("teardown"), site.display.phase(f"removing builder {location.name}"):
        report = teardown(site.kube, location, deadline=time.monotonic() + TEARDOWN_TIME, settle=settle)
        report.check()
    for note in report.notes:
        site.display.warn(note)
