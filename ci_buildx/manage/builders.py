"""Commands on existing builders: list, inspect, stop, scale, use and remove."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from ci_buildx.build import attachables
from ci_buildx.build.builder_scope import TEARDOWN_TIME
from ci_buildx.build.start_on_use import BootWakeup, start_nodes
from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.lifecycle import create, find, records, volumes
from ci_buildx.builder.lifecycle.records import StoredBuilder
from ci_buildx.builder.lifecycle.teardown import teardown
from ci_buildx.builder.manifests import certificates
from ci_buildx.errors import InputError, KubeBuilderError, TeardownError
from ci_buildx.kube.client import KubeClient, make_kube_client
from ci_buildx.manage import target as manage_target
from ci_buildx.manage.survey import BuilderView, ReplicaStatus, survey_builders
from ci_buildx.manage.target import BuilderTarget, CurrentBuilder
from ci_buildx.model import masker
from ci_buildx.model.record import dataclass, replace
from ci_buildx.progress import display
from ci_buildx.settings.values import ProgressMode

if TYPE_CHECKING:
    from ci_buildx.registry.trust import RegistryTrust


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalRequest:
    """How to remove builders: ``keep_state`` keeps their volumes, ``timeout`` (s) applies to each builder.

    ``say`` is called with the name of each removed builder, ``tell`` with the volumes that stay on purpose.
    """

    keep_state: bool = False
    timeout: float = TEARDOWN_TIME
    say: Callable[[str], None] = lambda _: None
    tell: Callable[[RetainedVolumes], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainedVolumes:
    """Volumes that outlive their builder or node at the user's request: the names of their claims."""

    location: BuilderLocation
    claims: tuple[str, ...] = ()

    def __str__(self) -> str:
        claims, namespace = ", ".join(self.claims), self.location.namespace
        return (
            f"kept in namespace {namespace}: persistentvolumeclaims {claims}; a new node of the same name reuses them"
        )


def list_builder_views(
    target: BuilderTarget, *, env: Mapping[str, str], timeout: float, jobs: bool = False, warn: Callable[[str], None]
) -> list[BuilderView]:
    """Return the state of all builders, with ``jobs`` also those of jobs.

    ``warn`` is called with what could not be searched. Raises KubeError, InputError.
    """
    with make_kube_client(target.cluster, env=env) as kube:
        found = records.list_builders(kube, target.namespace, jobs=jobs)
        for note in found.notes:
            warn(note)
        return survey_builders(kube, found.records, timeout=timeout)


def inspect_builder(
    target: BuilderTarget, *, env: Mapping[str, str], timeout: float, bootstrap: bool, display_stream: TextIO
) -> tuple[BuilderView, float]:
    """Return a builder's state and the expiry of its certificates (epoch seconds).

    With ``bootstrap``, start its nodes first.
    """
    with make_kube_client(target.cluster, env=env) as kube:
        record = records.find_builder(kube, target.name, target.namespace)
        if bootstrap:
            record = boot_builder(kube, record, display_stream, env)
        (surveyed,) = survey_builders(kube, [record], timeout=timeout)
        secret = create.read_secret(kube, record.location)
        files = {node.name: find.read_node_files(kube, record.location, node.name) for node in record.nodes}
        surveyed = replace(surveyed, files=files)
    return surveyed, certificates.read_expiry(find.read_keys(secret).certificate)


def read_registry_trust(target: BuilderTarget, *, env: Mapping[str, str]) -> RegistryTrust:
    """Return how a builder reaches registries, by its buildkitd.toml. Raises InputError, KubeError."""
    with make_kube_client(target.cluster, env=env) as kube:
        record = records.find_builder(kube, target.name, target.namespace)
        return attachables.read_builder_trust(kube, records.load_builder(kube, record))


def stop_builder(target: BuilderTarget, *, env: Mapping[str, str]) -> None:
    """Scale a builder's nodes to zero. Running builds finish first; volumes stay. Raises InputError, KubeError."""
    with make_kube_client(target.cluster, env=env) as kube:
        record = _require_lasting(records.find_builder(kube, target.name, target.namespace), "stopped")
        create.scale_nodes(kube, record, [node for node in record.nodes if not node.stopped], 0)


def scale_builder(target: BuilderTarget, replicas: int, node: str, *, env: Mapping[str, str]) -> StoredBuilder:
    """Set the number of pods of each node, or of ``node`` only. Raises InputError, KubeError."""
    with make_kube_client(target.cluster, env=env) as kube:
        record = _require_lasting(records.find_builder(kube, target.name, target.namespace), "scaled")
        create.scale_nodes(kube, record, [record.find_node(node)] if node else record.nodes, replicas)
        return record


