"""The login with which cluster nodes pull the builder's own images: driver-opt ``image-pull-secrets=auto``."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from ci_buildx.errors import InputError
from ci_buildx.model import reference
from ci_buildx.model.secret import Secret
from ci_buildx.registry import credentials
from ci_buildx.registry.credentials import HUB, HUB_KEY, RegistryLogin
from ci_buildx.settings.builder import BuilderSettings

_SOURCE = "driver-opt image-pull-secrets=auto"


def find_pull_login(settings: BuilderSettings, env: Mapping[str, str]) -> Secret | None:
    """Return a docker configuration with the logins for the registries of the builder's images.

    Returns None unless ``image-pull-secrets=auto`` is set. Raises InputError if none of the registries has a known
    login, or if a login is an identity token.
    """
    if not settings.pull_login:
        return None
    store = credentials.load_credentials(env)
    images = [settings.image, *([settings.qemu.image] if settings.qemu.install else [])]
    auths = {}
    for image in images:
        host = reference.parse_reference(image).domain
        if login := store.lookup(host):
            auths[HUB_KEY if host == HUB else host] = {"auth": _make_basic_login(login)}
    if not auths:
        hosts = ", ".join(dict.fromkeys(reference.parse_reference(image).domain for image in images))
        raise InputError(f"credentials for {hosts} not found", source=_SOURCE, fix="log in there, or name a Secret")
    return Secret(json.dumps({"auths": auths}))


def _make_basic_login(login: RegistryLogin) -> str:
    """Return user name and password in base64; kubelets accept no identity tokens, so those raise InputError."""
    if login.identity_token is not None:
        raise InputError("the login is an identity token, which nodes cannot use", source=_SOURCE, fix="name a Secret")
    return base64.b64encode(f"{login.username}:".encode() + login.secret.reveal()).decode()
