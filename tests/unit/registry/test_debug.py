"""What the debug log says of calls to registries, and of the programs that keep logins."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.model import http_calls
from ci_buildx.model.secret import Secret
from ci_buildx.registry import credentials
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.connection import RegistryConnection, RegistryRequest, RequestPatience
from ci_buildx.registry.credentials import CredentialStore, DockerConfig, RegistryLogin
from ci_buildx.registry.trust import RegistryTrust
from tests.unit.conftest import DebugLog
from tests.unit.registry.scripted import Reply, scripted

TAG = "GET /v2/group/name/manifests/tag"


def lines(log: DebugLog, package: str = "registry") -> list[str]:
    return [re.sub(r"\d+\.\d{3} s", "T", line) for line in log.of(package)]


def test_each_call_with_its_status_and_time(debug_log: DebugLog) -> None:
    login = RegistryLogin(username="me", secret=Secret("hush-of-a-registry"))
    with scripted() as registry:
        host = registry.address
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{host}/token",service="s"'}
        token = json.dumps({"token": "hush-token-of-a-registry"}).encode()
        query = "service=s&scope=repository%3Agroup%2Fname%3Apull&account=me"
        registry.on(
            TAG, Reply(401, headers=challenge), Reply(403, b'{"errors": [{"code": "hush-token-of-a-registry"}]}')
        )
        registry.on(f"GET /token?{query}", Reply(body=token))
        store = CredentialStore([DockerConfig(origin="t", auths={(host, ""): login}, helpers={}, store="")], env={})
        with RegistryClient(store) as client, pytest.raises(RegistryError):
            client.read_manifest(RegistryRepository(host, "group/name"), "tag")
        assert any("hush-token" in headers.get("Authorization", "") for _, headers in registry.asked)
    assert lines(debug_log) == [
        f"GET http://{host}/v2/group/name/manifests/tag: 401 after T",
        f"login of {host}: found",
        f"GET http://{host}/token?*** with a login: 200 after T",
        f"GET http://{host}/v2/group/name/manifests/tag with a login: 403 after T",
    ]
    assert "hush" not in debug_log.text


def test_redirects_and_what_gives_no_answer(debug_log: DebugLog) -> None:
    patience = RequestPatience(attempts=1, sleep=lambda _: None)
    with scripted() as registry:
        base = f"http://{registry.address}"
        registry.on("GET /a?sig=hush", Reply(307, headers={"Location": f"{base}/b?X-Amz-Signature=hush"}))
        registry.on("GET /b?X-Amz-Signature=hush", Reply())
        connection = RegistryConnection(RegistryTrust(), patience)
        connection.send(RegistryRequest(method="GET", url=f"{base}/a?sig=hush"))
        connection.close()
    connection = RegistryConnection(RegistryTrust(), patience)
    with pytest.raises(RegistryError):
        connection.send(RegistryRequest(method="GET", url=f"{base}/c?sig=hush"))
    assert lines(debug_log) == [
        f"{base}/a?*** led to {base}/b?***",
        f"GET {base}/a?***: 200 after T",
        f"GET {base}/c?***: no answer (Connection refused) after T",
    ]


def test_credential_programs_by_name(tmp_path: Path, debug_log: DebugLog) -> None:
    helper = tmp_path / "docker-credential-x"
    helper.write_text('#!/bin/sh\necho \'{"Username": "me", "Secret": "hush-of-a-program"}\'\n')
    helper.chmod(0o755)
    found = credentials.ask_program("x", "r.example", origin="t", env={"PATH": str(tmp_path)})
    assert found is not None
    assert lines(debug_log, "model") == [f"program {helper}: exit code 0 after T"]
    helper.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(RegistryError):
        credentials.ask_program("x", "r.example", origin="t", env={"PATH": str(tmp_path)})
    assert lines(debug_log, "model")[1:] == [f"program {helper}: exit code 3 after T"]
    assert "hush" not in debug_log.text


def test_single_calls_to_the_ci_systems_services(debug_log: DebugLog) -> None:
    with scripted() as service:
        service.on("GET /token?audience=hush", Reply(status=201))
        url = f"http://{service.address}/token?audience=hush"
        http_calls.send_request("GET", url, timeout=20, headers={"Authorization": "Bearer hush-of-a-job"})
    assert lines(debug_log, "model") == [f"GET http://{service.address}/token?***: 201 after T"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:hush@r.example:5000/v2/?a=b#c", "https://r.example:5000/v2/?***"),
        ("https://[::1]:5000/x", "https://[::1]:5000/x"),
        ("https://hush@r.example", "https://r.example"),
        ("https://r.example:hush/", "a malformed URL"),
        ("https://[hush", "a malformed URL"),
    ],
)
def test_urls_without_logins_and_queries(url: str, shown: str) -> None:
    assert http_calls.show_url(url) == shown
