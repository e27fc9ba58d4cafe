"""What some builders need to know of the cluster besides its nodes: asked for only where an option makes it matter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ci_buildx.builder.draft import NEWEST
from ci_buildx.builder.facts import ClusterFacts, minor_version
from ci_buildx.errors import KubeError
from ci_buildx.kube.client import KubeClient
from ci_buildx.model.record import dataclass
from ci_buildx.settings.builder import BuilderSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """``server`` is the API server's version, ``ranges`` are the addresses of services and pods, as far as known."""

    server: tuple[int, int] = NEWEST
    ranges: tuple[str, ...] = ()


def look(kube: KubeClient, facts: ClusterFacts, settings: BuilderSettings) -> Surroundings:
    """Ask the cluster what the settings make worth knowing. Raises KubeError."""
    # How a profile is named depends on the version; a privileged container has none.
    server = minor_version(str(kube.get("/version").get("gitVersion", ""))) if settings.rootless else NEWEST
    return Surroundings(server=server, ranges=_ranges(kube, facts) if settings.proxy else ())


def _ranges(kube: KubeClient, facts: ClusterFacts) -> tuple[str, ...]:
    try:
        listed = kube.list("/apis/networking.k8s.io/v1/servicecidrs")["items"]
    except KubeError:
        # The API has it since Kubernetes 1.33.
        listed = []
    return ranges_of(listed, facts)


def ranges_of(service_ranges: Sequence[Mapping[str, Any]], facts: ClusterFacts) -> tuple[str, ...]:
    """The addresses of services, by the ServiceCIDR objects, and of pods, by what their nodes were given."""
    services = [cidr for item in service_ranges for cidr in item["spec"].get("cidrs") or ()]
    pods = [cidr for node in facts.nodes or () for cidr in node.ranges]
    return (*services, *_collapsed(pods))


def _collapsed(ranges: Iterable[str]) -> list[str]:
    """As few ranges as there are: each of a thousand nodes has one of its own."""
    import ipaddress

    networks = [ipaddress.ip_network(text) for text in ranges]
    fours = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    sixes = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    return [*map(str, ipaddress.collapse_addresses(fours)), *map(str, ipaddress.collapse_addresses(sixes))]
