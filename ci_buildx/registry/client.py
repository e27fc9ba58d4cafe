"""A registry's API: manifests and blobs (OCI distribution specification 1.1, ``spec.md``)."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode, urljoin, urlsplit

from ci_buildx.errors import RegistryError
from ci_buildx.model.hosts import parse_origin
from ci_buildx.model.record import dataclass, replace
from ci_buildx.model.reference import Reference
from ci_buildx.registry.advice import find_no_artifacts
from ci_buildx.registry.authorize import Access, Authorizer
from ci_buildx.registry.connection import Answer, Connection, Patience, Request
from ci_buildx.registry.content import ACCEPTED, LARGEST_CONFIG, Document, check_digest, parse, verify
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.dockerconfig import HUB
from ci_buildx.registry.trust import Trust

if TYPE_CHECKING:
    from requests import Response

_HUB_API = "registry-1.docker.io"
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a registry: ``Repository("docker.io", "library/alpine")``."""

    domain: str
    path: str

    def __str__(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def host(self) -> str:
        """The host that serves its API."""
        return _HUB_API if self.domain == HUB else self.domain

    @classmethod
    def of(cls, reference: Reference) -> Repository:
        """The repository that a reference names."""
        return cls(reference.domain, reference.path)


class RegistryClient:
    """Reads and writes repositories. Methods raise RegistryError, and InputError where a login cannot be looked up."""

    def __init__(self, store: CredentialStore, *, trust: Trust | None = None, patience: Patience | None = None) -> None:
        self._connection = Connection(trust or Trust(), patience)
        self._authorizer = Authorizer(store, self._connection)

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
        """Check that a registry answers and takes the login."""
        host = Repository(domain, "").host
        request = Request(method="GET", url=f"{self._connection.base(host)}/v2/")
        answer = self._call(request, Access(host=host))
        if answer.status != HTTPStatus.OK:
            raise refusal(answer, domain, "the first request")

    def manifest(self, repository: Repository, name: str) -> Document:
        """The manifest or index under a tag or digest; its content is what the digest says."""
        request = self._request("GET", repository, f"manifests/{name}", headers={"Accept": ACCEPTED})
        answer = self._call(request, _pull(repository))
        if answer.status != HTTPStatus.OK:
            raise refusal(answer, repository.domain, f"reading {repository}:{name}")
        if ":" in name:
            verify(answer.body, name)
        return parse(answer.body, answer.headers.get("content-type", ""))

    def has_manifest(self, repository: Repository, digest: str) -> bool:
        """Whether a manifest is there already."""
        request = self._request("HEAD", repository, f"manifests/{digest}", headers={"Accept": ACCEPTED})
        return self._exists(request, repository)

    def has_tag(self, repository: Repository, tag: str, digest: str) -> bool:
        """Whether ``tag`` names the manifest ``digest`` already, as far as the registry says what it names."""
        request = self._request("HEAD", repository, f"manifests/{tag}", headers={"Accept": ACCEPTED})
        answer = self._call(request, _push(repository))
        return answer.status == HTTPStatus.OK and answer.headers.get("docker-content-digest") == digest

    def put_manifest(self, repository: Repository, name: str, document: Document) -> None:
        """Write a manifest or index under a tag or digest."""
        headers = {"Content-Type": document.descriptor.media_type}
        request = self._request("PUT", repository, f"manifests/{name}", headers=headers, body=lambda: document.body)
        answer = self._call(request, _push(repository))
        if answer.status not in (HTTPStatus.CREATED, HTTPStatus.OK, HTTPStatus.ACCEPTED):
            raise refusal(answer, repository.domain, f"pushing {repository}:{name}")
        stored = answer.headers.get("docker-content-digest", document.descriptor.digest)
        if stored != document.descriptor.digest:
            raise RegistryError(f"{repository.domain} stored {document.descriptor.digest} as {stored[:100]}")

    def blob(self, repository: Repository, digest: str) -> bytes:
        """A small blob, such as an image's config."""
        request = self._request("GET", repository, f"blobs/{check_digest(digest)}", limit=LARGEST_CONFIG)
        answer = self._call(request, _pull(repository))
        if answer.status != HTTPStatus.OK:
            raise refusal(answer, repository.domain, f"reading {digest} of {repository}")
        verify(answer.body, digest)
        return answer.body

    def has_blob(self, repository: Repository, digest: str) -> bool:
        """Whether a blob is there already."""
        return self._exists(self._request("HEAD", repository, f"blobs/{check_digest(digest)}"), repository)

    def mount_blob(self, repository: Repository, digest: str, source: Repository) -> bool:
        """Let a blob of another repository of the same registry appear in this one; whether the registry did."""
        query = urlencode({"mount": check_digest(digest), "from": source.path})
        request = self._request("POST", repository, f"blobs/uploads/?{query}")
        answer = self._call(request, _push(repository, source))
        if answer.status not in (HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
            raise refusal(answer, repository.domain, f"mounting {digest} into {repository}")
        return answer.status == HTTPStatus.CREATED

    def open_blob(self, repository: Repository, digest: str) -> Response:
        """A blob to be read piece by piece, unverified; the caller closes it."""
        request = self._request("GET", repository, f"blobs/{check_digest(digest)}")
        answer = self._call(replace(request, streamed=True), _pull(repository))
        if answer.stream is None:
            raise refusal(answer, repository.domain, f"reading {digest} of {repository}")
        return answer.stream

    def upload_blob(self, repository: Repository, digest: str, body: Callable[[], Any]) -> None:
        """Write a blob in one piece; ``body`` gives its content anew for each attempt."""
        access = _push(repository)
        begun = self._call(self._request("POST", repository, "blobs/uploads/"), access)
        if begun.status != HTTPStatus.ACCEPTED:
            raise refusal(begun, repository.domain, f"pushing to {repository}")
        base = self._connection.base(repository.host)
        place = urljoin(base, begun.headers.get("location", ""))
        url = f"{place}{'&' if urlsplit(place).query else '?'}{urlencode({'digest': check_digest(digest)})}"
        headers = {"Content-Type": "application/octet-stream"}
        request = Request(method="PUT", url=url, headers=headers, body=body)
        # A location elsewhere carries its own permission; the login is not meant for that host.
        origin = parse_origin(place)
        if origin is None:
            raise RegistryError(f"{repository.domain} names no usable place to upload to")
        own = origin == parse_origin(base)
        answer = self._call(request, access) if own else self._connection.send(request)
        if answer.status not in (HTTPStatus.CREATED, HTTPStatus.NO_CONTENT):
            raise refusal(answer, repository.domain, f"pushing {digest} to {repository}")

    def _exists(self, request: Request, repository: Repository) -> bool:
        answer = self._call(request, _pull(repository))
        if answer.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            raise refusal(answer, repository.domain, f"reading {repository}")
        return answer.status == HTTPStatus.OK

    def _request(self, method: str, repository: Repository, resource: str, **options: Any) -> Request:
        url = f"{self._connection.base(repository.host)}/v2/{repository.path}/{resource}"
        return Request(method=method, url=url, **options)

    def _call(self, request: Request, access: Access) -> Answer:
        """Send with what authorizes it; a 401 is answered once."""
        answer = self._connection.send(self._authorized(request, access))
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._authorizer.challenged(access, answer.headers.get("www-authenticate", ""))
            answer = self._connection.send(self._authorized(request, access))
        return answer

    def _authorized(self, request: Request, access: Access) -> Request:
        return replace(request, headers={**request.headers, **self._authorizer.headers(access)})


def refusal(answer: Answer, domain: str, doing: str) -> RegistryError:
    """What a registry's refusal means: its own words (specification, "Error Codes"), and what to do."""
    match answer.status:
        case HTTPStatus.UNAUTHORIZED:
            fix = f"the login for {domain} is missing or wrong"
        case HTTPStatus.FORBIDDEN:
            fix = f"the login for {domain} lacks the right"
        case HTTPStatus.TOO_MANY_REQUESTS:
            fix = "its rate limit is used up; log in or wait"
        case _:
            fix = ""
    reason = _reason(answer.body) or _phrase(answer.status)
    fix = find_no_artifacts(reason) or fix
    return RegistryError(f"{doing} failed with status {answer.status}: {reason}", status=answer.status, fix=fix)


def _reason(body: bytes) -> str:
    try:
        first = json.loads(body)["errors"][0]
        text = f"{first.get('code', '')}: {first.get('message', '')}"
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return ""
    return " ".join(text.split())[:_LONGEST_REASON]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"


def _pull(repository: Repository) -> Access:
    return Access(host=repository.host, path=repository.path, scopes=(f"repository:{repository.path}:pull",))


def _push(repository: Repository, source: Repository | None = None) -> Access:
    scopes = [f"repository:{repository.path}:pull,push"]
    if source is not None:
        scopes.append(f"repository:{source.path}:pull")
    return Access(host=repository.host, path=repository.path, scopes=tuple(scopes))
