"""Pods that look at the cluster from inside, for `doctor`: what they are made of and what they say, without I/O.

Two of them listen, one of which a NetworkPolicy closes; a third one tries to reach both, and the registries. What it
found comes with its status (core/v1 ContainerStateTerminated), so that no right to read logs is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Location, Manifest
from ci_buildx.model.record import dataclass

LIFETIME = 120
"""Seconds after which the cluster ends a probe whose doctor was killed."""
OPEN, FENCED, KNOCKING = "open", "fenced", "knocking"
ROLE = f"{labels.DOMAIN}probe"

_PORT = 8080
_NOBODY = 65534
_CONTAINER = "probe"
_LISTEN = f"while :; do echo here | nc -l -p {_PORT} >/dev/null; done"
# nc says on stderr why there is no connection (busybox 1.37, networking/nc.c). Whatever answers is there: a registry
# that speaks TLS refuses the request, and that is an answer. A network takes a moment to enforce a new policy, and a
# listener one to listen again.
_KNOCK = f"""\
knock() {{ printf 'GET /v2/ HTTP/1.0\\r\\n\\r\\n' | timeout 6 nc -w 3 "$1" "$2" 2>&1 >/dev/null | tail -n 1; }}
tell() {{ echo "$1 $2" >> /dev/termination-log; }}
try() {{
  failed=0; tries=0
  while [ $tries -lt 4 ] && [ $failed -lt 2 ]; do
    why=$(knock "$1" {_PORT}); tries=$((tries + 1))
    if [ -n "$why" ]; then failed=$((failed + 1)); else failed=0; [ -n "$2" ] && break; fi
    sleep 1
  done
  [ $failed -lt 2 ] && why=""
  echo "$why"
}}
if [ -n "$OPEN" ]; then tell {OPEN} "$(try "$OPEN" once)"; tell {FENCED} "$(try "$FENCED" "")"; fi
while [ $# -ge 3 ]; do tell "$1" "$(knock "$2" "$3")"; shift 3; done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A registry as a pod reaches it."""

    name: str
    host: str
    port: int


def target(registry: str, *, plain: bool) -> Target:
    """Where the registry called ``registry`` (host, maybe with a port) listens."""
    host, colon, port = registry.rpartition(":")
    if not colon or not port.isdigit():
        host, port = registry, "80" if plain else "443"
    if host == "docker.io":
        host = "registry-1.docker.io"
    return Target(name=registry, host=host.strip("[]"), port=int(port))


def listener(location: Location, role: str, image: str, marks: Mapping[str, str]) -> Manifest:
    """A pod that can be knocked at."""
    return _job(location, role, image, marks, {"command": ["sh", "-c", _LISTEN]})


def knocker(
    location: Location, image: str, marks: Mapping[str, str], targets: Sequence[Target], listening: Mapping[str, str]
) -> Manifest:
    """A pod that tries to reach the ``targets`` and those that are ``listening``: their addresses by role."""
    words = [word for each in targets for word in (each.name, each.host, str(each.port))]
    env = [{"name": role.upper(), "value": address} for role, address in listening.items()]
    return _job(location, KNOCKING, image, marks, {"command": ["sh", "-c", _KNOCK, "sh", *words], "env": env})


def policy(location: Location, marks: Mapping[str, str], owners: Sequence[Mapping[str, str]]) -> Manifest:
    """The NetworkPolicy that closes the fenced pod."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": location.object_name(FENCED),
            "labels": dict(marks),
            "ownerReferences": [dict(owner) for owner in owners],
        },
        "spec": {
            "podSelector": {"matchLabels": {labels.BUILDER: location.name, ROLE: FENCED}},
            "policyTypes": ["Ingress"],
            "ingress": [],
        },
    }


def read(pod: Mapping[str, Any]) -> dict[str, str] | None:
    """What the knocking pod found: why each was not reached, "" where it was. None while it has not ended."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    ended = [state["terminated"] for each in statuses if (state := each.get("state") or {}).get("terminated")]
    if not ended:
        return None
    found = {}
    for line in str(ended[0].get("message") or "").splitlines():
        name, _, why = line.partition(" ")
        found[name] = why.strip().removeprefix("nc: ")
    return found


def _job(
    location: Location, role: str, image: str, marks: Mapping[str, str], container: Mapping[str, object]
) -> Manifest:
    """It runs as nobody, so that every level of PodSecurity lets it in."""
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
        "metadata": {"name": location.object_name(role), "labels": own},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": LIFETIME,
            "ttlSecondsAfterFinished": 60,
            "template": {"metadata": {"labels": own}, "spec": spec},
        },
    }
