"""The trial builder of `doctor`, and pods that probe the network from inside the cluster.

Two pods listen, and a NetworkPolicy closes one of them; a third pod connects to both and to the registries. Its results
are in its status (core/v1 ContainerStateTerminated), so no right to read logs is needed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ci_buildx.build.builder_scope import TEARDOWN_TIME
from ci_buildx.build.dialer import PodDialer
from ci_buildx.builder import cluster_facts, isolation, labels, plan
from ci_buildx.builder import identity as builder_identity
from ci_buildx.builder.boot.watch import Boot
from ci_buildx.builder.builder import Builder, BuilderLocation, Manifest
from ci_buildx.builder.identity import JobIdentity, JobOrigin
from ci_buildx.builder.lifecycle import find
from ci_buildx.builder.lifecycle.provision import ProvisionRequest, provision
from ci_buildx.builder.lifecycle.teardown import teardown
from ci_buildx.builder.manifests import certificates, objects
from ci_buildx.builder.manifests.buildkitd import make_registry_trust
from ci_buildx.builder.pods import PodView
from ci_buildx.builder.rbac import checks
from ci_buildx.builder.rbac.checks import CheckResult, CheckStatus
from ci_buildx.errors import Forbidden, KubeBuilderError, KubeError, Refused
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass, replace
from ci_buildx.runtime.signals import SignalHandler
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.values import TransportChoice
from ci_buildx.transport.race import ANSWER_TIMES

LIFETIME = 120
"""Seconds after which the cluster ends a probe pod whose doctor was killed."""
OPEN, CLOSED, PROBE = "open", "closed", "probe"
ROLE = f"{labels.DOMAIN}probe"

_PORT = 8080
_NOBODY = 65534
_CONTAINER = "probe"
_LISTEN = f"while :; do echo here | nc -l -p {_PORT} >/dev/null; done"
# nc prints on stderr why it cannot connect (busybox 1.37, networking/nc.c). Any answer counts as reachable: a registry
# that speaks TLS refuses the request, which is an answer. A network takes a moment to enforce a new policy, and a
# listener takes a moment to listen again.
_PROBE_SCRIPT = f"""\
connect() {{ printf 'GET /v2/ HTTP/1.0\\r\\n\\r\\n' | timeout 6 nc -w 3 "$1" "$2" 2>&1 >/dev/null | tail -n 1; }}
tell() {{ echo "$1 $2" >> /dev/termination-log; }}
try() {{
  failed=0; tries=0
  while [ $tries -lt 4 ] && [ $failed -lt 2 ]; do
    why=$(connect "$1" {_PORT}); tries=$((tries + 1))
    if [ -n "$why" ]; then failed=$((failed + 1)); else failed=0; [ -n "$2" ] && break; fi
    sleep 1
  done
  [ $failed -lt 2 ] && why=""
  echo "$why"
}}
if [ -n "$OPEN" ]; then tell {OPEN} "$(try "$OPEN" once)"; tell {CLOSED} "$(try "$CLOSED" "")"; fi
while [ $# -ge 3 ]; do tell "$1" "$(connect "$2" "$3")"; shift 3; done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryTarget:
    """A registry's address for a pod."""

    name: str
    host: str
    port: int


def make_registry_target(registry: str, *, plain: bool) -> RegistryTarget:
    """Return the address of ``registry`` (host, optionally with a port)."""
    host, colon, port = registry.rpartition(":")
    if not colon or not port.isdigit():
        host, port = registry, "80" if plain else "443"
    if host == "docker.io":
        host = "registry-1.docker.io"
    return RegistryTarget(name=registry, host=host.strip("[]"), port=int(port))


def make_listener_pod(location: BuilderLocation, role: str, image: str, marks: Mapping[str, str]) -> Manifest:
    """Return the Job of a pod that listens for connections."""
    return _make_probe_job(location, role, image, marks, {"command": ["sh", "-c", _LISTEN]})


def make_probe_pod(
    location: BuilderLocation,
    image: str,
    marks: Mapping[str, str],
    targets: Sequence[RegistryTarget],
    listening: Mapping[str, str],
) -> Manifest:
    """Return the Job of a pod that connects to the ``targets`` and to the ``listening`` pods (address by role)."""
    words = [word for each in targets for word in (each.name, each.host, str(each.port))]
    env = [{"name": role.upper(), "value": address} for role, address in listening.items()]
    return _make_probe_job(
        location, PROBE, image, marks, {"command": ["sh", "-c", _PROBE_SCRIPT, "sh", *words], "env": env}
    )


def make_probe_network_policy(
    location: BuilderLocation, marks: Mapping[str, str], owners: Sequence[Mapping[str, str]]
) -> Manifest:
    """Return the NetworkPolicy that blocks all ingress of one listening pod."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": location.make_object_name(CLOSED),
            "labels": dict(marks),
            "ownerReferences": [dict(owner) for owner in owners],
        },
        "spec": {
            "podSelector": {"matchLabels": {labels.BUILDER: location.name, ROLE: CLOSED}},
            "policyTypes": ["Ingress"],
            "ingress": [],
        },
    }


def read_probe_results(pod: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the probe pod's results: the error by target, "" for a reachable one; None while the pod runs."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    ended = [state["terminated"] for each in statuses if (state := each.get("state") or {}).get("terminated")]
    if not ended:
        return None
    found = {}
    for line in str(ended[0].get("message") or "").splitlines():
        name, _, why = line.partition(" ")
        found[name] = why.strip().removeprefix("nc: ")
    return found


def _make_probe_job(
    location: BuilderLocation, role: str, image: str, marks: Mapping[str, str], container: Mapping[str, object]
) -> Manifest:
    """Return a Job that runs without root, so that every PodSecurity level admits it."""
    own = {**marks, ROLE: role}
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _NOBODY,
            "runAsGroup": _NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": _CONTAINER,
                "image": image,
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                **container,
            }
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": location.make_object_name(role), "labels": own},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": LIFETIME,
            "ttlSecondsAfterFinished": 60,
            "template": {"metadata": {"labels": own}, "spec": spec},
        },
    }


_LIFETIME = 300
"""Seconds after which the cluster ends the trial builder of a doctor that was killed."""
_BOOT_TIME = 60.0
_LOOK_TIME = 60.0
_TRANSPORTS = (TransportChoice.DIRECT, TransportChoice.PORT_FORWARD, TransportChoice.EXEC)


def examine_cluster(kube: KubeClient, settings: BuilderSettings, registries: Sequence[str]) -> list[CheckResult]:
    """Create a builder, connect over every transport, and probe the network from inside. Raises Interrupted."""
    settings = replace(settings, lifetime=_LIFETIME, replicas=1)
    named = builder_identity.make_identity(
        JobOrigin(system="local", repository="doctor"), suffix=builder_identity.make_random_suffix()
    )
    patient = _TrialBuilder(
        kube=kube, settings=settings, identity=named, location=find.locate_job_builder(named, settings)
    )
    with SignalHandler() as interrupts:
        try:
            findings = interrupts.run(lambda: patient.check_all(registries), settle=1.0)
        finally:
            report = teardown(kube, patient.location, deadline=time.monotonic() + TEARDOWN_TIME)
    if report.left:
        detail = f"could not be removed: {'; '.join(report.notes)}"
        findings.append(CheckResult(topic="builder", subject=named.name, status=CheckStatus.MISSING, detail=detail))
    return findings


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrialBuilder:
    """The builder that is checked."""

    kube: KubeClient
    settings: BuilderSettings
    identity: JobIdentity
    location: BuilderLocation

    def check_all(self, registries: Sequence[str]) -> list[CheckResult]:
        """Return the findings in the order of a build."""
        try:
            builder = self._provision()
            with Boot(self.kube, builder, deadline=time.monotonic() + _BOOT_TIME) as boot:
                begun = time.monotonic()
                (pod, *_) = boot.wait_until_ready(builder.plan.nodes[0])
                detail = f"pod {pod.name} on node {pod.host} was ready after {time.monotonic() - begun:.1f} s"
                up = CheckResult(topic="builder", status=CheckStatus.OK, detail=detail)
                isolated = checks.check_isolation(builder.plan.nodes[0])
                found = [up, isolated, *self._check_transports(builder, boot, pod)]
        except (Forbidden, Refused) as failure:
            return [
                CheckResult(topic="rights", subject="a builder", status=CheckStatus.MISSING, detail=failure.message)
            ]
        except KubeBuilderError as failure:
            return [CheckResult(topic="builder", status=CheckStatus.MISSING, detail=str(failure))]
        try:
            return [*found, *self._check_from_inside(registries)]
        except KubeError as failure:
            detail = f"cannot run the probe pod: {failure}"
            return [*found, CheckResult(topic="network policy", status=CheckStatus.UNKNOWN, detail=detail)]

    def _provision(self) -> Builder:
        known = cluster_facts.read_cluster_facts(self.kube)
        blueprint = ProvisionRequest(
            identity=self.identity,
            plan=isolation.plan_isolation(plan.make_plan((), known, self.settings), known, self.settings),
            settings=self.settings,
            certificates=certificates.issue(certificates.NAMES, self.settings.lifetime),
            surroundings=cluster_facts.read_surroundings(self.kube, known, self.settings),
        )
        return provision(self.kube, blueprint, announce=lambda _: None)

    def _check_transports(self, builder: Builder, boot: Boot, pod: PodView) -> Iterable[CheckResult]:
        """Check each transport separately; a build needs only one of them."""
        failures = {choice: self._describe_failure(builder, boot, pod, choice) for choice in _TRANSPORTS}
        worst = CheckStatus.MISSING if all(failures.values()) else CheckStatus.WARNING
        for choice, why in failures.items():
            status, detail = (worst, why) if why else (CheckStatus.OK, "buildkitd answers")
            yield CheckResult(topic="transport", subject=str(choice), status=status, detail=detail)

    def _describe_failure(self, builder: Builder, boot: Boot, pod: PodView, choice: TransportChoice) -> str:
        ways = PodDialer(kube=self.kube, keys=builder.keys, chosen=choice)
        (way,) = ways.list_candidates(pod, lambda: boot.find_pod(pod.name))
        try:
            with way.open() as endpoint:
                ways.answer(endpoint, ANSWER_TIMES[0]).close()
        except (KubeBuilderError, OSError) as failure:
            return str(failure)
        return ""

    def _check_from_inside(self, registries: Sequence[str]) -> list[CheckResult]:
        plain = make_registry_trust(self.settings)
        targets = [make_registry_target(name, plain=plain.allows_plain(name)) for name in registries]
        listening = self._listen()
        marks, image = self.identity.labels, self.settings.image
        self.kube.create(self.location.jobs_path, make_probe_pod(self.location, image, marks, targets, listening))
        seen = self._read()
        if seen is None:
            detail = f"the probe pod did not finish in {_LOOK_TIME:.0f} s"
            return [CheckResult(topic="network policy", status=CheckStatus.UNKNOWN, detail=detail)]
        findings = [self._check_registry(each.name, seen) for each in targets]
        why_open = (
            seen.get(OPEN, "it reported nothing") if listening else "a NetworkPolicy or a pod could not be created"
        )
        return [*findings, checks.check_network_policy(why_open, seen.get(CLOSED, ""))]

    def _check_registry(self, name: str, seen: Mapping[str, str]) -> CheckResult:
        why = seen.get(name, "the pod did not report it")
        detail = f"from a pod: {why or 'it responds'}"
        return CheckResult(
            topic="registry", subject=name, status=CheckStatus.MISSING if why else CheckStatus.OK, detail=detail
        )

    def _listen(self) -> dict[str, str]:
        """Create two listening pods, one behind a NetworkPolicy, and return their addresses by role.

        Returns {} if the user may not create NetworkPolicies or a pod does not start in time.
        """
        marks, image = self.identity.labels, self.settings.image
        jobs = {
            role: self.kube.create(self.location.jobs_path, make_listener_pod(self.location, role, image, marks))
            for role in (CLOSED, OPEN)
        }
        owner = objects.make_job_owner_reference(jobs[CLOSED])
        try:
            self.kube.create(self.location.policies_path, make_probe_network_policy(self.location, marks, [owner]))
        except Forbidden:
            return {}
        found: dict[str, str] = {}
        for pod in self._watch_pods():
            role, status = pod["metadata"].get("labels", {}).get(ROLE), pod.get("status") or {}
            if role in jobs and status.get("phase") == "Running" and status.get("podIP"):
                found[role] = status["podIP"]
            if len(found) == len(jobs):
                return found
        return {}

    def _read(self) -> dict[str, str] | None:
        for pod in self._watch_pods():
            seen = read_probe_results(pod) if pod["metadata"].get("labels", {}).get(ROLE) == PROBE else None
            if seen is not None:
                return seen
        return None

    def _watch_pods(self) -> Iterator[Mapping[str, Any]]:
        """Yield the listening and probing pods as they change."""
        deadline, chosen = time.monotonic() + _LOOK_TIME, f"{self.location.selector},{ROLE}"
        for event in self.kube.watch(self.location.make_core_path("pods"), deadline=deadline, labelSelector=chosen):
            yield event.object
