"""How to reach a registry: plain HTTP, TLS without verification, TLS with a certificate authority of its own.

The rules are BuildKit's (0.34.2, ``util/resolver/resolver.go``: ``fillInsecureOpts``), so that this client reaches
what buildkitd reaches: ``[registry."host"]`` with ``http``, ``insecure`` and ``ca``; local hosts speak plain HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass, field, replace

_SOURCE = "buildkitd config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Hosts (with port) by how far they are trusted; ``secured`` ones speak TLS although they are local."""

    plain: frozenset[str] = frozenset()
    insecure: frozenset[str] = frozenset()
    secured: frozenset[str] = frozenset()
    authorities: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def knows(self, host: str) -> bool:
        """Whether anything was declared for TLS with a host."""
        return host in self.insecure or host in self.authorities

    def relaxed(self, hosts: Iterable[str]) -> Trust:
        """The same with hosts that may speak plain HTTP or TLS that nothing verifies (``registry.insecure=true``)."""
        added = frozenset(hosts)
        return replace(self, plain=self.plain | added, insecure=self.insecure | added) if added else self

    def allows_plain(self, host: str) -> bool:
        """Whether requests may go without TLS."""
        return host in self.plain or (is_local(host) and host not in self.secured)

    def prefers_tls(self, host: str) -> bool:
        """Whether TLS comes first: always, except where plain HTTP is all that was declared."""
        return not self.allows_plain(host) or host in self.insecure


def read(buildkitd_toml: str) -> Trust:
    """What a ``buildkitd.toml`` declares about registries. InputError if it is malformed."""
    hosts = _registries(buildkitd_toml)
    return Trust(
        plain=frozenset(host for host, options in hosts.items() if options.get("http") is True),
        insecure=frozenset(host for host, options in hosts.items() if options.get("insecure") is True),
        secured=frozenset(host for host, options in hosts.items() if options.get("http") is False),
        authorities={host: files for host, options in hosts.items() if (files := _files(host, options))},
    )


def is_local(host: str) -> bool:
    """Whether a host (with or without port) is this machine: docker trusts those without TLS."""
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _registries(text: str) -> dict[str, dict[str, Any]]:
    if not text.strip():
        return {}
    import tomllib

    try:
        section = tomllib.loads(text).get("registry", {})
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"malformed TOML: {error}", source=_SOURCE) from error
    if not isinstance(section, dict) or not all(isinstance(options, dict) for options in section.values()):
        raise InputError('registries must be tables such as [registry."host:5000"]', source=_SOURCE)
    return section


def _files(host: str, options: dict[str, Any]) -> tuple[Path, ...]:
    files = options.get("ca", [])
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise InputError(f"ca of registry {host!r} must be a list of files", source=_SOURCE)
    return tuple(Path(file) for file in files)
