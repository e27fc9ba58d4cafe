"""Certificates and keys for registries in the builder's pods, and the trust of kube-builder's own client.

File names are derived from the content, so that the nodes of a builder can share a Secret. CA certificates are public
and are in the ConfigMap; client certificates and their keys are in the Secret.
"""

from __future__ import annotations

import hashlib
from typing import Any

from ci_buildx.builder.builder import Manifest
from ci_buildx.builder.pods import AUTHORITIES_VOLUME, KEYS_VOLUME
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderSettings, RegistryFiles

CERTIFICATES_FOLDER = "/etc/buildkit/certs"
KEYS_FOLDER = "/etc/buildkit/keys"


def list_authorities(settings: BuilderSettings) -> dict[str, str]:
    """Return the CA files of the ConfigMap by name."""
    return {_make_name("ca", text): text for one in settings.registry_files for text in one.authorities}


def list_keys(settings: BuilderSettings) -> dict[str, Secret]:
    """Return the client certificate and key files of the Secret by name."""
    found: dict[str, Secret] = {}
    for pair in (pair for one in settings.registry_files for pair in one.keypairs):
        found[_make_name("cert", pair.certificate)] = Secret(pair.certificate)
        found[_make_name("key", pair.certificate)] = pair.key
    return found


def make_options(one: RegistryFiles) -> dict[str, Any]:
    """Return the entries of the registry's table in buildkitd.toml for its files in the pod."""
    said: dict[str, Any] = {}
    if one.authorities:
        said["ca"] = [f"{CERTIFICATES_FOLDER}/{one.host}/{_make_name('ca', text)}" for text in one.authorities]
    if one.keypairs:
        said["keypair"] = [
            {
                "key": f"{KEYS_FOLDER}/{one.host}/{_make_name('key', pair.certificate)}",
                "cert": f"{KEYS_FOLDER}/{one.host}/{_make_name('cert', pair.certificate)}",
            }
            for pair in one.keypairs
        ]
    return said


def make_volumes(settings: BuilderSettings, *, config_map: str, secret: str) -> list[Manifest]:
    """Return the pod's volumes; each registry's files are in a folder with its name."""
    made: list[Manifest] = []
    if items := [_make_item(one.host, "ca", text) for one in settings.registry_files for text in one.authorities]:
        made.append({"name": AUTHORITIES_VOLUME, "configMap": {"name": config_map, "items": items}})
    pairs = [(one.host, pair.certificate) for one in settings.registry_files for pair in one.keypairs]
    if items := [_make_item(host, kind, text) for host, text in pairs for kind in ("cert", "key")]:
        mode = 0o440 if settings.rootless else 0o400
        made.append({"name": KEYS_VOLUME, "secret": {"secretName": secret, "defaultMode": mode, "items": items}})
    return made


def make_mounts(settings: BuilderSettings) -> list[Manifest]:
    """Return the volume mounts of buildkitd's container."""
    places = (
        (AUTHORITIES_VOLUME, CERTIFICATES_FOLDER, list_authorities(settings)),
        (KEYS_VOLUME, KEYS_FOLDER, list_keys(settings)),
    )
    return [{"name": name, "mountPath": folder, "readOnly": True} for name, folder, files in places if files]


def _make_item(host: str, kind: str, text: str) -> dict[str, str]:
    name = _make_name(kind, text)
    return {"key": name, "path": f"{host}/{name}"}


def _make_name(kind: str, text: str) -> str:
    return f"registry-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.pem"
