"""Certificates and keys for registries in the builder's pods, and what our own client trusts because of them.

Names of files come from their content, so that the nodes of a builder share a Secret. Authorities are public and are in
the ConfigMap; client certificates and their keys are in the Secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ci_buildx.builder.builder import Manifest
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings, RegistryFiles

if TYPE_CHECKING:
    from ci_buildx.registry.trust import Trust

CERTIFICATES_FOLDER = "/etc/buildkit/certs"
KEYS_FOLDER = "/etc/buildkit/keys"
AUTHORITIES, KEYS = "registry-certificates", "registry-keys"
"""Names of volumes."""


def authorities(settings: BuilderSettings) -> dict[str, str]:
    """The files of the ConfigMap, by name."""
    return {_name("ca", text): text for one in settings.registry_files for text in one.authorities}


def keys(settings: BuilderSettings) -> dict[str, Secret]:
    """The files of the Secret, by name."""
    found: dict[str, Secret] = {}
    for pair in (pair for one in settings.registry_files for pair in one.keypairs):
        found[_name("cert", pair.certificate)] = Secret(pair.certificate)
        found[_name("key", pair.certificate)] = pair.key
    return found


def options(one: RegistryFiles) -> dict[str, Any]:
    """What the registry's table of buildkitd.toml says of its files in the pod."""
    said: dict[str, Any] = {}
    if one.authorities:
        said["ca"] = [f"{CERTIFICATES_FOLDER}/{one.host}/{_name('ca', text)}" for text in one.authorities]
    if one.keypairs:
        said["keypair"] = [
            {
                "key": f"{KEYS_FOLDER}/{one.host}/{_name('key', pair.certificate)}",
                "cert": f"{KEYS_FOLDER}/{one.host}/{_name('cert', pair.certificate)}",
            }
            for pair in one.keypairs
        ]
    return said


def volumes(settings: BuilderSettings, *, config_map: str, secret: str) -> list[Manifest]:
    """The pod's volumes; each registry's files are in a folder of its name."""
    made: list[Manifest] = []
    if items := [_item(one.host, "ca", text) for one in settings.registry_files for text in one.authorities]:
        made.append({"name": AUTHORITIES, "configMap": {"name": config_map, "items": items}})
    pairs = [(one.host, pair.certificate) for one in settings.registry_files for pair in one.keypairs]
    if items := [_item(host, kind, text) for host, text in pairs for kind in ("cert", "key")]:
        mode = 0o440 if settings.rootless else 0o400
        made.append({"name": KEYS, "secret": {"secretName": secret, "defaultMode": mode, "items": items}})
    return made


def mounts(settings: BuilderSettings) -> list[Manifest]:
    """Where buildkitd's container has them."""
    places = ((AUTHORITIES, CERTIFICATES_FOLDER, authorities(settings)), (KEYS, KEYS_FOLDER, keys(settings)))
    return [{"name": name, "mountPath": folder, "readOnly": True} for name, folder, files in places if files]


def trust(files: Mapping[str, str], secrets: Mapping[str, Secret]) -> Trust:
    """What our own client trusts: as buildkitd does, by the files of its ConfigMap and of its Secret."""
    from ci_buildx.builder.builder import CONFIG_FILE
    from ci_buildx.builder.daemon import AUTHORITIES_FILE
    from ci_buildx.registry.trust import read

    return read(files.get(CONFIG_FILE, ""), files=files, secrets=secrets, everywhere=files.get(AUTHORITIES_FILE, ""))


def trust_by_settings(settings: BuilderSettings) -> Trust:
    """The same for a builder that these settings make."""
    from ci_buildx.builder import daemon

    return trust(daemon.files(settings), keys(settings))


def _item(host: str, kind: str, text: str) -> dict[str, str]:
    name = _name(kind, text)
    return {"key": name, "path": f"{host}/{name}"}


def _name(kind: str, text: str) -> str:
    return f"registry-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.pem"
