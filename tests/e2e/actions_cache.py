"""A stand-in for version 2 of GitHub's cache service: act serves the first version only.

Calls are those of tonistiigi/go-actions-cache (as BuildKit 0.34.2 pins it, ``cache_v2.go``): three of
``CacheService`` as JSON over Twirp, then Azure's blob protocol: ``PUT`` of a blob or of blocks and their list, ``GET``
of a range.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from devcluster import jwt, pki

SERVICE = "/twirp/github.actions.results.api.v1.CacheService/"


@dataclass
class Service:
    """What is stored, by key, and how often each call came. ``token`` is what jobs are given."""

    token: str
    url: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    blocks: dict[tuple[str, str], bytes] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def call(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer one of the three calls."""
        self.calls.append(name)
        key = asked["key"]
        match name:
            case "CreateCacheEntry":
                return {"ok": key not in self.finished, "signed_upload_url": self.place(key)}
            case "FinalizeCacheEntryUpload":
                assert len(self.blobs[key]) == asked["size_bytes"]
                self.finished.append(key)
                return {"ok": True, "entry_id": "1"}
            case "GetCacheEntryDownloadURL":
                wanted = [key, *asked["restore_keys"]]
                newest = self.finished[::-1]
                found = next((each for want in wanted for each in newest if each.startswith(want)), "")
                return {"ok": bool(found), "signed_download_url": self.place(found), "matched_key": found}
            case _:
                raise AssertionError(name)

    def place(self, key: str) -> str:
        """Where a key's content goes and comes from."""
        return f"{self.url}/blobs/{quote(key, safe='')}?sig=signed"

    def put(self, key: str, query: dict[str, list[str]], body: bytes) -> None:
        """A blob, a block of one, or the list of its blocks."""
        match query.get("comp", [""])[0]:
            case "block":
                self.blocks[key, query["blockid"][0]] = body
            case "blocklist":
                names = re.findall(r"<Latest>([^<]+)</Latest>", body.decode())
                self.blobs[key] = b"".join(self.blocks[key, name] for name in names)
            case _:
                self.blobs[key] = body


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {self.service.token}":
            self.reply(401, b"{}")
            return
        answer = self.service.call(self.path.removeprefix(SERVICE), body)
        self.reply(200, json.dumps(answer).encode())

    def do_PUT(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.service.put(unquote(url.path.removeprefix("/blobs/")), parse_qs(url.query), body)
        self.reply(201, b"")

    def do_GET(self) -> None:
        blob = self.service.blobs[unquote(urlsplit(self.path).path.removeprefix("/blobs/"))]
        first = re.match(r"bytes=(\d+)-", self.headers.get("x-ms-range", ""))
        start = int(first[1]) if first else 0
        self.reply(206, blob[start:], {"Content-Range": f"bytes {start}-{len(blob) - 1}/{len(blob)}"})

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"x-ms-request-id": "1", "x-ms-version": "2021-12-02", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@contextmanager
def serving(address: str, now: int) -> Iterator[Service]:
    """A service at a free port of ``address``; its token has the claims that go-actions-cache reads (``cache.go``)."""
    access = json.dumps([{"Scope": "refs/heads/main", "Permission": 3}])
    service = Service(token=jwt.sign(pki.new_key(), {}, {"ac": access, "nbf": now - 60, "exp": now + 3600}))
    server = ThreadingHTTPServer((address, 0), type("Connection", (_Connection,), {"service": service}))
    service.url = f"http://{address}:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    yield service
    server.shutdown()
    server.server_close()
