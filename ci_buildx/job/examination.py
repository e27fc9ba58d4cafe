"""A builder made to see whether one can be made, and pods beside it that look around; all of it is removed again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ci_buildx.builder import (
    certificates,
    checkup,
    facts,
    identity,
    isolation,
    lifecycle,
    manifests,
    plan,
    probe,
    surroundings,
)
from ci_buildx.builder.boot import Boot
from ci_buildx.builder.builder import Builder, Location
from ci_buildx.builder.checkup import Finding, Status
from ci_buildx.builder.identity import JobIdentity, Origin
from ci_buildx.builder.pods import PodView
from ci_buildx.builder.provision import Blueprint, provision
from ci_buildx.builder.registries import trust_by_settings
from ci_buildx.builder.teardown import teardown
from ci_buildx.errors import Forbidden, KubeBuilderError, KubeError, Refused
from ci_buildx.job.dial import Ways
from ci_buildx.job.housing import TEARDOWN_TIME
from ci_buildx.job.interrupts import Interrupts
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass, replace
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.values import TransportChoice

_LIFETIME = 300
"""Seconds after which the cluster ends what a doctor that was killed has left."""
_BOOT_TIME = 60.0
_LOOK_TIME = 60.0
_TRANSPORTS = (TransportChoice.DIRECT, TransportChoice.PORT_FORWARD, TransportChoice.EXEC)


def examine(kube: KubeClient, settings: BuilderSettings, registries: Sequence[str]) -> list[Finding]:
    """Make a builder, reach it in every way, and look around from inside. Raises Interrupted."""
    settings = replace(settings, lifetime=_LIFETIME, replicas=1)
    named = identity.make(Origin(system="local", repository="doctor"), suffix=identity.random_suffix())
    patient = _Patient(kube=kube, settings=settings, identity=named, location=lifecycle.locate(named, settings))
    with Interrupts() as interrupts:
        try:
            findings = interrupts.run(lambda: patient.findings(registries), settle=1.0)
        finally:
            report = teardown(kube, patient.location, deadline=time.monotonic() + TEARDOWN_TIME)
    if report.left:
        detail = f"could not be removed: {'; '.join(report.notes)}"
        findings.append(Finding(topic="builder", subject=named.name, status=Status.MISSING, detail=detail))
    return findings


@dataclass(frozen=True, slots=True, kw_only=True)
class _Patient:
    """The builder that is looked at."""

    kube: KubeClient
    settings: BuilderSettings
    identity: JobIdentity
    location: Location

    def findings(self, registries: Sequence[str]) -> list[Finding]:
        """What is found, in the order of a build."""
        try:
            builder = self._provision()
            with Boot(self.kube, builder, deadline=time.monotonic() + _BOOT_TIME) as boot:
                begun = time.monotonic()
                (pod, *_) = boot.ready(builder.plan.nodes[0])
                detail = f"pod {pod.name} on node {pod.host} was ready after {time.monotonic() - begun:.1f} s"
                up = Finding(topic="builder", status=Status.OK, detail=detail)
                isolated = checkup.isolation(builder.plan.nodes[0])
                found = [up, isolated, *self._reached(builder, boot, pod)]
        except (Forbidden, Refused) as failure:
            return [Finding(topic="rights", subject="a builder", status=Status.MISSING, detail=failure.message)]
        except KubeBuilderError as failure:
            return [Finding(topic="builder", status=Status.MISSING, detail=str(failure))]
        try:
            return [*found, *self._seen_from_inside(registries)]
        except KubeError as failure:
            detail = f"no pod could look around: {failure}"
            return [*found, Finding(topic="network policy", status=Status.UNKNOWN, detail=detail)]

    def _provision(self) -> Builder:
        known = facts.gather(self.kube)
        blueprint = Blueprint(
            identity=self.identity,
            plan=isolation.isolate(plan.make((), known, self.settings), known, self.settings),
            settings=self.settings,
            certificates=certificates.issue(certificates.NAMES, self.settings.lifetime),
            surroundings=surroundings.look(self.kube, known, self.settings),
        )
        return provision(self.kube, blueprint, announce=lambda _: None)

    def _reached(self, builder: Builder, boot: Boot, pod: PodView) -> Iterable[Finding]:
        """Each transport by itself. A build needs one of them."""
        failures = {choice: self._failure(builder, boot, pod, choice) for choice in _TRANSPORTS}
        worst = Status.MISSING if all(failures.values()) else Status.WARNING
        for choice, why in failures.items():
            status, detail = (worst, why) if why else (Status.OK, "buildkitd answers")
            yield Finding(topic="transport", subject=str(choice), status=status, detail=detail)

    def _failure(self, builder: Builder, boot: Boot, pod: PodView, choice: TransportChoice) -> str:
        ways = Ways(kube=self.kube, keys=builder.keys, chosen=choice)
        (way,) = ways.candidates(pod, lambda: boot.pod(pod.name))
        try:
            with way.open() as endpoint:
                ways.answer(endpoint).close()
        except (KubeBuilderError, OSError) as failure:
            return str(failure)
        return ""

    def _seen_from_inside(self, registries: Sequence[str]) -> list[Finding]:
        plain = trust_by_settings(self.settings)
        targets = [probe.target(name, plain=plain.allows_plain(name)) for name in registries]
        listening = self._listen()
        marks, image = self.identity.labels, self.settings.image
        self.kube.create(self.location.jobs_path, probe.knocker(self.location, image, marks, targets, listening))
        seen = self._read()
        if seen is None:
            detail = f"the pod that looks around did not end in {_LOOK_TIME:.0f} s"
            return [Finding(topic="network policy", status=Status.UNKNOWN, detail=detail)]
        findings = [self._registry(each.name, seen) for each in targets]
        why_open = seen.get(probe.OPEN, "it said nothing") if listening else "no NetworkPolicy or no pod could be made"
        return [*findings, checkup.network_policy(why_open, seen.get(probe.FENCED, ""))]

    def _registry(self, name: str, seen: Mapping[str, str]) -> Finding:
        why = seen.get(name, "the pod said nothing of it")
        detail = f"from a pod: {why or 'it answers'}"
        return Finding(topic="registry", subject=name, status=Status.MISSING if why else Status.OK, detail=detail)

    def _listen(self) -> dict[str, str]:
        """Two pods to knock at, one behind a NetworkPolicy: their addresses by role."""
        marks, image = self.identity.labels, self.settings.image
        jobs = {
            role: self.kube.create(self.location.jobs_path, probe.listener(self.location, role, image, marks))
            for role in (probe.FENCED, probe.OPEN)
        }
        policies = f"/apis/networking.k8s.io/v1/namespaces/{self.location.namespace}/networkpolicies"
        owner = manifests.owner(jobs[probe.FENCED])
        try:
            self.kube.create(policies, probe.policy(self.location, marks, [owner]))
        except Forbidden:
            return {}
        found: dict[str, str] = {}
        for pod in self._pods():
            role, status = pod["metadata"]["labels"].get(probe.ROLE), pod.get("status") or {}
            if role in jobs and status.get("phase") == "Running" and status.get("podIP"):
                found[role] = status["podIP"]
            if len(found) == len(jobs):
                return found
        return {}

    def _read(self) -> dict[str, str] | None:
        for pod in self._pods():
            seen = probe.read(pod) if pod["metadata"]["labels"].get(probe.ROLE) == probe.KNOCKING else None
            if seen is not None:
                return seen
        return None

    def _pods(self) -> Iterator[Mapping[str, Any]]:
        """The pods that look around, as they change."""
        deadline, chosen = time.monotonic() + _LOOK_TIME, f"{self.location.selector},{probe.ROLE}"
        for event in self.kube.watch(self.location.core_path("pods"), deadline=deadline, labelSelector=chosen):
            yield event.object
