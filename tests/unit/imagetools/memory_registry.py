"""A registry in memory (OCI distribution specification 1.1), on a local port."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ci_buildx.registry.content import OCI_INDEX, OCI_MANIFEST, compute_digest

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
ATTESTATION = "application/vnd.docker.attestation.manifest.v1+json"
SIGNATURE = "application/vnd.dev.sigstore.bundle.v0.3+json"
IN_TOTO = "application/vnd.in-toto+json"
AMD64 = {"architecture": "amd64", "os": "linux"}
ARM64 = {"architecture": "arm64", "os": "linux"}
UNKNOWN = {"architecture": "unknown", "os": "unknown"}


@dataclass
class MemoryRegistry:
    """Manifests by repository and tag or digest, blobs by repository and digest; ``asked`` are its requests."""

    address: str = ""
    has_referrers: bool = False
    mounts: bool = True
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def name(self, repository: str, tag: str = "") -> str:
        """A reference to an image of this registry."""
        return f"{self.address}/{repository}" + (tag and f":{tag}")

    def push(self, repository: str, document: dict[str, Any], *tags: str) -> dict[str, Any]:
        """Store a manifest as docker's tools write it; return its descriptor."""
        body = json.dumps(document, indent=3).encode()
        kind, digest = document["mediaType"], compute_digest(body)
        for tag in (digest, *tags):
            self.manifests[repository, tag] = kind, body
        return {"mediaType": kind, "digest": digest, "size": len(body)}

    def push_blob(self, repository: str, body: bytes, kind: str) -> dict[str, Any]:
        """Store a blob; return its descriptor."""
        self.blobs[repository, compute_digest(body)] = body
        return {"mediaType": kind, "digest": compute_digest(body), "size": len(body)}

    def push_image(
        self, repository: str, architecture: str, *tags: str, kind: str = OCI_MANIFEST, **config: Any
    ) -> dict[str, Any]:
        """Store an image of one layer."""
        content = {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, **config}
        return self.push(
            repository,
            {
                "schemaVersion": 2,
                "mediaType": kind,
                "config": self.push_blob(repository, json.dumps(content).encode(), CONFIG),
                "layers": [self.push_blob(repository, f"layer of {architecture}".encode(), LAYER)],
            },
            *tags,
        )

    def push_index(self, repository: str, entries: list[dict[str, Any]], *tags: str, **more: Any) -> dict[str, Any]:
        """Store an index."""
        return self.push(repository, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **more}, *tags)

    def push_artifact(
        self, repository: str, kind: str, subject: dict[str, Any] | None, body: bytes, layer: str, **notes: str
    ) -> dict[str, Any]:
        """Store an artifact of one layer, such as a signature or an attestation."""
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": self.push_blob(repository, b"{}", EMPTY),
            "layers": [{**self.push_blob(repository, body, layer), "annotations": notes}],
            **({"subject": subject} if subject else {}),
        }
        return {**self.push(repository, document), "artifactType": kind}

    def read(self, repository: str, name: str) -> Any:
        """The parsed manifest with a tag or digest."""
        return json.loads(self.manifests[repository, name][1])


@contextmanager
def served(**options: Any) -> Iterator[MemoryRegistry]:
    """A registry of one test."""
    registry = MemoryRegistry(**options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            registry.asked.append(f"{self.command} {self.path}")
            status, headers, content = respond(
                registry, self.command, self.path, self.headers.get("Content-Type", ""), body
            )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else content)

        do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - names of http.server

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


Response = tuple[int, dict[str, str], bytes]
_NOT_FOUND: Response = (404, {}, b'{"errors": [{"code": "UNKNOWN", "message": "not here"}]}')


def respond(registry: MemoryRegistry, method: str, path: str, kind: str, body: bytes) -> Response:
    parts = urlsplit(path)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    for word, handler in (("/manifests/", _manifest), ("/blobs/uploads/", _upload), ("/referrers/", _referrers)):
        if word in parts.path:
            repository, _, name = parts.path.removeprefix("/v2/").partition(word)
            return handler(registry, method, (repository, name), kind, body, query)
    repository, _, digest = parts.path.removeprefix("/v2/").partition("/blobs/")
    found = registry.blobs.get((repository, digest))
    return (200, {}, found) if found is not None else _NOT_FOUND


def _manifest(
    registry: MemoryRegistry, method: str, key: tuple[str, str], kind: str, body: bytes, _: dict[str, str]
) -> Response:
    if method == "PUT":
        if missing := _find_missing(registry, key[0], json.loads(body)):
            return 400, {}, json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": missing}]}).encode()
        registry.manifests[key] = registry.manifests[key[0], compute_digest(body)] = kind, body
        return 201, {"Docker-Content-Digest": compute_digest(body)}, b""
    if key not in registry.manifests:
        return _NOT_FOUND
    kind, body = registry.manifests[key]
    return 200, {"Content-Type": kind, "Docker-Content-Digest": compute_digest(body)}, body


def _find_missing(registry: MemoryRegistry, repository: str, document: dict[str, Any]) -> str:
    blobs = [document["config"], *document["layers"]] if "config" in document else []
    for one in blobs:
        if (repository, one["digest"]) not in registry.blobs:
            return f"blob {one['digest']} is missing"
    for one in document.get("manifests", []):
        if (repository, one["digest"]) not in registry.manifests:
            return f"manifest {one['digest']} is missing"
    return ""


def _upload(
    registry: MemoryRegistry, method: str, key: tuple[str, str], _: str, body: bytes, query: dict[str, str]
) -> Response:
    repository = key[0]
    if method == "PUT":
        assert compute_digest(body) == query["digest"]
        registry.blobs[repository, query["digest"]] = body
        return 201, {}, b""
    origin = (query.get("from", ""), query.get("mount", ""))
    if registry.mounts and origin in registry.blobs:
        registry.blobs[repository, origin[1]] = registry.blobs[origin]
        return 201, {}, b""
    return 202, {"Location": f"/v2/{repository}/blobs/uploads/1"}, b""


def _referrers(
    registry: MemoryRegistry, _: str, key: tuple[str, str], __: str, ___: bytes, ____: dict[str, str]
) -> Response:
    if not registry.has_referrers:
        return _NOT_FOUND
    entries = []
    for (repository, name), (kind, body) in registry.manifests.items():
        document = json.loads(body)
        if repository == key[0] and ":" in name and document.get("subject", {}).get("digest") == key[1]:
            entry = {"mediaType": kind, "digest": name, "size": len(body), "artifactType": document["artifactType"]}
            entries.append(entry)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return 200, {"Content-Type": OCI_INDEX}, json.dumps(index).encode()


def push_attested(registry: MemoryRegistry, repository: str, *architectures: str, tag: str = "1") -> dict[str, Any]:
    """An index of images, each with its attestation."""
    images, attestations = [], []
    for name in architectures:
        image = registry.push_image(repository, name)
        attestation = registry.push_artifact(repository, ATTESTATION, image, f"of {name}".encode(), IN_TOTO)
        notes = {"vnd.docker.reference.digest": image["digest"], "vnd.docker.reference.type": "attestation-manifest"}
        del attestation["artifactType"]
        images.append({**image, "platform": {"architecture": name, "os": "linux"}})
        attestations.append({**attestation, "platform": UNKNOWN, "annotations": notes})
    return registry.push_index(repository, [*images, *attestations], tag)
