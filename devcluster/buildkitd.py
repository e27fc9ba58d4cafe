"""The buildkitd.toml that makes a builder on the devcluster use its registries, docker.io's mirror included."""

from collections.abc import Sequence

from devcluster.registry import Registry


def configuration(registries: Sequence[Registry]) -> str:
    """Sections by registry. The TLS ones are not verified: their authority is known to the host, not to the pods."""
    sections = []
    for registry in registries:
        lines = ["http = true"] if registry.plain_http else ["insecure = true"]
        sections.append(section(registry.address, lines))
        sections += [section(name, [f'mirrors = ["{registry.address}"]']) for name in registry.mirrors]
    return "\n".join(sections)


def section(name: str, lines: Sequence[str]) -> str:
    """One registry's table."""
    return "\n".join((f'[registry."{name}"]', *(f"  {line}" for line in lines), ""))
