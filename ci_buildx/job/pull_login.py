"""The login that nodes pull a builder's images with, made from the job's own (``image-pull-secrets=auto``)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from ci_buildx.errors import InputError
from ci_buildx.model import reference
from ci_buildx.model.secret import Secret
from ci_buildx.registry import credentials
from ci_buildx.registry.dockerconfig import HUB, HUB_KEY, Login
from ci_buildx.settings.builder import BuilderSettings

_SOURCE = "driver-opt image-pull-secrets=auto"


def find(settings: BuilderSettings, env: Mapping[str, str]) -> Secret | None:
    """A docker configuration with the logins for the registries of the builder's images, None if none is wanted.

    Raises InputError where no login for the image's registry is known.
    """
    if not settings.pull_login:
        return None
    store = credentials.load(env)
    images = [settings.image, *([settings.qemu.image] if settings.qemu.install else [])]
    auths = {}
    for image in images:
        host = reference.parse(image).domain
        if login := store.lookup(host):
            auths[HUB_KEY if host == HUB else host] = {"auth": _basic(login)}
    if not auths:
        hosts = ", ".join(dict.fromkeys(reference.parse(image).domain for image in images))
        raise InputError(f"no login for {hosts} is known", source=_SOURCE, fix="log in there, or name a Secret")
    return Secret(json.dumps({"auths": auths}))


def _basic(login: Login) -> str:
    """A name and a password: what kubelets understand. An identity token is none."""
    if login.identity_token is not None:
        raise InputError("the login is an identity token, which nodes cannot use", source=_SOURCE, fix="name a Secret")
    return base64.b64encode(f"{login.username}:".encode() + login.secret.reveal()).decode()
