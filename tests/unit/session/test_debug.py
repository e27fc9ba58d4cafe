"""What the debug log says of buildkitd's calls: what is asked for, never what is answered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ci_buildx.model.secret import Secret
from ci_buildx.session.auth import (
    CREDENTIALS_REQUEST,
    FETCH_TOKEN_REQUEST,
    GET_SECRET_REQUEST,
    GET_TOKEN_AUTHORITY_REQUEST,
    AuthService,
    CredentialsRequest,
    FetchTokenRequest,
    GetSecretRequest,
    SecretsService,
    TokenAuthorityRequest,
    TokenRequest,
)
from ci_buildx.session.content import ContentService, UploadService
from ci_buildx.session.file_targets import FileTarget
from ci_buildx.session.filesend import FileSendService
from ci_buildx.session.filesync import FileSyncService
from ci_buildx.session.ssh import SshService
from ci_buildx.session.ssh_keyring import SshKeyring
from tests.unit.conftest import DebugLog
from tests.unit.session.conversation import Conversation

AUTH = "/moby.filesync.v1.Auth/"
SYNC = "/moby.filesync.v1.FileSync/DiffCopy"


@dataclass
class Login:
    secret: Secret
    username: str = "me"
    identity_token: Secret | None = None


@dataclass
class Token:
    value: Secret
    lifetime: float = 60.0


class Tokens:
    def fetch(self, request: TokenRequest) -> Token:
        return Token(Secret(f"hush-token-of-{request.host}"))

    def find_seed(self, host: str) -> Secret:
        return Secret(f"hush-seed-of-{host}")


def lines(log: DebugLog) -> list[str]:
    return [re.sub(r"\d+\.\d{3} s", "T", line) for line in log.of("session")]


def test_logins_by_host_alone(debug_log: DebugLog) -> None:
    talk = Conversation(AuthService(lambda _: Login(Secret("hush-of-a-registry")), Tokens()))
    request = FetchTokenRequest(
        host="r.example",
        realm="https://me:hush-realm@t.example/?x=hush",
        service="s",
        scopes=("repo:pull",),
    )
    talk.ask(f"{AUTH}Credentials", CREDENTIALS_REQUEST.encode(CredentialsRequest("r.example")))
    talk.ask(f"{AUTH}FetchToken", FETCH_TOKEN_REQUEST.encode(request))
    key = GET_TOKEN_AUTHORITY_REQUEST.encode(TokenAuthorityRequest(host="r.example", salt=b"hush-salt"))
    talk.ask(f"{AUTH}GetTokenAuthority", key)
    assert lines(debug_log) == [
        f"buildkitd calls {AUTH}Credentials",
        "login: host r.example",
        f"{AUTH}Credentials: OK after T",
        f"buildkitd calls {AUTH}FetchToken",
        "token: host r.example, scopes ('repo:pull',)",
        f"{AUTH}FetchToken: OK after T",
        f"buildkitd calls {AUTH}GetTokenAuthority",
        "key of the token authority: host r.example",
        f"{AUTH}GetTokenAuthority: OK after T",
    ]
    assert "hush" not in debug_log.text


def test_secrets_by_id_alone(debug_log: DebugLog) -> None:
    talk = Conversation(SecretsService({"npm": Secret("hush-of-npm")}))
    path = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
    for name in ("npm", "none"):
        talk.ask(path, GET_SECRET_REQUEST.encode(GetSecretRequest(name)))
    assert lines(debug_log) == [
        f"buildkitd calls {path}",
        "secret: id 'npm'",
        f"{path}: OK after T",
        f"buildkitd calls {path}",
        "secret: id 'none', not found",
        f"{path}: NOT_FOUND after T: secret none: not found",
    ]
    assert "hush" not in debug_log.text


def test_agents_by_id_alone(debug_log: DebugLog) -> None:
    talk = Conversation(SshService({"default": SshKeyring(())}))
    talk.ask("/moby.sshforward.v1.SSH/CheckAgent", b"\x0a\x05other")
    talk.hear(talk.call("/moby.sshforward.v1.SSH/ForwardAgent", b"", metadata=[("buildkit.ssh.id", "mine")]))
    found = lines(debug_log)
    assert "ssh: is there an agent 'other'?" in found
    assert "ssh: connection to agent 'mine'" in found


def test_files_by_folder(tmp_path: Path, debug_log: DebugLog) -> None:
    talk = Conversation(FileSyncService({"context": tmp_path}))
    names = [("dir-name", "context"), ("exclude-patterns", "a"), ("exclude-patterns", "b")]
    talk.call(SYNC, metadata=names, end=False)
    talk.hear(talk.call(SYNC, metadata=[("dir-name", "/etc")], end=False))
    found = lines(debug_log)
    assert f"files: folder 'context' ({tmp_path}); patterns to include 0, to exclude 2, paths to follow 0" in found
    assert f"{SYNC}: NOT_FOUND after T: no access to folder '/etc': this build has context" in found


def test_results_archives_and_blobs(tmp_path: Path, debug_log: DebugLog) -> None:
    out = tmp_path / "out.tar"
    talk = Conversation(FileSendService({0: FileTarget(path=out)}), UploadService({}), ContentService({}))
    exporter = [("buildkit-attachable-exporter-id", "0")]
    talk.hear(talk.call("/moby.filesync.v1.FileSend/DiffCopy", b"\x0a\x01x", metadata=exporter))
    talk.hear(talk.call("/moby.upload.v1.Upload/Pull", metadata=[("urlpath", "/abc")]))
    store = [("buildkit-attachable-store-id", "local:x")]
    talk.hear(talk.call("/containerd.services.content.v1.Content/Info", metadata=store))
    found = lines(debug_log)
    assert f"result of exporter 0 goes to {out}" in found
    assert "upload: archive abc" in found
    assert "blobs: store local:x" in found
    assert out.read_bytes() == b"x"


def test_a_call_that_is_not_served_and_none_of_health(debug_log: DebugLog) -> None:
    talk = Conversation()
    talk.ask("/grpc.health.v1.Health/Check", b"")
    talk.ask("/a.B/C", b"")
    talk.session.close()
    assert lines(debug_log) == [
        "buildkitd calls /a.B/C",
        "/a.B/C: UNIMPLEMENTED after T: unknown method /a.B/C",
        "session id is closed",
    ]


def test_a_hostile_path_begins_no_line(debug_log: DebugLog) -> None:
    talk = Conversation()
    talk.ask("/x\n::set-output name=a::b\r::error::c", b"")
    assert debug_log.text.count("\n") == len(debug_log.text.splitlines())
    assert all(line.startswith("20") for line in debug_log.text.splitlines())
