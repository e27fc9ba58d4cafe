"""Asks registries beforehand what a build will need of them: the right to push, and readable base images.

Only definite refusals count, which BuildKit would meet later with the same login: errors in the registry's own format
(OCI distribution specification 1.1, ``spec.md``, "Error Codes") with status 401, 403 or 404, and a token service that
refuses the login. Silence, pages of proxies, rate limits, failures, and refusals that depend on the caller's network
mean nothing: the build goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from http import HTTPStatus

from ci_buildx.errors import KubeBuilderError, RegistryError
from ci_buildx.model.documents import parse_json
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass
from ci_buildx.model.reference import ImageReference
from ci_buildx.registry.advice import advise_login
from ci_buildx.registry.auth import LoginRefused
from ci_buildx.registry.client import RegistryClient, RegistryRepository, make_refusal
from ci_buildx.registry.connection import RegistryResponse
from ci_buildx.registry.content import read_platform
from ci_buildx.registry.credentials import CredentialStore

_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_DENIED_CODES = frozenset(("UNAUTHORIZED", "DENIED"))
_ABSENT_CODES = frozenset(("NAME_UNKNOWN", "MANIFEST_UNKNOWN"))
_OF_NETWORK = compile_lazily(r"(?i)\bIP\b|allow ?list|network|\bvpc|explicit deny|resource-based policy")
"""Refusals that may depend on where the request comes from: the builder's pods may be allowed what this machine is not.

GitHub's IP allow lists, and policies of AWS ECR with conditions on the VPC endpoint.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _RegistryQuestion:
    """A request to try, what it is for, and the fixes if the login is refused or the subject does not exist."""

    doing: str
    ask: Callable[[], RegistryResponse]
    if_denied: str
    if_absent: str


def find_refusal(
    client: RegistryClient, store: CredentialStore, pushed: Iterable[ImageReference], read: Iterable[ImageReference]
) -> RegistryError | None:
    """Return the first definite refusal of the repositories to push to and the images to ``read``, else None."""
    for repository in dict.fromkeys(map(RegistryRepository.from_reference, pushed)):
        question = _RegistryQuestion(
            doing=f"pushing to {repository}",
            ask=partial(client.try_push, repository),
            if_denied=advise_login(repository.domain, store),
            if_absent=f"create the repository {repository}, or check its name",
        )
        if refusal := _ask(question):
            return refusal
    for image in read:
        check = f"check the name and the tag of {image}"
        question = _RegistryQuestion(
            doing=f"reading {image}",
            ask=partial(client.try_read, RegistryRepository.from_reference(image), image.digest or image.tag),
            if_denied=f"{check}, or {advise_login(image.domain, store)}",
            if_absent=check,
        )
        if refusal := _ask(question):
            return refusal
    return None


def _ask(question: _RegistryQuestion) -> RegistryError | None:
    """Return the refusal if the answer is a definite one, else None."""
    try:
        answer = question.ask()
    except LoginRefused as error:
        message = f"{question.doing} would fail: {error.message}"
        return RegistryError(message, status=error.status, fix=error.fix or question.if_denied)
    except KubeBuilderError:
        return None
    code = _read_code(answer.body)
    if answer.status in _REFUSED and code in _DENIED_CODES and not _OF_NETWORK.search(answer.body.decode("latin-1")):
        fix = question.if_denied
    elif answer.status == HTTPStatus.NOT_FOUND and code in _ABSENT_CODES:
        fix = question.if_absent
    else:
        return None
    refusal = make_refusal(answer, "", question.doing)
    return RegistryError(refusal.message, status=refusal.status, fix=fix)


def _read_code(body: bytes) -> str:
    """Return the code of the first error in a registry's answer, "" for other content."""
    try:
        return str(parse_json(body)["errors"][0]["code"])
    except (ValueError, TypeError, KeyError, IndexError):
        return ""


def list_platforms(client: RegistryClient, image: ImageReference) -> tuple[str, ...]:
    """Return the platforms of an image index, in its order; () if the registry does not tell, or for a single image."""
    with suppress(KubeBuilderError):
        document = client.read_manifest(RegistryRepository.from_reference(image), image.digest or image.tag)
        found = (read_platform(entry) for entry in document.entries)
        return tuple(dict.fromkeys(str(one) for one in found if one is not None))
    return ()
