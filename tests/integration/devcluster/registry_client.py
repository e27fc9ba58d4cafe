"""A registry client of a few lines, of its own making, so that it shares no error with the product's."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from urllib.parse import urljoin

import requests

from ci_buildx.model.secret import Secret
from devcluster.registry import Registry

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass
class Client:
    """Answers a challenge once, as the registry wants it: with the password, or with a token got for it."""

    registry: Registry
    username: str
    password: Secret
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.trust_env = False
        self.session.verify = str(self.registry.ca_file) if self.registry.ca_file else True

    def call(self, method: str, path: str, content: bytes = b"", **headers: str) -> requests.Response:
        url = urljoin(self.registry.url, path)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = self.session.request(method, url, data=content, headers=named, timeout=30)
        if response.status_code == 401 and self.username:
            answer = self.authorization(response.headers["WWW-Authenticate"])
            response = self.session.request(
                method, url, data=content, headers={**named, "Authorization": answer}, timeout=30
            )
        return response

    def authorization(self, challenge: str) -> str:
        if challenge.startswith("Basic "):
            login = f"{self.username}:{self.password.reveal_text()}"
            return f"Basic {base64.b64encode(login.encode()).decode()}"
        answer = self.token(dict(re.findall(r'(\w+)="([^"]*)"', challenge)))
        return f"Bearer {answer.json().get('token', '')}"

    def token(self, challenge: dict[str, str]) -> requests.Response:
        query = {name: challenge[name] for name in ("service", "scope") if name in challenge}
        login = (self.username, self.password.reveal_text()) if self.username else None
        return self.session.get(challenge["realm"], params=query, auth=login, timeout=30)

    def push_blob(self, repository: str, content: bytes) -> requests.Response:
        begun = self.call("POST", f"/v2/{repository}/blobs/uploads/")
        if begun.status_code != 202:
            return begun
        location = begun.headers["Location"]
        return self.call(
            "PUT", f"{location}&digest={digest(content)}", content, Content_Type="application/octet-stream"
        )

    def push_manifest(self, repository: str, tag: str, blob: bytes) -> tuple[requests.Response, bytes]:
        descriptor = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(blob),
            "size": len(blob),
        }
        content = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor, "layers": []}).encode()
        return self.call("PUT", f"/v2/{repository}/manifests/{tag}", content, Content_Type=MANIFEST), content
