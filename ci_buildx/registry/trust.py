"""How to reach a registry: plain HTTP, TLS without verification, TLS with a custom certificate authority.

The rules are BuildKit's (0.34.2, ``util/resolver/resolver.go``: ``fillInsecureOpts``), so that this client reaches
what buildkitd reaches: ``[registry."host"]`` with ``http``, ``insecure`` and ``ca``; local hosts use plain HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model.documents import MalformedDocument, parse_toml
from ci_buildx.model.record import dataclass, field, replace
from ci_buildx.model.secret import Secret

_SOURCE = "buildkitd config"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryTrust:
    """Hosts (with port) by how they are trusted; ``secured`` ones use TLS although they are local.

    ``authorities`` are files or PEM texts, ``keypairs`` client certificates with their keys; the PEM authorities in
    ``everywhere`` apply to all hosts. ``mirrors`` are hosts that are asked in place of others.
    """

    plain: frozenset[str] = frozenset()
    insecure: frozenset[str] = frozenset()
    secured: frozenset[str] = frozenset()
    authorities: Mapping[str, tuple[Path | str, ...]] = field(default_factory=dict)
    keypairs: Mapping[str, tuple[tuple[Secret, Secret], ...]] = field(default_factory=dict)
    everywhere: str = ""
    mirrors: frozenset[str] = frozenset()

    def has_tls_declaration(self, host: str) -> bool:
        """Return whether TLS settings were declared for a host."""
        return host in self.insecure or host in self.authorities

    def has_declared(self, host: str) -> bool:
        """Return whether the user declared anything for a host."""
        declared = self.plain | self.insecure | self.secured | self.mirrors
        return host in declared or host in self.authorities or host in self.keypairs

    def allow_insecure(self, hosts: Iterable[str]) -> RegistryTrust:
        """Return a copy in which ``hosts`` may use plain HTTP or unverified TLS (``registry.insecure=true``)."""
        added = frozenset(hosts)
        return replace(self, plain=self.plain | added, insecure=self.insecure | added) if added else self

    def allows_plain(self, host: str) -> bool:
        """Return whether requests may be sent without TLS."""
        return host in self.plain or (is_local_host(host) and host not in self.secured)

    def should_prefer_tls(self, host: str) -> bool:
        """Return whether to try TLS first: always, unless only plain HTTP was declared."""
        return not self.allows_plain(host) or host in self.insecure


def read_trust(
    buildkitd_toml: str,
    *,
    files: Mapping[str, str] | None = None,
    secrets: Mapping[str, Secret] | None = None,
    everywhere: str = "",
) -> RegistryTrust:
    """Return the registry settings in a ``buildkitd.toml``; raise InputError if it is malformed.

    ``files`` and ``secrets`` are the contents of files it refers to, by base name, since its paths are those of a pod.
    """
    hosts = _read_registries(buildkitd_toml)
    return RegistryTrust(
        plain=frozenset(host for host, options in hosts.items() if options.get("http") is True),
        insecure=frozenset(host for host, options in hosts.items() if options.get("insecure") is True),
        secured=frozenset(host for host, options in hosts.items() if options.get("http") is False),
        authorities={
            host: found for host, options in hosts.items() if (found := _list_files(host, options, files or {}))
        },
        keypairs={host: pairs for host, options in hosts.items() if (pairs := _list_pairs(options, secrets or {}))},
        everywhere=everywhere,
        mirrors=frozenset(mirror for options in hosts.values() for mirror in _list_mirrors(options)),
    )


def is_local_host(host: str) -> bool:
    """Return whether a host (with or without port) is this machine; docker trusts such hosts without TLS."""
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _read_registries(text: str) -> dict[str, dict[str, Any]]:
    if not text.strip():
        return {}
    try:
        section = parse_toml(text).get("registry", {})
    except MalformedDocument as error:
        raise InputError(f"malformed TOML: {error}", source=_SOURCE) from error
    if not isinstance(section, dict) or not all(isinstance(options, dict) for options in section.values()):
        raise InputError('registries must be tables such as [registry."host:5000"]', source=_SOURCE)
    return section


def _list_files(host: str, options: dict[str, Any], known: Mapping[str, str]) -> tuple[Path | str, ...]:
    files = options.get("ca", [])
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise InputError(f"ca of registry {host!r} must be a list of files", source=_SOURCE)
    return tuple(known.get(Path(file).name) or Path(file) for file in files)


def _list_mirrors(options: dict[str, Any]) -> list[str]:
    """Return the hosts of mirrors, without scheme and path."""
    named = options.get("mirrors", [])
    texts = [text for text in named if isinstance(text, str)] if isinstance(named, list) else []
    return [text.rpartition("://")[2].partition("/")[0] for text in texts]


def _list_pairs(options: dict[str, Any], secrets: Mapping[str, Secret]) -> tuple[tuple[Secret, Secret], ...]:
    """Return the client certificates with their keys, if both are known here."""
    named = options.get("keypair", []) if secrets else []
    places = [(Path(pair["cert"]).name, Path(pair["key"]).name) for pair in named]
    return tuple((secrets[cert], secrets[key]) for cert, key in places if cert in secrets and key in secrets)
