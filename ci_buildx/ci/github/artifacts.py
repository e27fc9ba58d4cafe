"""Artifacts of a run, by the protocol of the runner's results service.

Source: actions/toolkit, ``packages/artifact`` 4.0 (``src/internal/upload``, ``src/internal/shared/util.ts``): the
runtime token names the run and the job, Twirp calls create and finish an artifact, and between them its zip goes to a
signed address as blocks of an Azure block blob.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from ci_buildx.model import http_calls
from ci_buildx.model.record import dataclass

VERSION = 4
_SCOPE = "Actions.Results:"
_SERVICE = "twirp/github.actions.results.api.v1.ArtifactService"
_PATIENCE = 30.0
_UPLOAD = 300.0
"""Seconds in which an artifact goes up."""
_BLOCK = "block-00000000"
_EPOCH = (1980, 1, 1, 0, 0, 0)


class UploadFailed(Exception):
    """The service refused, or did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where the run's artifacts go: ``run`` and ``job`` are the service's own names for them."""

    url: str
    token: str
    run: str
    job: str

    def upload(self, name: str, contents: Mapping[str, bytes], *, days: int = 0) -> str:
        """Put the contents, by file name, into an artifact; its number. ``days`` 0 leaves how long it is kept open.

        Raises UploadFailed.
        """
        archive = _zipped(contents)
        which = {"workflowRunBackendId": self.run, "workflowJobRunBackendId": self.job, "name": name}
        until = {"expiresAt": _expiry(days)} if days else {}
        created = self._call("CreateArtifact", {**which, **until, "version": VERSION})
        self._put(str(created.get("signedUploadUrl", "")), archive)
        digest = f"sha256:{hashlib.sha256(archive).hexdigest()}"
        finished = self._call("FinalizeArtifact", {**which, "size": str(len(archive)), "hash": digest})
        return str(finished.get("artifactId", ""))

    def _call(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        import requests

        url = f"{self.url.rstrip('/')}/{_SERVICE}/{method}"
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            answer = http_calls.send("POST", url, json=body, headers=headers, timeout=_PATIENCE)
            found = answer.json() if answer.ok else None
        except (requests.RequestException, ValueError) as error:
            raise UploadFailed(f"{method}: {type(error).__name__}") from error
        if not isinstance(found, dict) or not found.get("ok"):
            raise UploadFailed(f"{method}: HTTP {answer.status_code}")
        return found

    def _put(self, url: str, archive: bytes) -> None:
        import requests

        block = base64.b64encode(_BLOCK.encode()).decode()
        listed = f'<?xml version="1.0" encoding="utf-8"?><BlockList><Latest>{block}</Latest></BlockList>'
        try:
            for parameters, body in (
                ({"comp": "block", "blockid": block}, archive),
                ({"comp": "blocklist"}, listed.encode()),
            ):
                answer = http_calls.send("PUT", url, params=parameters, data=body, timeout=_PATIENCE, deadline=_UPLOAD)
                if not answer.ok:
                    raise UploadFailed(f"upload: HTTP {answer.status_code}")
        except requests.RequestException as error:
            raise UploadFailed(f"upload: {type(error).__name__}") from error


def find(env: Mapping[str, str]) -> Service | None:
    """The service of this run, None where the runner offers none; GitHub Enterprise Server has no such one."""
    url, token = env.get("ACTIONS_RESULTS_URL", ""), env.get("ACTIONS_RUNTIME_TOKEN", "")
    if not (url and token) or _is_enterprise_server(env.get("GITHUB_SERVER_URL", "")):
        return None
    for scope in str(_claims(token).get("scp", "")).split():
        run, _, job = scope.removeprefix(_SCOPE).partition(":")
        if scope.startswith(_SCOPE) and run and job:
            return Service(url=url, token=token, run=run, job=job)
    return None


def _claims(token: str) -> dict[str, Any]:
    """What a JWT says; the service itself checks it."""
    part = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _is_enterprise_server(url: str) -> bool:
    """As actions/toolkit has it (``packages/artifact/src/internal/shared/config.ts``, ``isGhes``)."""
    host = (urlsplit(url).hostname or "").lower()
    return bool(host) and not (host == "github.com" or host.endswith((".ghe.com", ".localhost")))


def _zipped(contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), content, compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _expiry(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
