"""Builders that are there: shown, started, stopped, scaled and removed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from ci_buildx.builder import certificates, lasting, lifecycle, store, volumes
from ci_buildx.builder.builder import Location
from ci_buildx.builder.store import Record
from ci_buildx.builder.teardown import teardown
from ci_buildx.errors import InputError, KubeBuilderError, TeardownError
from ci_buildx.job import current
from ci_buildx.job.current import Choice
from ci_buildx.job.housing import TEARDOWN_TIME
from ci_buildx.job.survey import Status, Surveyed, survey
from ci_buildx.job.target import Target
from ci_buildx.job.waking import Bell, start
from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import masker
from ci_buildx.model.record import dataclass
from ci_buildx.progress import display
from ci_buildx.settings.values import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """How builders are removed: ``keep_state`` leaves their volumes, ``timeout`` (s) is for each.

    ``say`` hears the name of each that is gone, ``tell`` what is meant to stay of it.
    """

    keep_state: bool = False
    timeout: float = TEARDOWN_TIME
    say: Callable[[str], None] = lambda _: None
    tell: Callable[[Kept], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Volumes that outlive their builder or node, because the user wants it: the names of their claims."""

    location: Location
    claims: tuple[str, ...] = ()

    def __str__(self) -> str:
        claims, namespace = ", ".join(self.claims), self.location.namespace
        return f"kept in namespace {namespace}: persistentvolumeclaims {claims}; a node of the same name takes them up"


def listed(
    target: Target, *, env: Mapping[str, str], timeout: float, jobs: bool = False, warn: Callable[[str], None]
) -> list[Surveyed]:
    """All builders, as they are. ``warn`` hears where it could not look. Raises KubeError, InputError."""
    with KubeClient(config.load(target.cluster, env=env)) as kube:
        found = store.list_all(kube, target.namespace, jobs=jobs)
        for note in found.notes:
            warn(note)
        return survey(kube, found.records, timeout=timeout)


def inspected(
    target: Target, *, env: Mapping[str, str], timeout: float, bootstrap: bool, display_stream: TextIO
) -> tuple[Surveyed, float]:
    """A builder as it is, and when its certificates end (epoch seconds); with ``bootstrap`` it is started before."""
    with KubeClient(config.load(target.cluster, env=env)) as kube:
        record = store.find(kube, target.name, target.namespace)
        if bootstrap:
            record = _booted(kube, record, display_stream, env)
        (surveyed,) = survey(kube, [record], timeout=timeout)
        secret = lasting.read_secret(kube, record.location)
    return surveyed, certificates.ends(lifecycle.read_keys(secret).certificate)


def stop(target: Target, *, env: Mapping[str, str]) -> None:
    """Let a builder's pods end. What they build is waited for; volumes stay. Raises InputError, KubeError."""
    with KubeClient(config.load(target.cluster, env=env)) as kube:
        record = _lasting(store.find(kube, target.name, target.namespace), "stopped")
        lasting.scale(kube, record, [node for node in record.nodes if not node.stopped], 0)


def scale(target: Target, replicas: int, node: str, *, env: Mapping[str, str]) -> Record:
    """Give each node, or one, another number of pods. Raises InputError, KubeError."""
    with KubeClient(config.load(target.cluster, env=env)) as kube:
        record = _lasting(store.find(kube, target.name, target.namespace), "scaled")
        lasting.scale(kube, record, [record.node(node)] if node else record.nodes, replicas)
        return record


def use(target: Target, *, env: Mapping[str, str], everywhere: bool) -> None:
    """Make a builder the current one. Raises InputError if there is none."""
    with KubeClient(config.load(target.cluster, env=env)) as kube:
        record = store.find(kube, target.name, target.namespace)
    choice = Choice(builder=record.name, namespace=record.location.namespace)
    current.write(choice, target.cluster, env, everywhere=everywhere)


def remove(target: Target, names: Sequence[str], how: Removal, *, env: Mapping[str, str]) -> None:
    """Remove builders by their names, all of them tried.

    Raises TeardownError that names those which stay.
    """
    with KubeClient(config.load(target.cluster, env=env)) as kube:
        failures: dict[str, KubeBuilderError] = {}
        for name in names:
            try:
                record = store.find(kube, name, target.namespace)
                _remove(kube, record, how, env)
            except KubeBuilderError as failure:
                failures[name] = failure
    _raise(failures)


def remove_inactive(target: Target, how: Removal, *, env: Mapping[str, str]) -> None:
    """Remove the lasting builders no pod of which runs. Raises TeardownError that names those which stay."""
    with KubeClient(config.load(target.cluster, env=env)) as kube:
        failures: dict[str, KubeBuilderError] = {}
        for found in survey(kube, store.list_all(kube, target.namespace).records, timeout=None):
            if not is_inactive(found):
                continue
            try:
                _remove(kube, found.record, how, env)
            except KubeBuilderError as failure:
                failures[found.record.name] = failure
    _raise(failures)


def is_inactive(found: Surveyed) -> bool:
    """Whether nothing of it runs or is on its way: one that is just being made is not inactive."""
    idle = (Status.STOPPED, Status.STOPPING)
    broken = [seat for seat in found.seats if seat.status is Status.ERROR and (seat.pod is None or not seat.pod.ready)]
    return not found.error and all(seat.status in idle or seat in broken for seat in found.seats)


def _remove(kube: KubeClient, record: Record, how: Removal, env: Mapping[str, str]) -> None:
    """Remove a builder. Raises TeardownError if something stays that should not."""
    kept = None if how.keep_state or not record.lasting else volumes.retaining(kube, record)
    report = teardown(kube, record.location, deadline=time.monotonic() + how.timeout, kept_state=kept)
    if report.kept:
        how.tell(Kept(location=record.location, claims=report.kept))
    report.check()
    how.say(record.name)
    current.forget(Choice(builder=record.name, namespace=record.location.namespace), env)


def _raise(failures: Mapping[str, KubeBuilderError]) -> None:
    if len(failures) == 1:
        raise next(iter(failures.values()))
    if failures:
        error = TeardownError(f"failed to remove {', '.join(failures)}", left=tuple(failures))
        for name, failure in failures.items():
            error.add_note(f"{name}: {failure}")
        raise error


def _booted(kube: KubeClient, record: Record, stream: TextIO, env: Mapping[str, str]) -> Record:
    """The builder after its nodes have come up."""
    if not record.lasting:
        return record
    shown = display.open(Progress.AUTO, stream, env=env, hidden=masker.of_process(env, ()))
    try:
        secret = lasting.secret_for_use(kube, record, warn=shown.warn)
        builder = record.builder(secret)
        start(kube, record, builder.plan.nodes, shown)
        timeout = max(node.timeout for node in record.nodes)
        bell = Bell(kube=kube, builder=builder, display=shown, timeout=timeout, stop=threading.Event())
        bell.ring(builder.plan.nodes)
    except BaseException as error:
        shown.close(error)
        raise
    shown.close()
    return store.find(kube, record.name, record.location.namespace)


def _lasting(record: Record, what: str) -> Record:
    if not record.lasting:
        fix = f"kube-builder rm {record.name} ends it"
        raise InputError(f"builder {record.name!r} is a job's and cannot be {what}", source="NAME", fix=fix)
    return record
