"""A validating webhook: an HTTPS server that the API server asks about each pod, and that admits none."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.unit.kube.authority import Authority


class _Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {
            "uid": asked["request"]["uid"],
            "allowed": False,
            "status": {"code": 403, "message": "we do not like builders"},
        }
        body = json.dumps({"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@contextmanager
def refusing(address: str) -> Iterator[Mapping[str, Any]]:
    """A webhook at an ``address`` of this machine that the API server reaches; yields its ``clientConfig``."""
    authority = Authority()
    with ThreadingHTTPServer((address, 0), _Refusing) as server:
        server.socket = authority.server(address).wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield _client(f"https://{address}:{server.server_port}/", authority)
        server.shutdown()


def silent(address: str) -> Mapping[str, Any]:
    """The ``clientConfig`` of a webhook that is not there."""
    return _client(f"https://{address}:9/", Authority())


def _client(url: str, authority: Authority) -> Mapping[str, Any]:
    return {"url": url, "caBundle": base64.b64encode(authority.pem).decode()}
