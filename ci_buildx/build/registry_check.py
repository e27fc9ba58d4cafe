"""What a build needs of registries, asked beside its boot: what they refuse for certain is known before it builds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice

from ci_buildx.build.attachables import make_builder_trust
from ci_buildx.build.build_run import BuildRun
from ci_buildx.build.login_hosts import find_base_images
from ci_buildx.builder.builder import Builder
from ci_buildx.buildkit.exporters import find_push, is_true
from ci_buildx.errors import KubeBuilderError, RegistryError, SolveError
from ci_buildx.model import debug
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.reference import ImageReference, parse_reference
from ci_buildx.registry import token_authority
from ci_buildx.registry.advice import NO_MATCH
from ci_buildx.registry.connection import RequestPatience
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.pace import TransferPace
from ci_buildx.registry.trust import RegistryTrust, is_local_host
from ci_buildx.settings.values import BuildSettings

_LOG = debug.get_log("build")
_CONNECT, _SILENCE, _GRACE = 3.0, 5.0, 10.0
"""Seconds for a connection, between two pieces of an answer, and for an answer as a whole."""
MOST_ASKED = 32
"""Maximum number of base images that are asked for: a Dockerfile may name any number."""


def find_refusal(site: BuildRun, builder: Builder, store: CredentialStore) -> RegistryError | None:
    """Return what a registry refuses for certain of this build's pushes and base images, else None.

    None also if this machine cannot know: registries that only the builder reaches, or tokens that only it may fetch.
    """
    if is_true(site.env.get(token_authority.SWITCH, "")):
        return None
    build = site.settings.build
    pushed, based = list_pushed(build), find_base_images(build)
    if not pushed and not based:
        return None
    push = find_push(build)
    insecure = {one.domain for one in push.references} if push is not None and push.insecure else set()
    try:
        trust = make_builder_trust(site, builder, insecure)
        pushed, read = _drop_local(pushed), _drop_local(list_read(build, trust))
        if not pushed and not read:
            return None
        # Imported here: most builds ask nothing, or are over before.
        from ci_buildx.registry import access
        from ci_buildx.registry.client import RegistryClient

        with RegistryClient(store, trust=trust, patience=make_patience()) as client:
            refusal = access.find_refusal(client, store, pushed, read)
    except KubeBuilderError as error:
        _LOG.debug("registries were not asked: %s", error)
        return None
    _LOG.debug("registries were asked: %s", refusal or "nothing is refused")
    return refusal


def _drop_local(images: Iterable[ImageReference]) -> list[ImageReference]:
    """Drop the images of local hosts: in the builder's pod that name is another registry."""
    return [one for one in images if not is_local_host(one.domain)]


def make_patience() -> RequestPatience:
    """Return the patience of questions whose answers are useful but not needed: one attempt, a few seconds."""
    return RequestPatience(attempts=1, connect=_CONNECT, silence=_SILENCE, pace=TransferPace(grace=_GRACE))


def list_pushed(build: BuildSettings) -> list[ImageReference]:
    """Return the references that a build pushes: its images, and its registry caches unless their errors are ignored.

    Malformed references are left out; BuildKit names them.
    """
    if build.call:
        return []
    push = find_push(build)
    caches = (one for one in build.cache_to if one.type == "registry" and not is_true(one.get("ignore-error")))
    texts = chain(map(str, push.references) if push else (), (one.get("ref") for one in caches))
    return list(_parse_references(texts))


def list_read(build: BuildSettings, trust: RegistryTrust) -> list[ImageReference]:
    """Return the base images that a build certainly reads from their own registries.

    Empty if that is not certain: with mirrors, source policies or named contexts, which may replace images. An image
    that is named by digest may be in a builder's cache, and BuildKit then asks no registry.
    """
    replaced = bool(trust.mirrors or build.source_policy or build.contexts)
    if build.call or replaced:
        return []
    found = (one.add_default_tag() for one in _parse_references(find_base_images(build)) if not one.digest)
    return list(islice(found, MOST_ASKED))


def _parse_references(texts: Iterable[str]) -> Iterator[ImageReference]:
    for text in texts:
        try:
            yield parse_reference(text)
        except ValueError:
            continue


_UNMATCHED = compile_lazily(rf"failed to resolve source metadata for (\S+): (?:\S+: )?{NO_MATCH}")


def explain_platform(site: BuildRun, builder: Builder, store: CredentialStore, failure: SolveError) -> SolveError:
    """Return the failure with the platform that the base image lacks and, if its registry answers, those it has."""
    found = _UNMATCHED.search(failure.message)
    image = next(_parse_references([found[1]]), None) if found else None
    if image is None:
        return failure
    from ci_buildx.registry import access
    from ci_buildx.registry.client import RegistryClient

    available: tuple[str, ...] = ()
    with (
        suppress(KubeBuilderError),
        RegistryClient(store, trust=make_builder_trust(site, builder), patience=make_patience()) as client,
    ):
        available = access.list_platforms(client, image.add_default_tag())
    return failure.reword(
        f"{failure.message} ({describe_lack(image, _list_wanted(builder), available)})",
        fix="build other platforms with --platform, or choose another base image",
    )


def _list_wanted(builder: Builder) -> list[str]:
    return list(dict.fromkeys(str(platform) for node in builder.plan.nodes for platform in node.platforms))


def describe_lack(image: ImageReference, wanted: Sequence[str], available: Sequence[str]) -> str:
    """Describe which of the wanted platforms an image lacks, if its own platforms are known and what these are."""
    lacking = ", ".join(one for one in wanted if one not in available) or "the platform of its FROM"
    if not available and len(wanted) > 1:
        lacking = f"one of {lacking}"
    has = f"; it has {', '.join(available)}" if available else ""
    return f"{image.familiar} has no image for {lacking}{has}"