def use_builder(target: BuilderTarget, *, env: Mapping[str, str], everywhere: bool) -> None:
    """Make a builder the current one. Raises InputError if it does not exist."""
    with make_kube_client(target.cluster, env=env) as kube:
        record = records.find_builder(kube, target.name, target.namespace)
    choice = CurrentBuilder(builder=record.name, namespace=record.location.namespace)
    manage_target.write_current(choice, target.cluster, env, everywhere=everywhere)


def remove_builders(
    target: BuilderTarget, names: Sequence[str], how: RemovalRequest, *, env: Mapping[str, str]
) -> None:
    """Remove builders by name; a failure does not stop the others.

    Raises TeardownError that names the builders that stay; a single failure is raised as it is.
    """
    with make_kube_client(target.cluster, env=env) as kube:
        failures: dict[str, KubeBuilderError] = {}
        for name in names:
            try:
                record = records.find_builder(kube, name, target.namespace)
                _remove_builder(kube, record, how, env)
            except KubeBuilderError as failure:
                failures[name] = failure
    _raise_failures(failures)


def remove_inactive_builders(target: BuilderTarget, how: RemovalRequest, *, env: Mapping[str, str]) -> None:
    """Remove the lasting builders without running pods. Raises TeardownError that names those that stay."""
    with make_kube_client(target.cluster, env=env) as kube:
        failures: dict[str, KubeBuilderError] = {}
        for found in survey_builders(kube, records.list_builders(kube, target.namespace).records, timeout=None):
            if not is_inactive(found):
                continue
            try:
                _remove_builder(kube, found.record, how, env)
            except KubeBuilderError as failure:
                failures[found.record.name] = failure
    _raise_failures(failures)


def is_inactive(found: BuilderView) -> bool:
    """Return whether no pod of a builder is running or starting; a builder being created is not inactive."""
    idle = (ReplicaStatus.STOPPED, ReplicaStatus.STOPPING)
    broken = [
        seat for seat in found.seats if seat.status is ReplicaStatus.ERROR and (seat.pod is None or not seat.pod.ready)
    ]
    return not found.error and all(seat.status in idle or seat in broken for seat in found.seats)


def _remove_builder(kube: KubeClient, record: StoredBuilder, how: RemovalRequest, env: Mapping[str, str]) -> None:
    """Remove a builder. Raises TeardownError if something stays unintentionally."""
    kept = None if how.keep_state or not record.lasting else volumes.list_retaining_nodes(kube, record)
    report = teardown(kube, record.location, deadline=time.monotonic() + how.timeout, kept_state=kept)
    if report.kept:
        how.tell(RetainedVolumes(location=record.location, claims=report.kept))
    report.check()
    how.say(record.name)
    manage_target.forget_current(CurrentBuilder(builder=record.name, namespace=record.location.namespace), env)


def _raise_failures(failures: Mapping[str, KubeBuilderError]) -> None:
    if len(failures) == 1:
        raise next(iter(failures.values()))
    if failures:
        error = TeardownError(f"failed to remove {', '.join(failures)}", left=tuple(failures))
        for name, failure in failures.items():
            error.add_note(f"{name}: {failure}")
        raise error


def boot_builder(kube: KubeClient, record: StoredBuilder, stream: TextIO, env: Mapping[str, str]) -> StoredBuilder:
    """Start a builder's nodes, wait until they are ready, and return the builder."""
    if not record.lasting:
        return record
    shown = display.open_display(ProgressMode.AUTO, stream, env=env, hidden=masker.list_process_secrets(env, ()))
    try:
        secret = create.read_usable_secret(kube, record, warn=shown.warn)
        builder = record.make_builder(secret)
        start_nodes(kube, record, builder.plan.nodes, shown)
        timeout = max(node.timeout for node in record.nodes)
        bell = BootWakeup(kube=kube, builder=builder, display=shown, timeout=timeout, stop=threading.Event())
        bell.boot_nodes(builder.plan.nodes)
    except BaseException as error:
        shown.close(error)
        raise
    shown.close()
    return records.find_builder(kube, record.name, record.location.namespace)


def _require_lasting(record: StoredBuilder, what: str) -> StoredBuilder:
    if not record.lasting:
        fix = f"remove it with kube-builder rm {record.name}"
        raise InputError(f"builder {record.name!r} belongs to a job and cannot be {what}", source="NAME", fix=fix)
    return record
