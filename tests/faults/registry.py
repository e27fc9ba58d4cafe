"""A registry at the host's end of the devcluster's link: pods and client reach it, and it fails as a test wants.

It takes any push and gives back what it was given, until a repository's name says otherwise. What it is asked for a
token, it answers from a list, so that a token may end and not be renewed.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

_FAILING = re.compile(r"/v2/fails-(?P<status>\d{3})/")
_BLOB = re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>sha256:[0-9a-f]{64})")
_MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)")
_UPLOAD = re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<id>[^/]*)")
_TOKENS = "/v2/tokens/"
_IMMUTABLE = "immutable/"
"""Begins the names of repositories where no tag can be pushed twice, even for the same digest (as in Amazon ECR)."""
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_LIFETIME = 1
_ERRORS = {
    403: ("DENIED", "requested access to the resource is denied"),
    429: ("TOOMANYREQUESTS", "you have reached your pull rate limit"),
}
"""Codes and messages of distribution 3.0, ``docs/content/spec/api.md``."""


@dataclass
class Scripted:
    """``tokens`` are given out one after another, each for a second; then nobody gets one.

    While it is ``failing``, it takes no manifest.
    """

    address: str = ""
    tokens: list[str] = field(default_factory=list)
    valid: dict[str, float] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    refused: int = 0
    failing: bool = False


@contextmanager
def serving(host: str, certificate: tuple[Path, Path] | None = None) -> Iterator[Scripted]:
    """Serve on a free port of ``host``, with TLS where there is a certificate and its key."""
    registry = Scripted()
    handler = type("Bound", (_Handler,), {"registry": registry})
    with ThreadingHTTPServer((host, 0), handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        registry.address = f"{host}:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield registry
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Scripted

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if path == "/token":
            self._give_token()
        elif failing := _FAILING.match(path):
            self._fail(int(failing["status"]))
        elif path.startswith(_TOKENS) and not self._has_token():
            realm = f'Bearer realm="http://{self.registry.address}/token",service="s",scope="repository:tokens/x:pull"'
            self._say(401, {"errors": [{"code": "UNAUTHORIZED"}]}, {"WWW-Authenticate": realm})
        elif upload := _UPLOAD.fullmatch(path):
            self._upload(upload["name"], body)
        elif blob := _BLOB.fullmatch(path):
            found = self.registry.blobs.get(blob["digest"])
            self._send(200, found) if found is not None else self._say(404, {"errors": [{"code": "BLOB_UNKNOWN"}]})
        elif manifest := _MANIFEST.fullmatch(path):
            self._manifest(f"{manifest['name']}:{manifest['reference']}", manifest["name"], body)
        else:
            self._say(200, {})

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = answer  # noqa: N815 - names of http.server

    def _fail(self, status: int) -> None:
        """As registries fail: with a code of distribution's, or like the proxy in front of one with none."""
        if known := _ERRORS.get(status):
            self._say(status, {"errors": [{"code": known[0], "message": known[1]}]})
        else:
            self._send(status, b"<html>sorry</html>", {"Content-Type": "text/html"})

    def _has_token(self) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return self.registry.valid.get(token, 0.0) > time.monotonic()

    def _give_token(self) -> None:
        if not self.registry.tokens:
            self._say(401, {"errors": [{"code": "UNAUTHORIZED"}]})
            return
        token = self.registry.tokens.pop(0)
        self.registry.valid[token] = time.monotonic() + _LIFETIME
        self._say(200, {"token": token, "expires_in": _LIFETIME})

    def _upload(self, name: str, body: bytes) -> None:
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if self.command == "PUT":
            self.registry.blobs[digest] = body
            self._say(201, {}, {"Docker-Content-Digest": digest})
        else:
            self._say(202, {}, {"Location": f"/v2/{name}/blobs/uploads/1"})

    def _manifest(self, reference: str, name: str, body: bytes) -> None:
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if self.command == "PUT" and self.registry.failing:
            self._fail(503)
            return
        is_fixed = name.startswith(_IMMUTABLE) and ":sha256:" not in reference
        if self.command == "PUT" and is_fixed and reference in self.registry.manifests:
            self.registry.refused += 1
            self._say(400, {"errors": [{"code": "TAG_INVALID", "message": "the tag is immutable"}]})
            return
        if self.command == "PUT":
            found = (self.headers["Content-Type"], body)
            self.registry.manifests |= {reference: found, f"{name}:{digest}": found}
            self._say(201, {}, {"Docker-Content-Digest": digest})
            return
        kind, content = self.registry.manifests.get(reference, (_MANIFEST_TYPE, b""))
        if not content:
            self._say(404, {"errors": [{"code": "MANIFEST_UNKNOWN"}]})
            return
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._send(200, content, {"Content-Type": kind, "Docker-Content-Digest": digest})

    def _say(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for header, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""
