"""A registry on loopback whose tokens live shortly: the devcluster's programs, with a clock of our own."""

import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ci_buildx.model.secret import Secret
from ci_buildx.registry.credentials import RegistryLogin
from devcluster.bare_buildkitd import free_port
from devcluster.registry import PROGRAM
from devcluster.scopes import Account
from devcluster.tokens import Answer, Issuer, TokenService

LIFETIME = 2
_LEEWAY = 60
"""Seconds that distribution 2.8.2 takes a token after its end (``registry/auth/token/token.go``)."""


@dataclass
class ShortLived:
    """``requests`` counts what its token service was asked, by method."""

    address: str
    login: RegistryLogin
    identity: RegistryLogin
    requests: list[str] = field(default_factory=list)


@contextmanager
def short_lived(folder: Path) -> Iterator[ShortLived]:
    """Serve a registry whose tokens are refused two seconds after they were given."""
    address, realm = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    password = Secret("right")
    service = TokenService(
        issuer=_issuer(address, folder),
        accounts={"me": Account(password=password, grants={"*": frozenset(("pull", "push"))})},
    )
    answer = service.post(
        {
            "grant_type": ["password"],
            "username": ["me"],
            "password": ["right"],
            "service": [address],
            "access_type": ["offline"],
        }
    )
    served = ShortLived(
        address,
        RegistryLogin(username="me", secret=password),
        RegistryLogin(username="", secret=Secret(""), identity_token=Secret(answer.body["refresh_token"])),
    )
    (folder / "config.json").write_text(json.dumps(_configuration(address, realm, folder)))
    with _token_server(realm, service, served.requests), _registry(folder, address):
        yield served


def _issuer(address: str, folder: Path) -> Issuer:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = (
        builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1)).sign(key, SHA256())
    )
    (folder / "tokens.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    return Issuer(
        name="test",
        service=address,
        key=key,
        certificate=certificate.public_bytes(Encoding.DER),
        lifetime=LIFETIME,
        clock=lambda: time.time() - _LEEWAY,
    )


def _configuration(address: str, realm: str, folder: Path) -> dict[str, object]:
    token = {
        "realm": f"http://{realm}/token",
        "service": address,
        "issuer": "test",
        "rootcertbundle": str(folder / "tokens.crt"),
    }
    return {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": address},
        "auth": {"token": token},
    }


@contextmanager
def _token_server(address: str, service: TokenService, requests: list[str]) -> Iterator[None]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            self.answer(service.get(query, self.headers.get("Authorization", "")))

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.answer(service.post(parse_qs(form)))

        def answer(self, answer: Answer) -> None:
            requests.append(self.command)
            content = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    host, _, port = address.rpartition(":")
    with ThreadingHTTPServer((host, int(port)), Answers) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield
        server.shutdown()


@contextmanager
def _registry(folder: Path, address: str) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(folder / "config.json")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not _answers(f"http://{address}/"):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
