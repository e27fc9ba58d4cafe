"""Webhooks: HTTPS servers that the API server asks about each pod. One admits none, one changes all."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from tests.unit.kube.authority import Authority


class _Refusing(BaseHTTPRequestHandler):
    answer: ClassVar[Mapping[str, Any]] = {
        "allowed": False,
        "status": {"code": 403, "message": "we do not like builders"},
    }

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"uid": asked["request"]["uid"], **self.answer}
        body = json.dumps({"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


_PATCH = [
    {"op": "add", "path": "/spec/volumes/-", "value": {"name": "injected", "hostPath": {"path": "/"}}},
]


class _Injecting(_Refusing):
    """Adds a volume of the host's to each pod, as an injector may."""

    answer: ClassVar[Mapping[str, Any]] = {
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": base64.b64encode(json.dumps(_PATCH).encode()).decode(),
    }


@contextmanager
def refusing(address: str) -> Iterator[Mapping[str, Any]]:
    """A webhook at an ``address`` of this machine that the API server reaches; yields its ``clientConfig``."""
    with _serve(address, _Refusing) as client:
        yield client


@contextmanager
def injecting(address: str) -> Iterator[Mapping[str, Any]]:
    """The same for a mutating webhook, which adds a hostPath volume to pods that have volumes."""
    with _serve(address, _Injecting) as client:
        yield client


@contextmanager
def _serve(address: str, handler: type[BaseHTTPRequestHandler]) -> Iterator[Mapping[str, Any]]:
    authority = Authority()
    with ThreadingHTTPServer((address, 0), handler) as server:
        server.socket = authority.server(address).wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield _client(f"https://{address}:{server.server_port}/", authority)
        server.shutdown()


def silent(address: str) -> Mapping[str, Any]:
    """The ``clientConfig`` of a webhook that is not there."""
    return _client(f"https://{address}:9/", Authority())


def _client(url: str, authority: Authority) -> Mapping[str, Any]:
    return {"url": url, "caBundle": base64.b64encode(authority.pem).decode()}
