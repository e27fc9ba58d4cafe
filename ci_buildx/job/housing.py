"""The builder of a job: made for it and removed after it, or one that was kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ci_buildx.builder import certificates, facts, lifecycle, plan
from ci_buildx.builder.builder import Builder, Location
from ci_buildx.builder.certificates import Certificates
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.builder.lifecycle import Blueprint
from ci_buildx.builder.plan import Plan
from ci_buildx.errors import Interrupted, Refused, SolveError, TeardownError
from ci_buildx.job.interrupts import Interrupts, Outcome
from ci_buildx.job.parallel import begin
from ci_buildx.job.site import Site
from ci_buildx.model.record import replace

Announce = Callable[[Location], None]

TEARDOWN_TIME = 20.0
"""Seconds that the removal of a builder may take before what is left is reported."""
_SETTLE = 1.0
"""Seconds for a request under way to come to its end when a signal arrives."""


@contextmanager
def housed(site: Site, interrupts: Interrupts, identity: JobIdentity, announce: Announce) -> Iterator[Builder]:
    """The builder to build on. One that was made for this job is removed at the end, whatever happens.

    A builder that is to be kept outlives a failing build: the next one may succeed on it. What cannot be removed is a
    TeardownError, or a note on the error that ended the build.
    """
    if site.settings.builder_name:
        yield interrupts.run(lambda: find(site), settle=_SETTLE)
        return
    location = lifecycle.locate(identity, site.settings.builder)
    begun = threading.Event()

    def begin_with(place: Location) -> None:
        announce(place)
        begun.set()

    try:
        builder = interrupts.run(lambda: create(site, identity, begin_with), settle=_SETTLE)
        yield builder
    except BaseException as error:
        nothing_made = not begun.is_set() or isinstance(error, Refused)
        if nothing_made or (site.settings.keep and isinstance(error, SolveError)):
            raise
        try:
            remove(site, location, settle=_SETTLE if isinstance(error, Interrupted) else 0.0)
        except TeardownError as failure:
            error.add_note(str(failure))
        raise
    if not site.settings.keep:
        remove(site, location)


def find(site: Site) -> Builder:
    """The kept builder that the settings name, as far as this build needs it."""
    builder = lifecycle.load(site.kube, site.settings.builder_name, site.settings.builder.namespace)
    return replace(builder, plan=plan.narrow(builder.plan, site.settings.build.platforms))


def create(site: Site, identity: JobIdentity, announce: Announce) -> Builder:
    """Plan a builder and create its objects; pods are not awaited."""
    settings = site.settings.builder
    issued = begin(lambda: certificates.issue(certificates.NAMES, settings.lifetime))
    with site.phases.measure("plan"):
        planned = decide(site)
    with site.phases.measure("create"), site.display.phase(f"creating builder {identity.name}") as phase:
        for node in planned.nodes:
            phase.say(node.reason)
        return lifecycle.provision(site.kube, _blueprint(identity, planned, site, issued), announce=announce)


def decide(site: Site) -> Plan:
    """The plan for the platforms that were asked for."""
    return plan.make(site.settings.build.platforms, facts.gather(site.kube), site.settings.builder)


def remove(site: Site, location: Location, *, settle: float = 0.0) -> None:
    """Remove a builder and everything of it. Raises TeardownError that names what stays."""
    with site.phases.measure("teardown"), site.display.phase(f"removing builder {location.name}"):
        report = lifecycle.teardown(site.kube, location, deadline=time.monotonic() + TEARDOWN_TIME, settle=settle)
        report.check()
    for note in report.notes:
        site.display.warn(note)


def _blueprint(identity: JobIdentity, planned: Plan, site: Site, issued: Outcome[Certificates]) -> Blueprint:
    issued.done.wait()
    return Blueprint(identity=identity, plan=planned, settings=site.settings.builder, certificates=issued.result())
