"""The buildkitd.toml that makes a builder use the devcluster's registries, including the mirror of public ones."""

from collections.abc import Sequence

from devcluster.registry import Registry


def configuration(registries: Sequence[Registry]) -> str:
    """Return sections by registry. TLS registries are not verified: only the host trusts their authority."""
    sections = []
    for registry in registries:
        lines = ["http = true"] if registry.plain_http else ["insecure = true"]
        sections.append(section(registry.address, lines))
        sections += [section(name, [f'mirrors = ["{registry.address}"]']) for name in registry.mirrors]
    return "\n".join(sections)


def section(name: str, lines: Sequence[str]) -> str:
    """Format one registry's table."""
    return "\n".join((f'[registry."{name}"]', *(f"  {line}" for line in lines), ""))
