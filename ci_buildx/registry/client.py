"""A client of a registry's API: manifests and blobs (OCI distribution specification 1.1, ``spec.md``)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode, urljoin, urlsplit

from ci_buildx.errors import RegistryError
from ci_buildx.model.documents import parse_json
from ci_buildx.model.hosts import parse_origin
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass, replace
from ci_buildx.model.reference import ImageReference
from ci_buildx.registry.advice import find_no_artifacts
from ci_buildx.registry.auth import RegistryAccess, RegistryAuthorizer
from ci_buildx.registry.connection import RegistryConnection, RegistryRequest, RegistryResponse, RequestPatience
from ci_buildx.registry.content import (
    ACCEPTED,
    LARGEST_CONFIG,
    OCI_INDEX,
    ManifestDocument,
    check_digest,
    parse_document,
    verify_content,
)
from ci_buildx.registry.credentials import HUB, CredentialStore
from ci_buildx.registry.trust import RegistryTrust

if TYPE_CHECKING:
    from requests import Response

_HUB_API = "registry-1.docker.io"
_LONGEST_REASON = 300
MOST_PAGES = 64
"""Maximum number of pages of a list of referrers."""
MOST_REFERRERS = 16384
"""Maximum number of manifests that refer to one."""
_NEXT = compile_lazily(r'<([^<>]{1,2000})>\s*;\s*rel="?next"?')


@dataclass(frozen=True, slots=True)
class RegistryRepository:
    """A repository of a registry, such as ``RegistryRepository("docker.io", "library/alpine")``."""

    domain: str
    path: str

    def __str__(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def host(self) -> str:
        """The host that serves its API."""
        return _HUB_API if self.domain == HUB else self.domain

    @classmethod
    def from_reference(cls, reference: ImageReference) -> RegistryRepository:
        """Return the repository of a reference."""
        return cls(reference.domain, reference.path)


class RegistryClient:
    """Reads and writes repositories. Methods raise RegistryError, or InputError if the login lookup fails."""

    def __init__(
        self, store: CredentialStore, *, trust: RegistryTrust | None = None, patience: RequestPatience | None = None
    ) -> None:
        self._connection = RegistryConnection(trust or RegistryTrust(), patience)
        self._authorizer = RegistryAuthorizer(store, self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def ping(self, domain: str) -> None:
        """Check that a registry responds and accepts the login."""
        host = RegistryRepository(domain, "").host
        request = RegistryRequest(method="GET", url=f"{self._connection.find_base(host)}/v2/")
        answer = self._call(request, RegistryAccess(host=host))
        if answer.status != HTTPStatus.OK:
            raise make_refusal(answer, domain, "the first request")

    def read_manifest(self, repository: RegistryRepository, name: str) -> ManifestDocument:
        """Return the manifest or index with a tag or digest; if ``name`` is a digest, verify the content."""
        request = self._request("GET", repository, f"manifests/{name}", headers={"Accept": ACCEPTED})
        answer = self._call(request, _make_pull_access(repository))
        if answer.status != HTTPStatus.OK:
            raise make_refusal(answer, repository.domain, f"reading {repository}{'@' if ':' in name else ':'}{name}")
        if ":" in name:
            verify_content(answer.body, name)
        return parse_document(answer.body, answer.headers.get("content-type", ""))

    def has_manifest(self, repository: RegistryRepository, digest: str) -> bool:
        """Return whether a manifest exists."""
        request = self._request("HEAD", repository, f"manifests/{digest}", headers={"Accept": ACCEPTED})
        return self._check_exists(request, repository)

    def has_tag(self, repository: RegistryRepository, tag: str, digest: str) -> bool:
        """Return whether ``tag`` already points to the manifest ``digest``, if the registry reports digests."""
        request = self._request("HEAD", repository, f"manifests/{tag}", headers={"Accept": ACCEPTED})
        answer = self._call(request, _make_push_access(repository))
        return answer.status == HTTPStatus.OK and answer.headers.get("docker-content-digest") == digest

    def put_manifest(self, repository: RegistryRepository, name: str, document: ManifestDocument) -> None:
        """Push a manifest or index under a tag or digest."""
        headers = {"Content-Type": document.descriptor.media_type}
        request = self._request("PUT", repository, f"manifests/{name}", headers=headers, body=lambda: document.body)
        answer = self._call(request, _make_push_access(repository))
        if answer.status not in (HTTPStatus.CREATED, HTTPStatus.OK, HTTPStatus.ACCEPTED):
            raise make_refusal(answer, repository.domain, f"pushing {repository}:{name}")
        stored = answer.headers.get("docker-content-digest", document.descriptor.digest)
        if stored != document.descriptor.digest:
            raise RegistryError(f"{repository.domain} stored {document.descriptor.digest} as {stored[:100]}")

    def read_referrers(self, repository: RegistryRepository, digest: str) -> list[dict[str, Any]] | None:
        """Return the manifests whose subject is ``digest``, None if the registry has no referrers API.

        Pages are followed as long as they come from the registry itself (specification, "Listing Referrers").
        """
        entries: list[dict[str, Any]] = []
        request = self._request("GET", repository, f"referrers/{check_digest(digest)}", headers={"Accept": OCI_INDEX})
        for _ in range(MOST_PAGES):
            answer = self._call(request, _make_pull_access(repository))
            if answer.status != HTTPStatus.OK:
                return entries or None
            try:
                entries += parse_document(answer.body, OCI_INDEX).entries
            except RegistryError:  # A registry that answers any path, such as a proxy with a page of its own.
                return entries or None
            if len(entries) > MOST_REFERRERS:
                raise RegistryError(f"{repository} lists more than {MOST_REFERRERS} referrers of {digest}")
            link = _NEXT.search(answer.headers.get("link", ""))
            url = _join_url(request.url, link[1]) if link else ""
            if not url or parse_origin(url) != parse_origin(request.url):
                break
            request = replace(request, url=url)
        return entries

    def read_blob(self, repository: RegistryRepository, digest: str, *, limit: int = LARGEST_CONFIG) -> bytes:
        """Return a blob of at most ``limit`` bytes, such as an image's config."""
        request = self._request("GET", repository, f"blobs/{check_digest(digest)}", limit=limit)
        answer = self._call(request, _make_pull_access(repository))
        if answer.status != HTTPStatus.OK:
            raise make_refusal(answer, repository.domain, f"reading {digest} of {repository}")
        verify_content(answer.body, digest)
        return answer.body

    def has_blob(self, repository: RegistryRepository, digest: str) -> bool:
        """Return whether a blob exists."""
        return self._check_exists(self._request("HEAD", repository, f"blobs/{check_digest(digest)}"), repository)

    def mount_blob(self, repository: RegistryRepository, digest: str, source: RegistryRepository) -> bool:
        """Mount a blob from another repository of the same registry; return whether the registry supports it."""
        query = urlencode({"mount": check_digest(digest), "from": source.path})
        request = self._request("POST", repository, f"blobs/uploads/?{query}")
        answer = self._call(request, _make_push_access(repository, source))
        if answer.status not in (HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
            raise make_refusal(answer, repository.domain, f"mounting {digest} into {repository}")
        return answer.status == HTTPStatus.CREATED

    def open_blob(self, repository: RegistryRepository, digest: str, size: int) -> Response:
        """Return a stream of the unverified content of a blob of ``size`` bytes; the caller closes it."""
        request = self._request("GET", repository, f"blobs/{check_digest(digest)}", limit=size)
        answer = self._call(replace(request, streamed=True), _make_pull_access(repository))
        if answer.stream is None:
            raise make_refusal(answer, repository.domain, f"reading {digest} of {repository}")
        return answer.stream

    def upload_blob(self, repository: RegistryRepository, digest: str, body: Callable[[], Any]) -> None:
        """Push a blob in one request; ``body`` returns its content again for each attempt."""
        access = _make_push_access(repository)
        begun = self._call(self._request("POST", repository, "blobs/uploads/"), access)
        if begun.status != HTTPStatus.ACCEPTED:
            raise make_refusal(begun, repository.domain, f"pushing to {repository}")
        base = self._connection.find_base(repository.host)
        place = _join_url(base, begun.headers.get("location", ""))
        # An upload URL on another host carries its own authorization, and that host must not get the login.
        origin = parse_origin(place)
        if origin is None:
            raise RegistryError(f"{repository.domain} returned an invalid upload location")
        url = f"{place}{'&' if urlsplit(place).query else '?'}{urlencode({'digest': check_digest(digest)})}"
        headers = {"Content-Type": "application/octet-stream"}
        request = RegistryRequest(method="PUT", url=url, headers=headers, body=body)
        own = origin == parse_origin(base)
        answer = self._call(request, access) if own else self._connection.send(request)
        if answer.status not in (HTTPStatus.CREATED, HTTPStatus.NO_CONTENT):
            raise make_refusal(answer, repository.domain, f"pushing {digest} to {repository}")

    def try_push(self, repository: RegistryRepository) -> RegistryResponse:
        """Begin an upload, cancel it again, and return the registry's answer, whatever its status."""
        answer = self._call(self._request("POST", repository, "blobs/uploads/"), _make_push_access(repository))
        if answer.status == HTTPStatus.ACCEPTED:
            self._cancel_upload(repository, answer.headers.get("location", ""))
        return answer

    def try_read(self, repository: RegistryRepository, name: str) -> RegistryResponse:
        """Ask for the manifest with a tag or digest, and return the registry's answer, whatever its status.

        The content is requested only after an error, whose reason a HEAD cannot have: reading counts against limits.
        """
        resource, headers = f"manifests/{name}", {"Accept": ACCEPTED}
        answer = self._call(self._request("HEAD", repository, resource, headers=headers), _make_pull_access(repository))
        if answer.status == HTTPStatus.OK:
            return answer
        return self._call(self._request("GET", repository, resource, headers=headers), _make_pull_access(repository))

    def _cancel_upload(self, repository: RegistryRepository, location: str) -> None:
        """Cancel an upload. Best effort: registries discard unfinished uploads anyway, and some forbid this."""
        base = self._connection.find_base(repository.host)
        place = _join_url(base, location)
        if parse_origin(place) != parse_origin(base):
            return
        # Distribution requires the right to delete (2.8, ``registry/handlers/app.go``, appendAccessRecords).
        scopes = (f"repository:{repository.path}:pull,push,delete",)
        access = RegistryAccess(host=repository.host, path=repository.path, scopes=scopes)
        with suppress(RegistryError):
            self._call(RegistryRequest(method="DELETE", url=place), access)

    def _check_exists(self, request: RegistryRequest, repository: RegistryRepository) -> bool:
        answer = self._call(request, _make_pull_access(repository))
        if answer.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            raise make_refusal(answer, repository.domain, f"reading {repository}")
        return answer.status == HTTPStatus.OK

    def _request(self, method: str, repository: RegistryRepository, resource: str, **options: Any) -> RegistryRequest:
        url = f"{self._connection.find_base(repository.host)}/v2/{repository.path}/{resource}"
        return RegistryRequest(method=method, url=url, **options)

    def _call(self, request: RegistryRequest, access: RegistryAccess) -> RegistryResponse:
        """Send a request with authorization; retry once after a 401."""
        answer = self._connection.send(self._send_authorized(request, access))
        if answer.status == HTTPStatus.UNAUTHORIZED:
            if stranger := request.find_stranger(answer):
                # Its challenge could name a token service of its own for the registry's login.
                raise RegistryError(
                    f"{access.host} redirects to {stranger}, which requires separate authentication",
                    status=answer.status,
                )
            self._authorizer.accept_challenge(access, answer.headers.get("www-authenticate", ""))
            answer = self._connection.send(self._send_authorized(request, access))
        return answer

    def _send_authorized(self, request: RegistryRequest, access: RegistryAccess) -> RegistryRequest:
        return replace(request, headers={**request.headers, **self._authorizer.make_headers(access)})


def _join_url(base: str, text: str) -> str:
    """Return the URL that a registry's answer names, "" if it is malformed."""
    try:
        return urljoin(base, text)
    except ValueError:
        return ""


def make_refusal(answer: RegistryResponse, domain: str, doing: str) -> RegistryError:
    """Return the error for a refused request: the registry's message (specification, "Error Codes"), and a fix."""
    match answer.status:
        case HTTPStatus.UNAUTHORIZED:
            fix = f"the login for {domain} is missing or wrong"
        case HTTPStatus.FORBIDDEN:
            fix = f"the login for {domain} has insufficient permissions"
        case HTTPStatus.TOO_MANY_REQUESTS:
            fix = "log in or wait: its rate limit is exceeded"
        case _:
            fix = ""
    reason = _read_reason(answer.body) or _find_phrase(answer.status)
    fix = find_no_artifacts(reason) or fix
    return RegistryError(f"{doing} failed with status {answer.status}: {reason}", status=answer.status, fix=fix)


def _read_reason(body: bytes) -> str:
    try:
        first = parse_json(body)["errors"][0]
        text = f"{first.get('code', '')}: {first.get('message', '')}"
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return ""
    return " ".join(text.split())[:_LONGEST_REASON]


def _find_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"


def _make_pull_access(repository: RegistryRepository) -> RegistryAccess:
    return RegistryAccess(host=repository.host, path=repository.path, scopes=(f"repository:{repository.path}:pull",))


def _make_push_access(repository: RegistryRepository, source: RegistryRepository | None = None) -> RegistryAccess:
    scopes = [f"repository:{repository.path}:pull,push"]
    if source is not None:
        scopes.append(f"repository:{source.path}:pull")
    return RegistryAccess(host=repository.host, path=repository.path, scopes=tuple(scopes))
